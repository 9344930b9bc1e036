/**
 * The guest's first file system: busybox, the kernel's modules and our `/init`, packed by cpio.
 *
 * @module
 */

import { type Artefact, type Cache, removeTree } from "./cache.ts";
import { LSPCI_TREE } from "./guest_lspci.ts";
import { ioctlProgram } from "./ioctl_program.ts";
import type { Kernel } from "./kernel.ts";
import { sha256 } from "./manifest.ts";
import type { Packages } from "./packages.ts";
import type { HostTools } from "./qemu.ts";
import { run } from "../tool.ts";

/** Name of the initramfs inside its artefact. */
export const INITRAMFS_NAME = "initramfs.cpio";

/** The artefact with arm64's statically linked busybox. */
export function busybox(cache: Cache, packages: Packages): Promise<Artefact> {
  return cache.artefact({
    name: "busybox-arm64",
    title: "busybox for the guest",
    inputs: "1",
    make: async (path) => {
      await packages.unpack("arm64", ["busybox-static"], "busybox for the guest", `${path}/root`);
      await Deno.rename(`${path}/root/usr/bin/busybox`, `${path}/busybox`);
      await removeTree(`${path}/root`);
      return {};
    },
  });
}

/**
 * The artefact with the initramfs for a kernel, with `lspci` where its artefact is given. The same inputs give the same
 * bytes.
 */
export async function initramfs(
  cache: Cache,
  tools: HostTools,
  kernel: Kernel,
  busyboxPath: string,
  lspci?: Artefact,
): Promise<Artefact> {
  const script = await Deno.readFile(new URL("guest_init.sh", import.meta.url));
  const busyboxBytes = await Deno.readFile(busyboxPath);
  const program = ioctlProgram();
  const release = kernel.release ?? "own";
  const modules = kernel.modulesPath === undefined ? [] : listNames(kernel.modulesPath);
  return await cache.artefact({
    name: `initramfs-${release}${lspci ? "-lspci" : ""}`,
    title: "the initramfs",
    inputs: ["5", release, ...(lspci ? [lspci.facts.sha256] : [])]
      .concat(await Promise.all([script, busyboxBytes, program].map(sha256)))
      .concat(modules).join(" "),
    make: async (path) => {
      const tree = `${path}/tree`;
      await Deno.mkdir(`${tree}/bin`, { recursive: true });
      await Deno.mkdir(`${tree}/modules`);
      await Deno.writeFile(`${tree}/bin/busybox`, busyboxBytes);
      await Deno.writeFile(`${tree}/init`, script);
      await Deno.writeFile(`${tree}/bin/ioctl`, program);
      const names = ["bin", "bin/busybox", "bin/ioctl", "init", "modules"];
      for (const module of modules) {
        await Deno.copyFile(`${kernel.modulesPath}/${module}`, `${tree}/modules/${module}`);
        names.push(`modules/${module}`);
      }
      if (lspci !== undefined) names.push(...await copyTree(`${lspci.path}/${LSPCI_TREE}`, tree));
      await pack(cache, tools, tree, names, `${path}/${INITRAMFS_NAME}`);
      await removeTree(tree);
      return {};
    },
  });
}

async function pack(
  cache: Cache,
  tools: HostTools,
  tree: string,
  names: readonly string[],
  path: string,
): Promise<void> {
  for (const name of names) {
    // Modes and times go into the archive; the umask and the clock shall not.
    await Deno.chmod(`${tree}/${name}`, 0o755);
    await Deno.utime(`${tree}/${name}`, 0, 0);
  }
  await run(
    tools.cpio,
    ["-o", "-H", "newc", "-R", "0:0", "--reproducible", "--quiet", "-O", path],
    { doing: "pack the initramfs", cwd: tree, input: names.join("\n"), signal: cache.signal },
  );
}

/** Copies the files below `from`; returns the names of all that is new below `to`, folders first. */
async function copyTree(from: string, to: string, below = ""): Promise<string[]> {
  const names: string[] = [];
  const entries = [...Deno.readDirSync(`${from}/${below}`)].sort((a, b) =>
    a.name < b.name ? -1 : 1
  );
  for (const { name, isDirectory } of entries) {
    const path = below === "" ? name : `${below}/${name}`;
    names.push(path);
    if (isDirectory) {
      await Deno.mkdir(`${to}/${path}`);
      names.push(...await copyTree(from, to, path));
    } else {
      await Deno.copyFile(`${from}/${path}`, `${to}/${path}`);
    }
  }
  return names;
}

function listNames(path: string): string[] {
  return Array.from(Deno.readDirSync(path), ({ name }) => name).sort();
}
