/**
 * The Host VM's file system: busybox, Deno and a small C compiler of arm64 in an ext4 image, and the packages of npm
 * that the repository imports, so that everything runs without a network.
 * @module
 */
import { EnvironmentError } from "../environment_error.ts";
import { type Artefact, type Cache, removeTree } from "../provision/cache.ts";
import { sha256 } from "../provision/manifest.ts";
import type { Packages } from "../provision/packages.ts";
import type { HostTools } from "../provision/qemu.ts";
import { run } from "../tool.ts";

/** Name of the image inside its artefact. */
export const ROOT_NAME = "root.img";

/** The Deno inside; the last one of which npm has builds for both architectures. */
const DENO_PACKAGE = "@deno/linux-arm64-glibc";
const DENO_VERSION = "2.9.5";

const PACKAGES = [
  "busybox-static",
  "libc6",
  "libgcc-s1",
  "pciutils",
  // Comparisons with C, and layouts of the kernel's structures.
  "tcc",
  "libc6-dev",
  "linux-libc-dev",
];

/** What is of no use inside. */
const UNUSED = ["usr/share/doc", "usr/share/man", "usr/share/locale", "usr/share/lintian"];

const SPARE_MIB = 64;
const LINKS: Readonly<Record<string, string>> = {
  bin: "usr/bin",
  sbin: "usr/sbin",
  lib: "usr/lib",
};
const FOLDERS = ["dev", "proc", "run", "sys", "tmp"];

/** The artefact with the image. */
export async function hostRoot(
  cache: Cache,
  packages: Packages,
  tools: HostTools,
): Promise<Artefact> {
  const script = await Deno.readFile(new URL("host_init.sh", import.meta.url));
  const configuration = await Deno.readFile(new URL("../../deno.json", import.meta.url));
  const imports = JSON.stringify(JSON.parse(new TextDecoder().decode(configuration)).imports);
  return await cache.artefact({
    name: "hostvm-root",
    title: "the Host VM's file system",
    inputs: ["1", DENO_VERSION, ...PACKAGES, await sha256(script), imports].join(" "),
    make: async (path) => {
      const tree = `${path}/tree`;
      await packages.unpack("arm64", PACKAGES, "the Host VM's packages", tree);
      for (const unused of UNUSED) await removeTree(`${tree}/${unused}`);
      for (const [link, target] of Object.entries(LINKS)) {
        // Packages of Debian 13 have no files there any more.
        await Deno.symlink(target, `${tree}/${link}`);
      }
      for (const folder of FOLDERS) await Deno.mkdir(`${tree}/${folder}`, { recursive: true });
      await addDeno(cache, tree, Object.values(JSON.parse(imports)));
      await Deno.writeFile(`${tree}/init`, script, { mode: 0o755 });
      await linkApplets(tree);
      const mebibytes = Math.ceil(await sizeOf(tree) / 2 ** 20) + SPARE_MIB;
      const image = `${path}/${ROOT_NAME}`;
      await run(
        tools.mke2fs,
        [
          "-q",
          "-t",
          "ext4",
          "-L",
          "hostvm",
          "-m",
          "0",
          "-O",
          "^has_journal",
          "-E",
          "root_owner=0:0",
        ]
          .concat(["-d", tree, image, `${mebibytes}M`]),
        { doing: "make the Host VM's file system", signal: cache.signal },
      );
      await removeTree(tree);
      return {};
    },
  });
}

/** Has this Deno fetch the one for the Host VM, and what the repository imports, as it fetches any package. */
async function addDeno(cache: Cache, tree: string, imports: unknown[]): Promise<void> {
  cache.progress("Fetching Deno for arm64");
  const folder = `${tree}/deno-dir`;
  await run(
    { name: "deno", command: Deno.execPath(), args: [], env: { DENO_DIR: folder } },
    ["cache", "-q", "--no-lock", "--no-config", `npm:${DENO_PACKAGE}@${DENO_VERSION}`]
      .concat(imports as string[]),
    { doing: "fetch Deno for arm64", signal: cache.signal },
  );
  for (const { name } of Deno.readDirSync(`${folder}/npm`)) {
    const inside = `${folder}/npm/${name}/${DENO_PACKAGE}/${DENO_VERSION}`;
    try {
      await Deno.rename(`${inside}/deno`, `${tree}/usr/bin/deno`);
      await removeTree(`${folder}/npm/${name}/${DENO_PACKAGE}`);
      return;
    } catch (error) {
      if (!(error instanceof Deno.errors.NotFound)) throw error;
    }
  }
  throw new EnvironmentError(
    `Cannot find the program of ${DENO_PACKAGE}@${DENO_VERSION} among what Deno fetched`,
  );
}

/** Names of busybox's programs that the Host VM has from nowhere else. */
async function linkApplets(tree: string): Promise<void> {
  for (const applet of APPLETS) {
    await Deno.symlink("busybox", `${tree}/usr/bin/${applet}`).catch((error) => {
      if (!(error instanceof Deno.errors.AlreadyExists)) throw error;
    });
  }
}

async function sizeOf(path: string): Promise<number> {
  let sizeBytes = 0;
  for await (const { name, isDirectory } of Deno.readDir(path)) {
    const full = `${path}/${name}`;
    // Each file and folder takes at least a block.
    sizeBytes += isDirectory ? 4096 + await sizeOf(full) : 4096 + (await Deno.lstat(full)).size;
  }
  return sizeBytes;
}

const APPLETS =
  "ash basename cat chmod chroot cp cut date dd df dirname dmesg echo env expr false find grep gunzip gzip head hexdump id ifconfig ip kill less ln ls lsmod mkdir mknod mount mv od ping pgrep poweroff printf ps pwd readlink reboot rm rmdir sed seq sh sha256sum sleep sort stat stty sync tail tar tee test time timeout touch tr true umount uname uniq vi wc which xargs"
    .split(" ");
