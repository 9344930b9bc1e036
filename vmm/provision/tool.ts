/**
 * Programs that provisioning runs, on the machine or out of a root of unpacked packages.
 *
 * A newer Debian's program runs on an older system through its own loader and libraries, so a program in a root is the
 * loader with the program as an argument. `LD_LIBRARY_PATH` would do the same but Deno lets no child have it under a
 * partial `--allow-run`.
 *
 * @module
 */

import { ProvisionError } from "./provision_error.ts";

/** Debian's name of a machine that can be the host. */
export type HostArchitecture = "amd64" | "arm64";

/** How to start a program: `command`, then `args`, then the caller's own arguments, with `env` added. */
export interface Tool {
  /** What a person calls the program, such as `mke2fs`. */
  readonly name: string;
  /** The file to execute, or a name on PATH. */
  readonly command: string;
  /** Arguments that come before the caller's. */
  readonly args: readonly string[];
  /** Environment variables that the program needs besides the inherited ones. */
  readonly env: Readonly<Record<string, string>>;
}

/** What a run is given besides its arguments. */
export interface RunOptions {
  /** Completes `Cannot …` when the program fails. */
  readonly doing: string;
  /** Working directory; the caller's own by default. */
  readonly cwd?: string;
  /** Text for standard input; without it the program reads nothing. */
  readonly input?: string;
  /** Called with each line of standard output as it comes. */
  readonly onLine?: (line: string) => void;
  /** Ends the program. */
  readonly signal?: AbortSignal | undefined;
}

const LOADER: Record<HostArchitecture, { triplet: string; file: string }> = {
  amd64: { triplet: "x86_64-linux-gnu", file: "ld-linux-x86-64.so.2" },
  arm64: { triplet: "aarch64-linux-gnu", file: "ld-linux-aarch64.so.1" },
};

const TOOL_LINES_SHOWN = 8;

/** The Debian architecture of this machine; throws a {@link ProvisionError} on any other than amd64 and arm64. */
export function hostArchitecture(arch: string = Deno.build.arch): HostArchitecture {
  if (arch === "x86_64") return "amd64";
  if (arch === "aarch64") return "arm64";
  throw new ProvisionError(
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

/** A program of the machine, found on PATH. */
export function machineTool(name: string): Tool {
  return { name, command: name, args: [], env: {} };
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

/**
 * Runs a program to its end and returns its standard output.
 *
 * Throws a {@link ProvisionError} when it cannot be started or fails, and the signal's reason when it was aborted; the
 * program is gone by then.
 */
export async function run(
  tool: Tool,
  args: readonly string[],
  options: RunOptions,
): Promise<string> {
  options.signal?.throwIfAborted();
  const child = spawn(tool, args, options);
  const feeding = options.input === undefined ? undefined : feed(child, options.input);
  const errors = new Response(child.stderr).text();
  const output = await collect(child.stdout, options.onLine);
  await feeding;
  const status = await child.status;
  options.signal?.throwIfAborted();
  if (!status.success) {
    const said = lastLines(await errors) ?? lastLines(output) ?? [];
    const end = status.signal === null ? `code ${status.code}` : status.signal;
    throw new ProvisionError(`Cannot ${options.doing}: ${tool.name} ended with ${end}`, said);
  }
  return output;
}

function spawn(tool: Tool, args: readonly string[], options: RunOptions): Deno.ChildProcess {
  try {
    return new Deno.Command(tool.command, {
      args: [...tool.args, ...args],
      env: { LC_ALL: "C", ...tool.env },
      stdin: options.input === undefined ? "null" : "piped",
      stdout: "piped",
      stderr: "piped",
      ...options.cwd === undefined ? {} : { cwd: options.cwd },
      ...options.signal === undefined ? {} : { signal: options.signal },
    }).spawn();
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) {
      throw new ProvisionError(`Cannot ${options.doing}: ${tool.command} is not on this machine`);
    }
    throw new ProvisionError(`Cannot ${options.doing}: ${(error as Error).message}`);
  }
}

async function feed(child: Deno.ChildProcess, input: string): Promise<void> {
  const writer = child.stdin.getWriter();
  try {
    await writer.write(new TextEncoder().encode(input));
    await writer.close();
  } catch {
    // A program that stops reading ends with a status, and that says more than a broken pipe.
  }
}

async function collect(
  stream: ReadableStream<Uint8Array<ArrayBuffer>>,
  onLine: ((line: string) => void) | undefined,
): Promise<string> {
  let text = "";
  let lineStart = 0;
  for await (const chunk of stream.pipeThrough(new TextDecoderStream())) {
    text += chunk;
    if (onLine === undefined) continue;
    for (let end; (end = text.indexOf("\n", lineStart)) >= 0; lineStart = end + 1) {
      onLine(text.slice(lineStart, end));
    }
  }
  return text;
}

function lastLines(text: string): string[] | undefined {
  const lines = text.split("\n").map((line) => line.trimEnd()).filter((line) => line !== "");
  return lines.length === 0 ? undefined : lines.slice(-TOOL_LINES_SHOWN);
}
