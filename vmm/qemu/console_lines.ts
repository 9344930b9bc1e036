/**
 * The lines of a guest's console, between a guest that prints at will and a reader that may be slow or absent.
 * @module
 */

/**
 * A bounded queue of lines with one reader. When it is full the oldest line goes and `dropped` counts it, because a guest
 * whose console is not read must neither stop nor cost memory.
 */
export class ConsoleLines implements AsyncIterable<string> {
  /** How many lines the reader has missed. */
  dropped = 0;

  readonly #capacity: number;
  #lines: string[] = [];
  #isClosed = false;
  #wake: (() => void) | undefined;

  /** Keeps up to `capacity` lines for the reader. */
  constructor(capacity = 4096) {
    this.#capacity = capacity;
  }

  /** Adds a line. */
  push(line: string): void {
    if (this.#lines.length === this.#capacity) {
      this.#lines.shift();
      this.dropped++;
    }
    this.#lines.push(line);
    this.#wake?.();
  }

  /** No line comes after this one. */
  close(): void {
    this.#isClosed = true;
    this.#wake?.();
  }

  /** Yields the lines kept so far and all that follow, until the console is closed. */
  async *[Symbol.asyncIterator](): AsyncGenerator<string, void> {
    while (true) {
      const lines = this.#lines;
      this.#lines = [];
      yield* lines;
      if (this.#lines.length > 0) continue;
      if (this.#isClosed) return;
      await new Promise<void>((resolve) => this.#wake = resolve);
      this.#wake = undefined;
    }
  }
}
