/**
 * Asks a C compiler for the layouts in Linux's headers, to compare them with ours: `uapi_layouts.json`.
 *
 *     deno task golden:uapi
 *
 * @module
 */
import { Cache, defaultCachePath, type Progress } from "../../vmm/provision/cache.ts";
import { Packages } from "../../vmm/provision/packages.ts";
import { hostArchitecture, libraryPath, rootTool } from "../../vmm/provision/root_tool.ts";
import { run } from "../../vmm/tool.ts";
import { cProgram, headerNames } from "./uapi_names.ts";

/**
 * What a compiler says of a header: the size of each structure, offset and size of each `structure.member`, where 0 is the
 * size of an array of any length, and the value of each number.
 */
export type HeaderLayout = Readonly<Record<string, number | readonly [number, number]>>;

/** Headers, and how names in them begin that are theirs. */
export const HEADERS: Readonly<Record<string, readonly string[]>> = {
  "linux/iommufd.h": ["IOMMU"],
  "linux/vfio.h": ["VFIO"],
};

const PACKAGES = ["tcc", "libc6-dev", "linux-libc-dev"];

/** The kernel of the layouts that are checked in. */
export const GOLDEN_VERSION = "7.3";

/** What a compiler says of all the headers. */
export interface Compiled {
  /** Such as `7.3`. */
  readonly version: string;
  /** By header. */
  readonly layouts: Readonly<Record<string, HeaderLayout>>;
}

/** The layouts in the headers of Debian's newest kernel. Throws an `EnvironmentError`. */
export async function compileLayouts(progress: Progress): Promise<Compiled> {
  using cache = await Cache.open(defaultCachePath(), { progress });
  const architecture = hostArchitecture();
  const title = "a C compiler and Linux's headers";
  const { path } = await cache.artefact({
    name: `headers-${architecture}`,
    title,
    inputs: ["2", ...PACKAGES].join(" "),
    make: async (path) => {
      await new Packages(cache).unpack(architecture, PACKAGES, title, `${path}/root`);
      // A script for linkers, which points outside the root.
      const library = `${libraryPath(`${path}/root`, architecture)}/libc.so`;
      await Deno.remove(library);
      await Deno.symlink("libc.so.6", library);
      return {};
    },
  });
  const root = `${path}/root`;
  const libraries = libraryPath(root, architecture);
  const triplet = libraries.slice(libraries.lastIndexOf("/") + 1);
  const include = `${root}/usr/include`;
  const compiler = rootTool(root, architecture, "usr/bin/tcc", {
    args: [
      "-nostdinc",
      `-B${libraries}/tcc`,
      `-L${libraries}`,
      ...[`${libraries}/tcc/include`, `${include}/${triplet}`, include].map((at) => `-I${at}`),
    ],
  });
  const layouts: Record<string, HeaderLayout> = {};
  for (const [header, prefixes] of Object.entries(HEADERS)) {
    const names = headerNames(await Deno.readTextFile(`${include}/${header}`), prefixes);
    const input = cProgram(header, names);
    const said = await run(compiler, ["-run", "-"], { doing: `compile ${header}`, input });
    layouts[header] = JSON.parse(said);
  }
  const version = await Deno.readTextFile(`${include}/linux/version.h`);
  const [, major] = /LINUX_VERSION_MAJOR (\d+)/.exec(version) ?? [];
  const [, minor] = /LINUX_VERSION_PATCHLEVEL (\d+)/.exec(version) ?? [];
  return { version: `${major}.${minor}`, layouts };
}

/** One name a line. */
export function layoutText(layouts: Readonly<Record<string, HeaderLayout>>): string {
  const headers = Object.entries(layouts).map(([header, layout]) => {
    const lines = Object.entries(layout).map(([name, value]) =>
      `    "${name}": ${typeof value === "number" ? value : `[${value.join(", ")}]`}`
    );
    return `  "${header}": {\n${lines.join(",\n")}\n  }`;
  });
  return `{\n${headers.join(",\n")}\n}\n`;
}

if (import.meta.main) {
  const note = new TextEncoder();
  const { layouts } = await compileLayouts((line) =>
    void Deno.stderr.writeSync(note.encode(`${line}\n`))
  );
  await Deno.writeTextFile(new URL("uapi_layouts.json", import.meta.url), layoutText(layouts));
}
