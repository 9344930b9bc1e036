/**
 * What a program prints, line by line, and a way to wait for a line.
 * @module
 */

/** Lines kept for a failure's message. */
/** After so long something hangs: a busy machine boots a guest in a minute. */
export const PATIENCE_S = 180;
const SHOWN = 25;

interface Waiter {
  readonly pattern: RegExp;
  resolve(line: string): void;
}

/** Reads a stream to its end. */
export class Transcript {
  /** All lines so far. */
  readonly lines: string[] = [];
  /** Resolves when the stream has ended. */
  readonly ended: Promise<void>;
  readonly #waiters = new Set<Waiter>();
  readonly #reader: ReadableStreamDefaultReader<Uint8Array>;
  #rest = "";

  /** Takes `stream`. */
  constructor(stream: ReadableStream<Uint8Array>) {
    this.#reader = stream.getReader();
    this.ended = this.#read();
  }

  /** Reads no more: who writes now writes into a closed pipe. */
  async close(): Promise<void> {
    await this.#reader.cancel();
  }

  /** Lines that match. */
  matching(pattern: RegExp): string[] {
    return this.lines.filter((line) => pattern.test(line));
  }

  /** Everything that was printed, for a message. */
  tail(): string {
    return this.lines.slice(-SHOWN).join("\n");
  }

  /** The first line after the first `from` lines that matches, when it comes; throws when it does not come in time. */
  async line(pattern: RegExp, from = 0, seconds = PATIENCE_S): Promise<string> {
    const found = this.lines.slice(from).find((line) => pattern.test(line));
    if (found !== undefined) return found;
    const { promise, resolve, reject } = Promise.withResolvers<string>();
    const waiter: Waiter = { pattern, resolve };
    this.#waiters.add(waiter);
    const fail = (why: string): void => {
      reject(new Error(`${why} before a line matched ${pattern}. The last lines:\n${this.tail()}`));
    };
    const timer = setTimeout(() => fail(`${seconds} seconds went by`), seconds * 1000);
    this.ended.then(() => fail("The output ended"));
    try {
      return await promise;
    } finally {
      clearTimeout(timer);
      this.#waiters.delete(waiter);
    }
  }

  async #read(): Promise<void> {
    const decoder = new TextDecoder();
    for (let read; !(read = await this.#reader.read()).done;) {
      const lines = (this.#rest + decoder.decode(read.value, { stream: true })).split("\n");
      this.#rest = lines.pop()!;
      for (const line of lines) this.#push(line.replace(/\r$/, ""));
    }
    if (this.#rest !== "") this.#push(this.#rest);
  }

  #push(line: string): void {
    this.lines.push(line);
    for (const waiter of this.#waiters) {
      if (waiter.pattern.test(line)) waiter.resolve(line);
    }
  }
}
