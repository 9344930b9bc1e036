/**
 * The Host VM's kernel: the user's own, or one built from Debian's sources with the fragment `kernel.config`.
 * @module
 */
import { EnvironmentError } from "../environment_error.ts";
import { type Artefact, type Cache, removeTree } from "../provision/cache.ts";
import { sha256, sha256File } from "../provision/manifest.ts";
import { ownKernel } from "../provision/kernel.ts";
import type { Packages } from "../provision/packages.ts";
import type { HostTools } from "../provision/qemu.ts";
import type { HostArchitecture } from "../provision/root_tool.ts";
import { machineTool, run } from "../tool.ts";

/** Name of the kernel inside its artefact. */
export const IMAGE_NAME = "Image";

const SOURCE = "linux-source-7.3";
const PACKAGES = [
  SOURCE,
  "gcc-aarch64-linux-gnu",
  "gcc",
  "libc6-dev",
  "libssl-dev",
  "libelf-dev",
  "make",
  "bc",
  "bison",
  "flex",
  "perl-base",
  "perl",
  "python3-minimal",
  "xz-utils",
  "tar",
  "gzip",
  "bash",
  "coreutils",
  "findutils",
  "diffutils",
  "grep",
  "sed",
  "mawk",
  "rsync",
];

/** Path of the kernel: `given`, decompressed when it is xz, or built. Throws an `EnvironmentError`. */
export async function hostKernel(
  cache: Cache,
  packages: Packages,
  tools: HostTools,
  architecture: HostArchitecture,
  given: string | undefined,
): Promise<string> {
  const artefact = given === undefined
    ? await builtKernel(cache, packages, architecture)
    : given.endsWith(".xz")
    ? await unpackedKernel(cache, tools, given)
    : undefined;
  const path = artefact === undefined ? given! : `${artefact.path}/${IMAGE_NAME}`;
  await ownKernel(path);
  return path;
}

async function unpackedKernel(cache: Cache, tools: HostTools, given: string): Promise<Artefact> {
  const digest = await sha256File(given).catch((error) => {
    throw new EnvironmentError(`Cannot read the kernel ${given}: ${error.message}`);
  });
  return await cache.artefact({
    name: "hostvm-kernel-given",
    title: "the given kernel of the Host VM",
    inputs: digest,
    make: async (path) => {
      const image = `${path}/${IMAGE_NAME}`;
      await Deno.copyFile(given, `${image}.xz`);
      await run(tools.xz, ["-d", `${image}.xz`], {
        doing: `decompress ${given}`,
        signal: cache.signal,
      });
      return {};
    },
  });
}

/** Builds in a root of Debian's tools of its own, entered by chroot(8); nothing of the machine is used. */
async function builtKernel(
  cache: Cache,
  packages: Packages,
  architecture: HostArchitecture,
): Promise<Artefact> {
  const fragment = await Deno.readFile(new URL("kernel.config", import.meta.url));
  const script = await Deno.readFile(new URL("build_kernel.sh", import.meta.url));
  const title = "the Host VM's kernel";
  return await cache.artefact({
    name: "hostvm-kernel",
    title: `${title}, which takes a quarter of an hour and 4 GiB`,
    inputs: ["1", await sha256(fragment), await sha256(script), ...PACKAGES].join(" "),
    make: async (path) => {
      const root = `${path}/root`;
      await packages.unpack(architecture, PACKAGES, `the tools for ${title}`, root);
      await Deno.writeFile(`${root}/fragment`, fragment);
      await Deno.writeFile(`${root}/build.sh`, script);
      let reportedMs = Date.now();
      let files = 0;
      await run(
        machineTool("chroot"),
        [root, "/usr/bin/bash", "/build.sh", SOURCE, String(navigator.hardwareConcurrency)],
        {
          doing: `build ${title} (building needs root; VSMMU_HOST_KERNEL names a ready one)`,
          signal: cache.signal,
          onLine: () => {
            files++;
            if (Date.now() - reportedMs < 10_000) return;
            reportedMs = Date.now();
            cache.progress(`Building ${title}: ${files} steps`);
          },
        },
      );
      await Deno.rename(`${root}/${IMAGE_NAME}`, `${path}/${IMAGE_NAME}`);
      await removeTree(root);
      return {};
    },
  });
}
