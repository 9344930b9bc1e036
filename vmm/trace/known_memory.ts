/**
 * What a reader of the trace knows of guest memory: the quads that the device fetched lately.
 *
 * Recorder and replayer keep the same table by the same rule, so a fetch costs a line of trace only where the guest
 * changed something in between, or where the table had to forget. Its size is fixed and in the trace's header.
 * @module
 */

/** A direct-mapped table from the address of a quad to its two words. */
export class KnownMemory {
  readonly #mask: number;
  readonly #tags: Float64Array;
  readonly #lo: Uint32Array;
  readonly #hi: Uint32Array;

  /** Knows nothing yet, and at most 2^log2size quads. */
  constructor(log2size: number) {
    this.#mask = (1 << log2size) - 1;
    this.#tags = new Float64Array(1 << log2size).fill(-1);
    this.#lo = new Uint32Array(1 << log2size);
    this.#hi = new Uint32Array(1 << log2size);
  }

  /** Whether the quad at `gpa` is known, whatever it holds. */
  has(gpa: number): boolean {
    return this.#tags[this.#slot(gpa)] === gpa;
  }

  /** Whether the quad at `gpa` is known to hold these words. */
  holds(gpa: number, lo: number, hi: number): boolean {
    const slot = this.#slot(gpa);
    return this.#tags[slot] === gpa && this.#lo[slot] === lo && this.#hi[slot] === hi;
  }

  /** Learns what the quad at `gpa` holds; another may be forgotten. */
  learn(gpa: number, lo: number, hi: number): void {
    const slot = this.#slot(gpa);
    this.#tags[slot] = gpa;
    this.#lo[slot] = lo;
    this.#hi[slot] = hi;
  }

  /** Learns what the quads from `gpa` on hold. */
  learnAll(gpa: number, words: Uint32Array): void {
    for (let i = 0; i < words.length; i += 2) this.learn(gpa + i * 4, words[i], words[i + 1]);
  }

  /** Copies the words of a known quad to `into[at]` and `into[at + 1]`. */
  recall(gpa: number, into: Uint32Array, at: number): void {
    const slot = this.#slot(gpa);
    into[at] = this.#lo[slot];
    into[at + 1] = this.#hi[slot];
  }

  /** What is known: address and both words of each quad, in no particular order. */
  *entries(): Generator<[gpa: number, lo: number, hi: number]> {
    for (let slot = 0; slot <= this.#mask; slot++) {
      if (this.#tags[slot] >= 0) yield [this.#tags[slot], this.#lo[slot], this.#hi[slot]];
    }
  }

  /** Forgets everything. */
  clear(): void {
    this.#tags.fill(-1);
  }

  #slot(gpa: number): number {
    const quad = gpa / 8;
    return (quad ^ (quad / this.#tags.length)) & this.#mask;
  }
}
