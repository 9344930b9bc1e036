/**
 * The commands that a replayed device consumed last, in bounded memory.
 * @module
 */

/** A command with its place. */
export interface PastCommand {
  /** Line of the trace in whose course it was consumed. */
  readonly line: number;
  /** CERROR code with which it was refused, or 0. */
  readonly error: number;
  /** Its four words. */
  readonly words: Uint32Array;
}

const WORDS = 6;

/** Remembers the last 2^log2count commands. */
export class CommandHistory {
  readonly #words: Uint32Array;
  readonly #mask: number;
  #count = 0;

  /** Remembers none yet. */
  constructor(log2count: number = 14) {
    this.#words = new Uint32Array(WORDS << log2count);
    this.#mask = (1 << log2count) - 1;
  }

  /** Remembers a command; the oldest may be forgotten. */
  add(line: number, words: Uint32Array, error: number): void {
    const at = (this.#count++ & this.#mask) * WORDS;
    this.#words[at] = line;
    this.#words[at + 1] = error;
    for (let i = 0; i < 4; i++) this.#words[at + 2 + i] = words[i];
  }

  /** Those that are remembered, the latest first. */
  *latest(): Generator<PastCommand> {
    const words = this.#words;
    const first = Math.max(0, this.#count - this.#mask - 1);
    for (let i = this.#count - 1; i >= first; i--) {
      const at = (i & this.#mask) * WORDS;
      yield { line: words[at], error: words[at + 1], words: words.slice(at + 2, at + 6) };
    }
  }
}
