/**
 * What the Host VM consists of, found in the cache or made.
 * @module
 */
import { Cache, defaultCachePath, type Progress, removeTree } from "../provision/cache.ts";
import { Packages } from "../provision/packages.ts";
import {
  checkQemu,
  type HostTools,
  type Qemu,
  rootHostTools,
  rootQemuTool,
  toolsRoot,
} from "../provision/qemu.ts";
import { hostArchitecture } from "../provision/root_tool.ts";
import { type QemuFeatures, qemuFeatures } from "../qemu/qemu_features.ts";
import { machineTool } from "../tool.ts";
import { guestParts, PARTS_NAME } from "./guest_parts.ts";
import { hostKernel } from "./host_kernel.ts";
import { hostRoot, ROOT_NAME } from "./host_root.ts";

/** What the user brings, and how to go about the rest. */
export interface HostVmOptions {
  /** The user's own `qemu-system-aarch64`. */
  readonly qemu?: string | undefined;
  /** A ready arm64 Image, or one in xz; built when absent. */
  readonly kernel?: string | undefined;
  /** Folder of the cache. */
  readonly cacheDir?: string | undefined;
  /** URI of a Debian mirror to use instead of the machine's own. */
  readonly archive?: string | undefined;
  /** Read every byte of what is reused from the cache. */
  readonly verify?: boolean | undefined;
  /** Make everything anew. */
  readonly refresh?: boolean | undefined;
  /** Also what a guest inside it consists of. */
  readonly withGuest?: boolean | undefined;
  /** Told one line about whatever takes longer. */
  readonly progress: Progress;
  /** Ends the work. */
  readonly signal: AbortSignal;
}

/** The parts that do not change from run to run. */
export interface HostVmProvisions {
  readonly cacheDir: string;
  readonly tools: HostTools;
  readonly qemu: Qemu;
  readonly features: QemuFeatures;
  readonly firmwarePath: string;
  readonly kernelPath: string;
  readonly rootPath: string;
  /** Image of what a guest consists of, if it was asked for. */
  readonly partsPath?: string;
}

const FIRMWARE = "usr/share/qemu-efi-aarch64/QEMU_EFI.fd";

/** Finds or makes them. Throws an `EnvironmentError`, or the signal's reason. */
export async function provisionHostVm(options: HostVmOptions): Promise<HostVmProvisions> {
  const { signal, progress, verify, refresh } = options;
  const architecture = hostArchitecture();
  using cache = await Cache.open(options.cacheDir ?? defaultCachePath(), {
    progress,
    signal,
    verify,
    refresh,
  });
  const packages = new Packages(cache, options.archive);
  const { path } = await toolsRoot(cache, packages, architecture);
  const tools = rootHostTools(`${path}/root`, architecture);
  const kernelPath = await hostKernel(cache, packages, tools, architecture, options.kernel);
  const root = await hostRoot(cache, packages, tools);
  const firmwarePath = await firmware(cache, packages);
  const parts = options.withGuest
    ? await guestParts(cache, packages, tools, kernelPath, firmwarePath)
    : undefined;
  const qemu = options.qemu === undefined
    ? rootQemuTool(`${path}/root`, architecture)
    : machineTool(options.qemu);
  return {
    cacheDir: cache.path,
    tools,
    qemu: await checkQemu(qemu, signal),
    features: await qemuFeatures(qemu, signal),
    firmwarePath,
    kernelPath,
    rootPath: `${root.path}/${ROOT_NAME}`,
    ...(parts === undefined ? {} : { partsPath: `${parts.path}/${PARTS_NAME}` }),
  };
}

async function firmware(cache: Cache, packages: Packages): Promise<string> {
  const { path } = await cache.artefact({
    name: "hostvm-firmware",
    title: "the Host VM's firmware",
    inputs: "1",
    make: async (path) => {
      const tree = `${path}/tree`;
      await packages.unpack("arm64", ["qemu-efi-aarch64"], "the Host VM's firmware", tree);
      await Deno.rename(`${tree}/${FIRMWARE}`, `${path}/QEMU_EFI.fd`);
      await removeTree(tree);
      return {};
    },
  });
  return `${path}/QEMU_EFI.fd`;
}
