/**
 * An Address Translation Cache: what an endpoint keeps of the answers to its translation requests. PCI Express Base 5.0
 * §10.1, §10.3.
 * @module
 */
import type { TranslationCompletion } from "../ats_port.ts";

const LOG2_PAGE = 12;
const NOTHING = -2;

/** Translations by substream and address; a new one may push out another. */
export class TranslationCache {
  /** Address of the page that was found last, in bytes. */
  gpa = 0;
  /** log2 of its size in bytes. */
  log2size = 0;
  /** Whether it may be written. */
  write = false;

  readonly #substreams: Int32Array;
  readonly #lows: Uint32Array;
  readonly #highs: Uint32Array;
  readonly #sizes: Uint8Array;
  readonly #gpas: Float64Array;
  readonly #writes: Uint8Array;
  #next = 0;

  /** A cache of so many translations, empty. */
  constructor(capacity: number) {
    this.#substreams = new Int32Array(capacity).fill(NOTHING);
    this.#lows = new Uint32Array(capacity);
    this.#highs = new Uint32Array(capacity);
    this.#sizes = new Uint8Array(capacity);
    this.#gpas = new Float64Array(capacity);
    this.#writes = new Uint8Array(capacity);
  }

  /** How many translations it keeps. */
  get count(): number {
    let count = 0;
    for (const substreamId of this.#substreams) if (substreamId !== NOTHING) count++;
    return count;
  }

  /** Whether it has a translation of an address of a substream, or of requests without one (-1). */
  find(substreamId: number, lo: number, hi: number): boolean {
    for (let at = 0; at < this.#substreams.length; at++) {
      if (this.#substreams[at] !== substreamId || !this.#covers(at, lo, hi, 0)) continue;
      this.gpa = this.#gpas[at];
      this.log2size = this.#sizes[at];
      this.write = this.#writes[at] !== 0;
      return true;
    }
    return false;
  }

  /** Keeps an answer, in place of what it had of the same address. */
  insert(substreamId: number, lo: number, hi: number, completion: TranslationCompletion): void {
    this.invalidate(substreamId, false, lo, hi, 0);
    const at = this.#next;
    this.#next = (at + 1) % this.#substreams.length;
    this.#substreams[at] = substreamId;
    this.#lows[at] = lo;
    this.#highs[at] = hi;
    this.#sizes[at] = completion.log2size;
    this.#gpas[at] = completion.gpa;
    this.#writes[at] = Number(completion.write);
  }

  /** Forgets what overlaps 4096 * 2^log2pages bytes around an address, of a substream or of all. */
  invalidate(
    substreamId: number,
    everySubstream: boolean,
    lo: number,
    hi: number,
    log2pages: number,
  ): void {
    for (let at = 0; at < this.#substreams.length; at++) {
      if (!everySubstream && this.#substreams[at] !== substreamId) continue;
      if (this.#covers(at, lo, hi, LOG2_PAGE + log2pages)) this.#substreams[at] = NOTHING;
    }
  }

  /** Forgets everything. */
  clear(): void {
    this.#substreams.fill(NOTHING);
  }

  /** Both are as large as powers of two, and aligned: they overlap when the larger one has the other. */
  #covers(at: number, lo: number, hi: number, log2size: number): boolean {
    const shift = Math.max(this.#sizes[at], log2size);
    if (shift >= 64) return true;
    if (shift >= 32) return (this.#highs[at] ^ hi) >>> (shift - 32) === 0;
    return this.#highs[at] === hi && (this.#lows[at] ^ lo) >>> shift === 0;
  }
}
