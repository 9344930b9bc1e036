/**
 * A kernel that has Linux's benchmark of DMA mappings, which Debian's have not: that of the Host VM.
 * @module
 */
import { hostKernel } from "../hostvm/host_kernel.ts";
import { Cache, defaultCachePath } from "../provision/cache.ts";
import { Packages } from "../provision/packages.ts";
import type { ProvisionOptions } from "../provision/provision.ts";
import { rootHostTools, toolsRoot } from "../provision/qemu.ts";
import { hostArchitecture } from "../provision/root_tool.ts";

/** Path of the kernel: the one `given`, decompressed when it is xz, or one that is built. Throws an `EnvironmentError`. */
export async function mapsKernel(
  given: string | undefined,
  { cacheDir, archive, verify, refresh, progress = () => {}, signal }: ProvisionOptions,
): Promise<string> {
  using cache = await Cache.open(cacheDir ?? defaultCachePath(), {
    progress,
    signal,
    verify,
    refresh,
  });
  const packages = new Packages(cache, archive);
  const architecture = hostArchitecture();
  const { path } = await toolsRoot(cache, packages, architecture);
  const tools = rootHostTools(`${path}/root`, architecture);
  return await hostKernel(cache, packages, tools, architecture, given);
}
