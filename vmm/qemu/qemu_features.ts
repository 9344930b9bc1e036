/**
 * What a given QEMU program is able to do, from its own `-help`.
 * @module
 */
import { EnvironmentError } from "../environment_error.ts";
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
  const features = parseQemuFeatures(await run(qemu, ["-help"], { doing, signal }));
  return { ...features, hasSandbox: features.hasSandbox && await canFilter(qemu, signal) };
}

/** QEMU knows no sandbox on a kernel that filters no system calls, whatever it was built with. */
async function canFilter(qemu: Tool, signal?: AbortSignal): Promise<boolean> {
  try {
    const doing = `ask ${qemu.name} for its sandbox`;
    await run(qemu, ["-sandbox", "on", "-version"], { doing, signal });
    return true;
  } catch (error) {
    if (error instanceof EnvironmentError) return false;
    throw error;
  }
}
