/**
 * What provisioning has left in the cache, for tests that want a real QEMU and do without when it is not there.
 * @module
 */
import { defaultCachePath } from "../../vmm/provision/cache.ts";
import { rootHostTools, rootQemuTool } from "../../vmm/provision/qemu.ts";
import { hostArchitecture } from "../../vmm/provision/root_tool.ts";
import type { Tool } from "../../vmm/tool.ts";

/** Programs and a kernel out of the cache. */
export interface Provisioned {
  readonly qemu: Tool;
  readonly dtc: Tool;
  /** Path of an arm64 Linux `Image`. */
  readonly kernelPath: string;
}

/** The programs, or `undefined` when nothing has been provisioned on this machine. */
export function provisioned(): Provisioned | undefined {
  try {
    const architecture = hostArchitecture();
    const cache = defaultCachePath();
    const root = `${cache}/tools-${architecture}/root`;
    const kernelPath = `${cache}/kernel-newest/Image`;
    Deno.statSync(`${root}/usr/bin/qemu-system-aarch64`);
    Deno.statSync(kernelPath);
    const { dtc } = rootHostTools(root, architecture);
    return { qemu: rootQemuTool(root, architecture), dtc, kernelPath };
  } catch {
    return undefined;
  }
}
