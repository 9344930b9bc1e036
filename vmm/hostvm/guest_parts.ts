/**
 * What a guest of the Host VM consists of, as a cache inside finds it: QEMU for arm64, an initramfs, a disk, a kernel.
 * @module
 */
import { type Artefact, type Cache, removeTree } from "../provision/cache.ts";
import { pristineDisk } from "../provision/disk.ts";
import { guestLspci } from "../provision/guest_lspci.ts";
import { busybox, initramfs } from "../provision/initramfs.ts";
import { ownKernel } from "../provision/kernel.ts";
import { MANIFEST_NAME, readManifest, writeManifest } from "../provision/manifest.ts";
import type { Packages } from "../provision/packages.ts";
import { type HostTools, toolsRoot } from "../provision/qemu.ts";
import { machineTool, run } from "../tool.ts";

/** Name of the image inside its artefact. */
export const PARTS_NAME = "parts.img";

const SPARE_MIB = 64;

/** The artefact with an ext4 image of them, of the kernel at `kernelPath` as `Image`, and of the firmware as `QEMU_EFI.fd`. */
export async function guestParts(
  cache: Cache,
  packages: Packages,
  tools: HostTools,
  kernelPath: string,
  firmwarePath: string,
): Promise<Artefact> {
  const kernel = await ownKernel(kernelPath);
  const { path: busyboxPath } = await busybox(cache, packages);
  const lspci = await guestLspci(cache, packages);
  const parts = [
    await toolsRoot(cache, packages, "arm64"),
    await initramfs(cache, tools, kernel, `${busyboxPath}/busybox`),
    await initramfs(cache, tools, kernel, `${busyboxPath}/busybox`, lspci),
    lspci,
    { path: busyboxPath },
    await pristineDisk(cache, tools),
  ].map(({ path }) => ({ path, manifest: readManifest(path)! }));
  const { size, mtime } = await Deno.stat(kernelPath);
  return await cache.artefact({
    name: "hostvm-guest",
    title: "the parts of the Host VM's guests",
    inputs: ["3", size, mtime?.getTime(), ...parts.map(({ manifest }) => JSON.stringify(manifest))]
      .join(" "),
    make: async (path) => {
      const tree = `${path}/tree`;
      await Deno.mkdir(tree);
      let sizeBytes = size + (await Deno.stat(firmwarePath)).size;
      for (const { path: from, manifest } of parts) {
        const to = `${tree}/${from.slice(from.lastIndexOf("/") + 1)}`;
        await run(machineTool("cp"), ["-a", "--sparse=always", from, to], {
          doing: `copy ${from}`,
          signal: cache.signal,
        });
        for (const file of manifest.files) {
          sizeBytes += file.sizeBytes + 4096;
          // An image knows whole seconds only.
          const seconds = Math.floor(file.modifiedMs / 1000);
          await Deno.utime(`${to}/${file.path}`, seconds, seconds);
        }
        await Deno.remove(`${to}/${MANIFEST_NAME}`);
        await writeManifest(to, manifest.inputs, manifest.facts);
      }
      await Deno.copyFile(kernelPath, `${tree}/Image`);
      await Deno.copyFile(firmwarePath, `${tree}/QEMU_EFI.fd`);
      const mebibytes = Math.ceil(sizeBytes / 2 ** 20) + SPARE_MIB;
      await run(
        tools.mke2fs,
        ["-q", "-t", "ext4", "-L", "parts", "-m", "0", "-O", "^has_journal"]
          .concat(["-E", "root_owner=0:0", "-d", tree, `${path}/${PARTS_NAME}`, `${mebibytes}M`]),
        { doing: "make the image of the guest's parts", signal: cache.signal },
      );
      await removeTree(tree);
      return {};
    },
  });
}
