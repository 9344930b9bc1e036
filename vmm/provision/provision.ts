/**
 * Everything that a microVM consists of besides our own code: QEMU, a kernel, an initramfs and a disk.
 *
 * What the user does not bring is taken from Debian's archive through the machine's own mirror, unpacked in a cache and
 * installed nowhere. Programs it runs: `apt-get`, `apt-cache`, `dpkg-deb` and the loader of its own root. Environment it
 * reads: `XDG_CACHE_HOME`, `HOME`.
 *
 * @module
 */

import { EnvironmentError } from "../environment_error.ts";
import { machineTool } from "../tool.ts";
import { Cache, defaultCachePath, type Progress } from "./cache.ts";
import { checkOwnDisk, DISK_NAME, INPUT_PATH, pristineDisk, WorkingDisk } from "./disk.ts";
import { guestLspci } from "./guest_lspci.ts";
import { busybox, initramfs, INITRAMFS_NAME } from "./initramfs.ts";
import { artefactKernel, debianKernel, isKernelVersion, type Kernel, ownKernel } from "./kernel.ts";
import { Packages } from "./packages.ts";
import {
  checkQemu,
  type HostTools,
  type Qemu,
  rootHostTools,
  rootQemuTool,
  toolsRoot,
} from "./qemu.ts";
import { type HostArchitecture, hostArchitecture } from "./root_tool.ts";

/** What the user brings, and how to go about the rest. */
export interface ProvisionOptions {
  /** The user's own `qemu-system-aarch64`, a path or a name on PATH. */
  readonly qemu?: string | undefined;
  /** A version of Debian's arm64 kernels such as `6.12`, `7.3-16k` or `7.3-rt`, or the path of the user's own kernel. */
  readonly kernel?: string | undefined;
  /** The user's own initramfs. */
  readonly initrd?: string | undefined;
  /** Whether the initramfs has `lspci`, for the action of that name. */
  readonly withLspci?: boolean | undefined;
  /** The user's own raw disk image; it is used in place, not copied. */
  readonly disk?: string | undefined;
  /** Folder of the cache; `$XDG_CACHE_HOME/vsmmu` or `$HOME/.cache/vsmmu` by default. */
  readonly cacheDir?: string | undefined;
  /** URI of a Debian mirror to use instead of the machine's own. */
  readonly archive?: string | undefined;
  /** Read every byte of what is reused from the cache, not only sizes and times. */
  readonly verify?: boolean | undefined;
  /** Make everything anew, from the newest packages. */
  readonly refresh?: boolean | undefined;
  /** The host's architecture; found out by default. */
  readonly architecture?: HostArchitecture | undefined;
  /** Told one line about whatever takes longer. */
  readonly progress?: Progress | undefined;
  /** Ends the work. What is unfinished then does not count, what was downloaded is used next time. */
  readonly signal?: AbortSignal | undefined;
}

/** A disk for the guest. */
export interface Disk {
  /** The image: the user's own, or the pristine one, which nobody may write to. */
  readonly path: string;
  /** The file that we placed on it and its SHA-256; `undefined` on the user's own. */
  readonly input: { readonly path: string; readonly sha256: string } | undefined;
}

/** A microVM's parts, all present and checked. */
export interface Provisioned {
  /** Folder of the cache. */
  readonly cacheDir: string;
  /** QEMU with `vfio-user-pci`. */
  readonly qemu: Qemu;
  /** `dtc`, `debugfs` and other programs of the host. */
  readonly tools: HostTools;
  /** The guest's kernel. */
  readonly kernel: Kernel;
  /** The guest's initramfs. */
  readonly initrd: string;
  /** The guest's disk; see {@link workingDisk} for one to write to. */
  readonly disk: Disk;
}

/**
 * Finds or makes all parts of a microVM. The second time it takes well under a second.
 *
 * Throws an {@link EnvironmentError} whose message is fit to be printed, or the signal's reason.
 */
export async function provision(options: ProvisionOptions = {}): Promise<Provisioned> {
  const { signal, verify, refresh } = options;
  const architecture = options.architecture ?? hostArchitecture();
  const given = await checkOwnFiles(options);
  using cache = await Cache.open(options.cacheDir ?? defaultCachePath(), {
    progress: options.progress ?? (() => {}),
    signal,
    verify,
    refresh,
  });
  const packages = new Packages(cache, options.archive);
  const root = await toolsRoot(cache, packages, architecture);
  const tools = rootHostTools(`${root.path}/root`, architecture);
  const kernel = given.kernel ??
    artefactKernel(await debianKernel(cache, packages, tools, options.kernel));
  return {
    cacheDir: cache.path,
    qemu: given.qemu ??
      await checkQemu(rootQemuTool(`${root.path}/root`, architecture), signal),
    tools,
    kernel,
    initrd: options.initrd ?? await ownInitramfs(cache, packages, tools, kernel, options.withLspci),
    disk: options.disk ? { path: options.disk, input: undefined } : await ownDisk(cache, tools),
  };
}

/** QEMU alone, as `provision` finds or makes it. Throws an {@link EnvironmentError}, or the signal's reason. */
export async function provisionQemu(options: ProvisionOptions = {}): Promise<Qemu> {
  const { qemu, signal, verify, refresh } = options;
  if (qemu !== undefined) return await checkQemu(machineTool(qemu), signal);
  const architecture = options.architecture ?? hostArchitecture();
  using cache = await Cache.open(options.cacheDir ?? defaultCachePath(), {
    progress: options.progress ?? (() => {}),
    signal,
    verify,
    refresh,
  });
  const root = await toolsRoot(cache, new Packages(cache, options.archive), architecture);
  return await checkQemu(rootQemuTool(`${root.path}/root`, architecture), signal);
}

/** A private copy of the disk for one run, below the cache; nothing spoils the pristine image. */
export async function workingDisk({ cacheDir, disk }: Provisioned): Promise<WorkingDisk> {
  return await WorkingDisk.copy(disk.path, `${cacheDir}/runs`);
}

async function checkOwnFiles(
  options: ProvisionOptions,
): Promise<{ qemu: Qemu | undefined; kernel: Kernel | undefined }> {
  const { qemu, kernel, initrd, disk, signal } = options;
  if (initrd !== undefined) await checkReadable(initrd, "initramfs");
  if (disk !== undefined) await checkOwnDisk(disk);
  return {
    qemu: qemu === undefined ? undefined : await checkQemu(machineTool(qemu), signal),
    kernel: kernel === undefined || isKernelVersion(kernel) ? undefined : await ownKernel(kernel),
  };
}

async function checkReadable(path: string, what: string): Promise<void> {
  try {
    using file = await Deno.open(path);
    const { isFile, size } = await file.stat();
    if (isFile && size > 0) return;
    throw new EnvironmentError(
      `Cannot use the ${what} ${path}: it is ${isFile ? "empty" : "not a file"}`,
    );
  } catch (error) {
    if (error instanceof EnvironmentError) throw error;
    throw new EnvironmentError(`Cannot read the ${what} ${path}: ${(error as Error).message}`);
  }
}

async function ownInitramfs(
  cache: Cache,
  packages: Packages,
  tools: HostTools,
  kernel: Kernel,
  withLspci = false,
): Promise<string> {
  const { path } = await busybox(cache, packages);
  const lspci = withLspci ? await guestLspci(cache, packages) : undefined;
  const made = await initramfs(cache, tools, kernel, `${path}/busybox`, lspci);
  return `${made.path}/${INITRAMFS_NAME}`;
}

async function ownDisk(cache: Cache, tools: HostTools): Promise<Disk> {
  const { path, facts } = await pristineDisk(cache, tools);
  return { path: `${path}/${DISK_NAME}`, input: { path: INPUT_PATH, sha256: facts.input } };
}
