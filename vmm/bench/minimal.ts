/**
 * The least that a lookup and a walk can be and still be right for pages that are mapped, as yardsticks: one page size,
 * one way, one format, no fault that says what it is.
 * @module
 */

const ALL = 0b111_111;

/** A set-associative table of eight-word entries: hash, compare tag, owner and permissions, load the address. */
export class MinimalTlb {
  readonly #words: Uint32Array;
  readonly #setMask: number;

  constructor(log2sets: number) {
    this.#words = new Uint32Array(32 << log2sets);
    this.#setMask = (1 << log2sets) - 1;
  }

  insert(lo: number, hi: number, owner: number, gpa: number): void {
    const at = ((lo >>> 12) ^ (hi << 20)) & this.#setMask;
    this.#words.set([lo & ~0xfff, hi, owner, 1, gpa, gpa / 0x1_0000_0000, ALL], at * 32);
  }

  /** The address that `hi:lo` stands for, or -1 when it is not there or not permitted. */
  find(lo: number, hi: number, owner: number, needed: number): number {
    const words = this.#words;
    const at = (((lo >>> 12) ^ (hi << 20)) & this.#setMask) * 32;
    return words[at] === (lo & ~0xfff) >>> 0 && words[at + 1] === hi && words[at + 2] === owner &&
        (words[at + 6] & needed) === needed
      ? words[at + 5] * 0x1_0000_0000 + words[at + 4] + (lo & 0xfff)
      : -1;
  }
}

const VALID = 0b1;
const AF_UNPRIVILEGED = 0x440;
const READ_ONLY = 0x80;

/**
 * Four levels of 4 KiB tables in `words`, which is RAM from address `ram` on; the address that `hi:lo` may write to,
 * or -1.
 */
export function minimalWalk(
  words: Uint32Array,
  ram: number,
  root: number,
  lo: number,
  hi: number,
): number {
  let table = root;
  for (let shift = 39;; shift -= 9) {
    const index = (shift >= 32 ? hi >>> (shift - 32) : (lo >>> shift) | (hi << (32 - shift))) &
      0x1ff;
    const at = (table - ram) / 4 + index * 2;
    const low = words[at];
    if ((low & VALID) === 0) return -1;
    table = (words[at + 1] & 0xffff) * 0x1_0000_0000 + ((low & 0xffff_f000) >>> 0);
    if (shift > 12) continue;
    const isPermitted = (low & (AF_UNPRIVILEGED | READ_ONLY)) === AF_UNPRIVILEGED;
    return isPermitted ? table + (lo & 0xfff) : -1;
  }
}
