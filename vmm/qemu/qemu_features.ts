/**
 * What a given QEMU program is able to do, from its own `-help`.
 * @module
 */
import { run, type Tool } from "../tool.ts";

/** Options that we use when they are there. */
export interface QemuFeatures {
  /** `-run-with exit-with-parent=on`: QEMU ends when we do, even when we are killed. Since 10.2. */
  readonly canExitWithParent: boolean;
  /** `-sandbox on`: QEMU is built with a system call filter. */
  readonly hasSandbox: boolean;
}

/** Reads the features out of what `qemu-system-aarch64 -help` prints. */
export function parseQemuFeatures(help: string): QemuFeatures {
  return {
    canExitWithParent: help.includes("exit-with-parent=on"),
    hasSandbox: /^-sandbox on/m.test(help),
  };
}

/** Asks `qemu` for its features. Throws an `EnvironmentError` when it cannot run. */
export async function qemuFeatures(qemu: Tool, signal?: AbortSignal): Promise<QemuFeatures> {
  const doing = `ask ${qemu.name} for its options`;
  return parseQemuFeatures(await run(qemu, ["-help"], { doing, signal }));
}
