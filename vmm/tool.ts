/**
 * Other people's programs, run to their end.
 * @module
 */

import { EnvironmentError } from "./environment_error.ts";

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

const TOOL_LINES_SHOWN = 8;

/** A program of the machine, found on PATH. */
export function machineTool(name: string): Tool {
  return { name, command: name, args: [], env: {} };
}

/**
 * Runs a program to its end and returns its standard output.
 *
 * Throws an {@link EnvironmentError} with its last lines when it cannot be started or fails, and the signal's reason when it was aborted; the
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
  // What the program started has its standard error too: it is gone only when that is closed.
  const [status, output, errors] = await Promise.all([
    child.status,
    collect(child.stdout, options.onLine),
    new Response(child.stderr).text(),
    feeding,
  ]);
  options.signal?.throwIfAborted();
  if (!status.success) {
    const said = [errors, output].map((text) => lastLines(text, TOOL_LINES_SHOWN));
    throw new EnvironmentError(
      `Cannot ${options.doing}: ${tool.name} ended with ${endOf(status)}`,
      said.find((lines) => lines.length > 0),
    );
  }
  return output;
}

/** How a program ended: `exit status 1` or `signal SIGKILL`. */
export function endOf({ code, signal }: Deno.CommandStatus): string {
  return signal === null ? `exit status ${code}` : `signal ${signal}`;
}

/** The last `count` lines of `text` that are not empty. */
export function lastLines(text: string, count: number): string[] {
  return text.split("\n").map((line) => line.trimEnd()).filter((line) => line !== "").slice(-count);
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
      throw new EnvironmentError(`Cannot ${options.doing}: ${tool.command} is not on this machine`);
    }
    throw new EnvironmentError(`Cannot ${options.doing}: ${(error as Error).message}`);
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
