/**
 * `lspci` for the guest: Debian's program for arm64 with the libraries that it loads, as they lie in a file system.
 *
 * @module
 */
import { type Artefact, type Cache, removeTree } from "./cache.ts";
import { sha256 } from "./manifest.ts";
import type { Packages } from "./packages.ts";

/** Folder with the tree inside the artefact. */
export const LSPCI_TREE = "tree";

const PROGRAM = "usr/bin/lspci";
const LIBRARIES = "usr/lib/aarch64-linux-gnu";
/** Where a program says that its loader is. */
const LOADER = "lib/ld-linux-aarch64.so.1";
/** Names by which libraries are loaded. */
const SONAME = /^lib.+\.so\.\d+$/;

/** The artefact with the tree; its fact `sha256` tells it from others. */
export function guestLspci(cache: Cache, packages: Packages): Promise<Artefact> {
  return cache.artefact({
    name: "lspci-arm64",
    title: "lspci for the guest",
    inputs: "1",
    make: async (path) => {
      const root = `${path}/root`;
      await packages.unpack("arm64", ["pciutils"], "lspci for the guest", root);
      const loader = LOADER.slice(LOADER.lastIndexOf("/") + 1);
      const libraries = [...Deno.readDirSync(`${root}/${LIBRARIES}`)]
        .map(({ name }) => name).filter((name) => SONAME.test(name)).sort();
      const files: readonly (readonly [from: string, to: string])[] = [
        [PROGRAM, PROGRAM],
        [`${LIBRARIES}/${loader}`, LOADER],
        ...libraries.map((
          name,
        ): [string, string] => [`${LIBRARIES}/${name}`, `${LIBRARIES}/${name}`]),
      ];
      const digests: string[] = [];
      for (const [from, to] of files) {
        // A library's name is a link to its file.
        const bytes = await Deno.readFile(`${root}/${from}`);
        const file = `${path}/${LSPCI_TREE}/${to}`;
        await Deno.mkdir(file.slice(0, file.lastIndexOf("/")), { recursive: true });
        await Deno.writeFile(file, bytes);
        digests.push(`${to} ${await sha256(bytes)}`);
      }
      await removeTree(root);
      return { sha256: await sha256(new TextEncoder().encode(digests.join("\n"))) };
    },
  });
}
