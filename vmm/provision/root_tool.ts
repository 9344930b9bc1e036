/**
 * Programs out of a root of unpacked packages.
 *
 * A newer Debian's program runs on an older system through its own loader and libraries, so a program in a root is the
 * loader with the program as an argument. `LD_LIBRARY_PATH` would do the same but Deno lets no child have it under a
 * partial `--allow-run`.
 *
 * @module
 */

import { EnvironmentError } from "../environment_error.ts";
import type { Tool } from "../tool.ts";

/** Debian's name of a machine that can be the host. */
export type HostArchitecture = "amd64" | "arm64";

const LOADER: Record<HostArchitecture, { triplet: string; file: string }> = {
  amd64: { triplet: "x86_64-linux-gnu", file: "ld-linux-x86-64.so.2" },
  arm64: { triplet: "aarch64-linux-gnu", file: "ld-linux-aarch64.so.1" },
};

/** The Debian architecture of this machine; throws a {@link EnvironmentError} on any other than amd64 and arm64. */
export function hostArchitecture(arch: string = Deno.build.arch): HostArchitecture {
  if (arch === "x86_64") return "amd64";
  if (arch === "aarch64") return "arm64";
  throw new EnvironmentError(
    `Cannot provision on ${arch}: Debian's packages are taken for amd64 and arm64 hosts only`,
  );
}

/** The folder of a root that holds its libraries, absolute. */
export function libraryPath(root: string, architecture: HostArchitecture): string {
  return `${root}/usr/lib/${LOADER[architecture].triplet}`;
}

/** The file that `--allow-run` has to name for programs in a root. */
export function loaderPath(root: string, architecture: HostArchitecture): string {
  return `${libraryPath(root, architecture)}/${LOADER[architecture].file}`;
}

/** A program inside a root; `program` is its path there, such as `usr/sbin/mke2fs`. */
export function rootTool(
  root: string,
  architecture: HostArchitecture,
  program: string,
  options: { args?: readonly string[]; env?: Record<string, string> } = {},
): Tool {
  const libraries = libraryPath(root, architecture);
  return {
    name: program.slice(program.lastIndexOf("/") + 1),
    command: loaderPath(root, architecture),
    args: ["--library-path", libraries, `${root}/${program}`, ...options.args ?? []],
    env: options.env ?? {},
  };
}
