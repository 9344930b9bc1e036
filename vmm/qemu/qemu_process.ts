/**
 * QEMU as a child process: its console, its last words, its end.
 * @module
 */
import { ConsoleLines } from "./console_lines.ts";
import { lines } from "./lines.ts";
import { EnvironmentError } from "../environment_error.ts";
import type { QemuFeatures } from "./qemu_features.ts";
import { endOf, lastLines, machineTool, run, type Tool } from "../tool.ts";

/** Longest piece of a console line that the reader gets at once, in characters. */
const LINE_LENGTH = 4096;
const STDERR_LINES = 20;
/** Lines of the last words, and their characters. */
const LAST_WORDS = 4;
const LAST_WORDS_LENGTH = 1000;

/** Who has QEMU's standard input and output: our reader of lines, or whoever has ours. */
export type ConsoleMode = "lines" | "inherit";

/** A running QEMU. */
export class QemuProcess {
  /** The guest's console: what QEMU writes to its standard output. Ends when QEMU does. */
  readonly console = new ConsoleLines();
  /** Resolves when QEMU has ended and all of its output is read; never rejects. */
  readonly exited: Promise<Deno.CommandStatus>;

  readonly #child: Deno.ChildProcess;
  readonly #input: WritableStreamDefaultWriter<Uint8Array> | undefined;
  readonly #stderr: string[] = [];

  private constructor(child: Deno.ChildProcess, isOurs: boolean) {
    this.#child = child;
    this.#input = isOurs ? undefined : child.stdin.getWriter();
    if (isOurs) this.console.close();
    this.exited = this.#run(isOurs);
  }

  /** Starts `qemu`; throws an `EnvironmentError` when there is no such program. */
  static start(qemu: Tool, args: readonly string[], mode: ConsoleMode = "lines"): QemuProcess {
    const isOurs = mode === "inherit";
    try {
      const command = new Deno.Command(qemu.command, {
        args: [...qemu.args, ...args],
        env: { ...qemu.env },
        stdin: isOurs ? "inherit" : "piped",
        stdout: isOurs ? "inherit" : "piped",
        stderr: "piped",
      });
      return new QemuProcess(command.spawn(), isOurs);
    } catch (error) {
      throw new EnvironmentError(
        `Cannot start QEMU: ${error instanceof Error ? error.message : error}`,
      );
    }
  }

  /** Process identifier. */
  get pid(): number {
    return this.#child.pid;
  }

  /** The last lines of QEMU's standard error but for its warnings, in one line; empty when it printed nothing else. */
  get lastWords(): string {
    const said = this.#stderr.filter((line) => !line.includes(" warning: ")).join("\n");
    return lastLines(said, LAST_WORDS).join("; ").slice(-LAST_WORDS_LENGTH);
  }

  /** Types a line at the guest's console; nothing happens when QEMU has ended, or somebody else has the console. */
  async type(line: string): Promise<void> {
    await this.#input?.write(new TextEncoder().encode(`${line}\n`)).catch(() => {});
  }

  /** Sends a signal; nothing happens when QEMU has ended. */
  kill(signal: Deno.Signal): void {
    try {
      this.#child.kill(signal);
    } catch {
      // It ended by itself.
    }
  }

  async #run(isOurs: boolean): Promise<Deno.CommandStatus> {
    const [status] = await Promise.all([
      this.#child.status,
      isOurs ? undefined : this.#readConsole(),
      this.#readStderr(),
    ]);
    await this.#input?.close().catch(() => {});
    return status;
  }

  async #readConsole(): Promise<void> {
    for await (const line of lines(this.#child.stdout, LINE_LENGTH)) this.console.push(line);
    this.console.close();
  }

  async #readStderr(): Promise<void> {
    for await (const line of lines(this.#child.stderr, LINE_LENGTH)) {
      this.#stderr.push(line);
      if (this.#stderr.length > STDERR_LINES) this.#stderr.shift();
    }
  }
}

/** How a QEMU ended, in words: `exit status 1: no such file` or `signal SIGKILL`. */
export function describeEnd(process: QemuProcess, status: Deno.CommandStatus): string {
  const words = process.lastWords;
  return words === "" ? endOf(status) : `${endOf(status)}: ${words}`;
}

/**
 * `qemu` such that it ends when we do, however we end. A QEMU that can do that itself is returned as it is; an older one is
 * started through util-linux's `setpriv` where that is installed.
 */
export async function tiedToUs(qemu: Tool, features: QemuFeatures): Promise<Tool> {
  if (features.canExitWithParent) return qemu;
  const args = ["--pdeathsig", "KILL"];
  try {
    await run(machineTool("setpriv"), [...args, "true"], { doing: "tie QEMU to us" });
  } catch {
    return qemu;
  }
  return { ...qemu, command: "setpriv", args: [...args, qemu.command, ...qemu.args] };
}
