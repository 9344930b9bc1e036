/**
 * QEMU and the host's tools: a root of Debian packages, or the user's own QEMU.
 *
 * @module
 */

import { type Artefact, type Cache, removeTree } from "./cache.ts";
import type { Packages } from "./packages.ts";
import { EnvironmentError } from "../environment_error.ts";
import { run, type Tool } from "../tool.ts";
import { type HostArchitecture, libraryPath, rootTool } from "./root_tool.ts";

/** A QEMU for Arm guests that has what we need. */
export interface Qemu {
  /** How to start it. */
  readonly tool: Tool;
  /** Its version as it says it, such as `11.1.3`. */
  readonly version: string;
}

/** The tools besides QEMU, all out of the same root. */
export interface HostTools {
  /** Packs an initramfs. */
  readonly cpio: Tool;
  /** Reads files out of an ext4 image. */
  readonly debugfs: Tool;
  /** Lists what kernel modules depend on. */
  readonly depmod: Tool;
  /** Compiles and decompiles device trees. */
  readonly dtc: Tool;
  /** Checks an ext4 image. */
  readonly e2fsck: Tool;
  /** Makes an ext4 image from a folder. */
  readonly mke2fs: Tool;
  /** Tells in which order kernel modules are loaded. */
  readonly modprobe: Tool;
  /** Decompresses kernel modules. */
  readonly xz: Tool;
}

const OLDEST = [10, 1] as const;
const DEVICE = "vfio-user-pci";
const PROGRAM = "qemu-system-aarch64";

const PACKAGES = [
  "qemu-system-arm",
  "device-tree-compiler",
  "e2fsprogs",
  "cpio",
  "kmod",
  "xz-utils",
];

/** What is left of a root; documentation, translations and firmware of other machines go. */
const KEPT = ["etc/mke2fs.conf", "usr/bin", "usr/lib", "usr/lib64", "usr/sbin", "usr/share/qemu"];

/** The artefact that holds QEMU and the host's tools in its folder `root`. */
export function toolsRoot(
  cache: Cache,
  packages: Packages,
  architecture: HostArchitecture,
): Promise<Artefact> {
  return cache.artefact({
    name: `tools-${architecture}`,
    title: "QEMU and the host tools",
    inputs: `1 ${architecture} ${PACKAGES.join(" ")}`,
    make: async (path) => {
      const root = `${path}/root`;
      await packages.unpack(architecture, PACKAGES, "QEMU and the host tools", root);
      await prune(root, "", KEPT);
      return {};
    },
  });
}

/** The QEMU of a root. */
export function rootQemuTool(root: string, architecture: HostArchitecture): Tool {
  return rootTool(root, architecture, `usr/bin/${PROGRAM}`, {
    args: ["-L", `${root}/usr/share/qemu`],
    env: { QEMU_MODULE_DIR: `${libraryPath(root, architecture)}/qemu` },
  });
}

/** The tools of a root. */
export function rootHostTools(root: string, architecture: HostArchitecture): HostTools {
  const tool = (program: string, env?: Record<string, string>): Tool =>
    rootTool(root, architecture, program, env === undefined ? {} : { env });
  return {
    cpio: tool("usr/bin/cpio"),
    debugfs: tool("usr/sbin/debugfs"),
    depmod: tool("usr/sbin/depmod"),
    dtc: tool("usr/bin/dtc"),
    e2fsck: tool("usr/sbin/e2fsck"),
    // Without it mke2fs follows the machine's /etc, and images differ from machine to machine.
    mke2fs: tool("usr/sbin/mke2fs", { MKE2FS_CONFIG: `${root}/etc/mke2fs.conf` }),
    modprobe: tool("usr/sbin/modprobe"),
    xz: tool("usr/bin/xz"),
  };
}

/** The version in the first line of `qemu-system-aarch64 --version`, or `undefined` when the text is something else. */
export function parseQemuVersion(text: string): string | undefined {
  return /^QEMU emulator version (\d+\.\d+(?:\.\d+)?)/.exec(text)?.[1];
}

/** Why a QEMU of this version cannot serve, or `undefined` when it can. */
export function versionObstacle(version: string): string | undefined {
  const [major, minor] = version.split(".").map(Number);
  if (major > OLDEST[0] || (major === OLDEST[0] && minor >= OLDEST[1])) return undefined;
  return `QEMU ${version} is older than ${OLDEST.join(".")}, which first had ${DEVICE}`;
}

/** Asks a QEMU for its version and devices; throws an {@link EnvironmentError} when it cannot serve. */
export async function checkQemu(tool: Tool, signal?: AbortSignal): Promise<Qemu> {
  const program = tool.args.find((arg) => arg.endsWith(PROGRAM)) ?? tool.command;
  const text = await run(tool, ["--version"], { doing: `ask ${program} for its version`, signal });
  const version = parseQemuVersion(text);
  if (version === undefined) {
    throw new EnvironmentError(
      `Cannot use ${program} as QEMU: it answers --version with "${text.split("\n")[0]}"`,
    );
  }
  const obstacle = versionObstacle(version);
  if (obstacle !== undefined) throw new EnvironmentError(`Cannot use ${program}: ${obstacle}`);
  const devices = await run(tool, ["-M", "none", "-device", "help"], {
    doing: `ask ${program} for its devices`,
    signal,
  });
  if (!devices.includes(`name "${DEVICE}"`)) {
    throw new EnvironmentError(
      `Cannot use ${program}: this build of QEMU ${version} has no device ${DEVICE}`,
    );
  }
  return { tool, version };
}

async function prune(root: string, below: string, kept: readonly string[]): Promise<void> {
  for (const entry of [...Deno.readDirSync(`${root}/${below}`)]) {
    const path = below === "" ? entry.name : `${below}/${entry.name}`;
    if (kept.includes(path)) continue;
    if (kept.some((keep) => keep.startsWith(`${path}/`))) await prune(root, path, kept);
    else await removeTree(`${root}/${path}`);
  }
}
