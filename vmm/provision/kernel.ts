/**
 * Guest kernels: Debian's for arm64 with the modules that a guest needs to reach its disk, or the user's own.
 *
 * @module
 */

import { type Artefact, type Cache, removeTree } from "./cache.ts";
import { KERNEL_HEADER_BYTES, kernelFormat } from "./kernel_image.ts";
import type { Packages } from "./packages.ts";
import { EnvironmentError } from "../environment_error.ts";
import type { HostTools } from "./qemu.ts";
import { run } from "../tool.ts";

/** A kernel for the guest. */
export interface Kernel {
  /** The file for QEMU's `-kernel`. */
  readonly path: string;
  /** Its release as `uname -r` says it; `undefined` for the user's own. */
  readonly release: string | undefined;
  /** Folder with modules named so that sorting them gives the order of loading; `undefined` for the user's own. */
  readonly modulesPath: string | undefined;
}

/** What a guest needs to mount its disk, and to hold a device that has no driver of its own. */
const MODULES = ["virtio_pci", "virtio_blk", "ext4", "pci_stub"];

const NEWEST = "linux-image-arm64";

/** A version of Debian's kernels, and which of them: with pages of 16 KiB, or with real-time scheduling. */
const ASKED = /^(\d+(?:\.\d+){0,2})(-16k|-rt)?$/;

/** Whether an option names a version of Debian's kernels (`6.12`, `7.3.4`, `7.3-16k`, `7.3-rt`) rather than a file. */
export function isKernelVersion(option: string): boolean {
  return ASKED.test(option);
}

/**
 * The newest of Debian's plain arm64 kernels whose version begins with `asked`, by package name; of those with pages of
 * 16 KiB when it ends in `-16k`, of those with real-time scheduling when in `-rt`. Kernels for clouds, unsigned ones and
 * debug symbols do not count. Throws a {@link EnvironmentError} that names what there is.
 */
export function chooseKernel(names: readonly string[], asked: string): string {
  const [, wantedVersion = asked, kind] = ASKED.exec(asked) ?? [];
  const known = names.flatMap((name) => {
    const match = /^linux-image-(\d+(?:\.\d+)*)[^-]*(-rt)?-arm64(-16k)?$/.exec(name);
    if (match === null || (match[2] ?? match[3]) !== kind) return [];
    return [{ name, version: match[1].split(".").map(Number) }];
  }).sort((a, b) => compareVersions(b.version, a.version));
  const wanted = wantedVersion.split(".").map(Number);
  const chosen = known.find(({ version }) =>
    wanted.every((part, index) => part === version[index])
  );
  if (chosen !== undefined) return chosen.name;
  const series = [...new Set(known.map(({ version }) => version.slice(0, 2).join(".")))];
  throw new EnvironmentError(
    `Cannot find a Debian arm64 kernel ${asked}: the archive has ${series.join(", ") || "none"}`,
  );
}

/** The artefact with Debian's kernel: newest without `asked`, else what {@link chooseKernel} takes. */
export function debianKernel(
  cache: Cache,
  packages: Packages,
  tools: HostTools,
  asked: string | undefined,
): Promise<Artefact> {
  const title = asked === undefined
    ? "Debian's newest kernel for the guest"
    : `Debian's kernel ${asked} for the guest`;
  return cache.artefact({
    name: `kernel-${asked ?? "newest"}`,
    title,
    inputs: `1 ${asked ?? NEWEST} ${MODULES.join(" ")}`,
    make: async (path) => {
      const name = asked === undefined
        ? NEWEST
        : chooseKernel(await (await packages.apt("arm64")).packageNames("linux-image-"), asked);
      const tree = `${path}/tree`;
      await packages.unpack("arm64", [name], title, tree);
      const release = await takeKernel(cache, tools, tree, path);
      await removeTree(tree);
      return { release };
    },
  });
}

/** The kernel in an artefact of {@link debianKernel}. */
export function artefactKernel({ path, facts }: Artefact): Kernel {
  return { path: `${path}/Image`, release: facts.release, modulesPath: `${path}/modules` };
}

/** Looks at the user's own kernel; throws an {@link EnvironmentError} that names what it is and what is needed. */
export async function ownKernel(path: string): Promise<Kernel> {
  const head = new Uint8Array(KERNEL_HEADER_BYTES);
  let sizeBytes = 0;
  try {
    using file = await Deno.open(path);
    sizeBytes = await file.read(head) ?? 0;
  } catch (error) {
    throw new EnvironmentError(`Cannot read the kernel ${path}: ${(error as Error).message}`);
  }
  const found = kernelFormat(head.subarray(0, sizeBytes));
  if ("instead" in found) {
    throw new EnvironmentError(
      `Cannot boot ${path}: it is ${found.instead}; an arm64 Image, gzipped or EFI zboot kernel is needed`,
    );
  }
  return { path, release: undefined, modulesPath: undefined };
}

/** Moves the image and the needed modules from an unpacked tree to `path`; returns the kernel's release. */
async function takeKernel(
  cache: Cache,
  tools: HostTools,
  tree: string,
  path: string,
): Promise<string> {
  const base = exists(`${tree}/usr/lib/modules`) ? `${tree}/usr` : tree;
  const release = [...Deno.readDirSync(`${base}/lib/modules`)][0]?.name;
  const images = [`${base}/lib/modules/${release}/vmlinuz`, `${tree}/boot/vmlinuz-${release}`];
  const image = images.find(exists);
  if (release === undefined || image === undefined) {
    throw new EnvironmentError("Cannot find a vmlinuz in Debian's kernel packages");
  }
  await ownKernel(image);
  await Deno.rename(image, `${path}/Image`);
  cache.progress("Finding out what the kernel's modules depend on");
  const options = { doing: `read the modules of kernel ${release}`, signal: cache.signal };
  await run(tools.depmod, ["-b", base, release], options);
  const args = ["-d", base, "-S", release, "--show-depends", "-a", ...MODULES];
  await takeModules(cache, tools, await run(tools.modprobe, args, options), `${path}/modules`);
  return release;
}

async function takeModules(
  cache: Cache,
  tools: HostTools,
  showDepends: string,
  path: string,
): Promise<void> {
  await Deno.mkdir(path);
  const taken: string[] = [];
  for (const [index, module] of parseShowDepends(showDepends).entries()) {
    const name = `${String(index).padStart(2, "0")}-${module.slice(module.lastIndexOf("/") + 1)}`;
    await Deno.rename(module, `${path}/${name}`);
    taken.push(`${path}/${name}`);
  }
  const compressed = taken.filter((file) => file.endsWith(".xz"));
  const other = taken.find((file) => !file.endsWith(".xz") && !file.endsWith(".ko"));
  if (other !== undefined) {
    throw new EnvironmentError(`Cannot decompress the kernel module ${other}: only xz is known`);
  }
  if (compressed.length > 0) {
    await run(tools.xz, ["-d", ...compressed], {
      doing: "decompress kernel modules",
      signal: cache.signal,
    });
  }
}

/** Paths of modules in `modprobe --show-depends` output, each once, in the order of loading; built-in ones are left out. */
export function parseShowDepends(text: string): string[] {
  return [
    ...new Set(
      Array.from(text.matchAll(/^insmod (.+\.ko(?:\.\w+)?)(?: |$)/gm), ([, path]) => path),
    ),
  ];
}

function compareVersions(a: readonly number[], b: readonly number[]): number {
  for (let index = 0; index < Math.max(a.length, b.length); index++) {
    const difference = (a[index] ?? 0) - (b[index] ?? 0);
    if (difference !== 0) return difference;
  }
  return 0;
}

function exists(path: string): boolean {
  try {
    Deno.statSync(path);
    return true;
  } catch {
    return false;
  }
}
