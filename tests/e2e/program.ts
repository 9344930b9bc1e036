/**
 * A program that a test has started: what it prints, what it holds, its end.
 * @module
 */
import { assertEquals, equal } from "@std/assert";
import { delay } from "@std/async/delay";
import { shell } from "./shell.ts";
import { PATIENCE_S, Transcript } from "./transcript.ts";

const SOON_MS = 5000;
const POLL_MS = 20;

/** How a program ended. */
export interface ProgramEnd {
  readonly code: number;
  readonly signal: string | null;
}

/** A running program. It is killed at the end of an `await using` block if it still runs. */
export class Program implements AsyncDisposable {
  readonly pid: number;
  readonly out: Transcript;
  readonly err: Transcript;
  readonly #child: Deno.ChildProcess;
  readonly #input: WritableStreamDefaultWriter<Uint8Array>;
  readonly #encoder = new TextEncoder();
  #isOver = false;

  /** Starts `command` in a session of its own, so that signals to our group do not reach it. */
  constructor(command: string, args: readonly string[], env: Readonly<Record<string, string>>) {
    this.#child = new Deno.Command(command, {
      args: [...args],
      env: { ...env },
      cwd: new URL("../..", import.meta.url),
      stdin: "piped",
      stdout: "piped",
      stderr: "piped",
      detached: true,
    }).spawn();
    this.pid = this.#child.pid;
    this.out = new Transcript(this.#child.stdout);
    this.err = new Transcript(this.#child.stderr);
    this.#input = this.#child.stdin.getWriter();
    this.#child.status.then(() => this.#isOver = true);
  }

  /** Sends a line to its standard input. */
  async type(line: string): Promise<void> {
    await this.#input.write(this.#encoder.encode(`${line}\n`));
  }

  /** Sends a signal to it alone. */
  kill(signal: Deno.Signal): void {
    this.#child.kill(signal);
  }

  /** Sends a signal to it and its children, as a terminal does. */
  killGroup(signal: Deno.Signal): void {
    Deno.kill(-this.pid, signal);
  }

  /** Its end and that of its output; throws with its last words when it does not come in time. */
  async end(seconds = PATIENCE_S): Promise<ProgramEnd> {
    const { promise, reject } = Promise.withResolvers<never>();
    const timer = setTimeout(() => {
      const words = `${this.out.tail()}\n--- standard error ---\n${this.err.tail()}`;
      reject(new Error(`It did not end within ${seconds} seconds. The last lines:\n${words}`));
    }, seconds * 1000);
    try {
      const status = await Promise.race([this.#child.status, promise]);
      await Promise.race([Promise.all([this.out.ended, this.err.ended]), promise]);
      return { code: status.code, signal: status.signal };
    } finally {
      clearTimeout(timer);
    }
  }

  /** What its descriptors are, sorted, without the numbers of sockets and pipes. */
  descriptors(): string[] {
    // One that is closed meanwhile has it fail, and tell of the others all the same.
    const lines = shell(`ls -l "/proc/$0/fd" 2>/dev/null || true`, String(this.pid));
    return lines.filter((line) => line.includes(" -> "))
      .map((line) => line.split(" -> ")[1].replace(/:\[\d+\]$/, "")).sort();
  }

  /** Throws unless its descriptors are these, now or soon. */
  async expectDescriptors(targets: readonly string[]): Promise<void> {
    const end = performance.now() + SOON_MS;
    while (!equal(this.descriptors(), targets) && performance.now() < end) await delay(POLL_MS);
    assertEquals(this.descriptors(), targets);
  }

  /** A line of its `/proc/PID/status` in MiB, such as `RssAnon`. */
  memory(name: string): number {
    const [line] = shell(`grep "^$1:" "/proc/$0/status"`, String(this.pid), name);
    return parseInt(line.slice(name.length + 1)) / 1024;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (!this.#isOver) this.#child.kill("SIGKILL");
    await this.#input.close().catch(() => {});
    await this.#child.status;
    await Promise.all([this.out.ended, this.err.ended]);
  }
}
