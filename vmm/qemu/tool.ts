/**
 * How to run a program that may need its own loader, libraries and environment, and a way to run it to its end.
 * @module
 */
import { QemuError } from "./qemu_error.ts";

/** A program as provisioning found it: `command` with `args` before our own. */
export interface Tool {
  readonly command: string;
  readonly args: readonly string[];
  /** Added to the environment. */
  readonly env: Readonly<Record<string, string>>;
}

/** What a finished tool printed. */
export interface ToolOutput {
  readonly stdout: Uint8Array<ArrayBuffer>;
  readonly stderr: string;
}

const TIMEOUT_MS = 60_000;

/**
 * Runs `name` to its end, with `input` as its standard input. Throws a `QemuError` that names it and shows the last lines it
 * printed when it cannot be started, fails, or takes longer than a minute; the reason of `signal` when that is aborted.
 */
export async function runTool(
  name: string,
  tool: Tool,
  args: readonly string[],
  options: { input?: string; signal?: AbortSignal | undefined } = {},
): Promise<ToolOutput> {
  const timeout = AbortSignal.timeout(TIMEOUT_MS);
  const signal = options.signal ? AbortSignal.any([options.signal, timeout]) : timeout;
  signal.throwIfAborted();
  const child = spawn(name, tool, args, signal);
  const writing = feed(child.stdin, options.input ?? "");
  const { success, code, stdout, stderr } = await child.output();
  await writing;
  options.signal?.throwIfAborted();
  const text = new TextDecoder().decode(stderr).trim();
  if (timeout.aborted) throw new QemuError(`Cannot run ${name}: it took longer than a minute`);
  if (!success) {
    throw new QemuError(`Cannot run ${name}: ${lastLines(text) || `exit status ${code}`}`);
  }
  return { stdout, stderr: text };
}

/** The last `count` lines of `text`, in one line of at most 1000 characters. */
export function lastLines(text: string, count = 4): string {
  return text.trim().split("\n").slice(-count).join("; ").slice(-1000);
}

function spawn(
  name: string,
  tool: Tool,
  args: readonly string[],
  signal: AbortSignal,
): Deno.ChildProcess {
  try {
    return new Deno.Command(tool.command, {
      args: [...tool.args, ...args],
      env: { ...tool.env },
      stdin: "piped",
      stdout: "piped",
      stderr: "piped",
      signal,
    }).spawn();
  } catch (error) {
    throw new QemuError(`Cannot run ${name}: ${error instanceof Error ? error.message : error}`);
  }
}

async function feed(stdin: WritableStream<Uint8Array>, input: string): Promise<void> {
  const writer = stdin.getWriter();
  try {
    await writer.write(new TextEncoder().encode(input));
    await writer.close();
  } catch {
    // A tool that stops reading has failed or has read enough; its status says which.
  }
}
