/**
 * What a given QEMU program is able to do, from its own `-help`.
 * @module
 */
import { QemuError } from "./qemu_error.ts";
import { runTool, type Tool } from "./tool.ts";

/** The version of a QEMU and the options of it that we use when they are there. */
export interface QemuFeatures {
  readonly major: number;
  readonly minor: number;
  /** `-run-with exit-with-parent=on`: QEMU ends when we do, even when we are killed. Since 10.2. */
  readonly canExitWithParent: boolean;
  /** `-sandbox on`: QEMU is built with a system call filter. */
  readonly hasSandbox: boolean;
}

/** Reads the features out of what `qemu-system-aarch64 -help` prints; throws a `QemuError` when that names no version. */
export function parseQemuFeatures(help: string): QemuFeatures {
  const version = help.match(/^QEMU emulator version (\d+)\.(\d+)/);
  if (!version) throw new QemuError("Cannot find the version of QEMU in what its -help prints");
  return {
    major: Number(version[1]),
    minor: Number(version[2]),
    canExitWithParent: help.includes("exit-with-parent=on"),
    hasSandbox: /^-sandbox on/m.test(help),
  };
}

/**
 * Asks `qemu` for its features. Throws a `QemuError` when it cannot run, or when it is older than 10.1, the first QEMU with
 * `vfio-user-pci`.
 */
export async function qemuFeatures(qemu: Tool, signal?: AbortSignal): Promise<QemuFeatures> {
  const { stdout } = await runTool("QEMU", qemu, ["-help"], { signal });
  const features = parseQemuFeatures(new TextDecoder().decode(stdout));
  const { major, minor } = features;
  if (major < 10 || major === 10 && minor < 1) {
    throw new QemuError(
      `Cannot use QEMU ${major}.${minor}: vfio-user-pci came with 10.1, use that or a newer one`,
    );
  }
  return features;
}
