/**
 * The registers as one array of words with write masks. IHI 0070 §6.2 Register overview.
 *
 * Where software's accesses do not trap, they go to a mirror of the array.
 * @module
 */
import { PAGE0_ALIAS, REG, type Register, REGISTER_SPACE_SIZE } from "./spec/registers.ts";

const WRITABLE = new Uint32Array(REGISTER_SPACE_SIZE / 4);
for (const { offset, writable } of Object.values(REG) as Register[]) {
  writable.forEach((mask, i) => WRITABLE[offset / 4 + i] = mask);
}

/** The word that each word really is. */
const RESOLVED = Int32Array.from(
  { length: REGISTER_SPACE_SIZE / 4 },
  (_, word) => (PAGE0_ALIAS[word * 4] ?? word * 4) / 4,
);

/** Shows software what is in the registers. */
export interface RegisterMirror {
  /** The word of this number, and all its aliases, changed from `old` to `value`. */
  show(word: number, old: number, value: number): void;
  /** All words may have changed. */
  showAll(): void;
}

/** Storage of the register space; what an access means beyond storing is the device's business. */
export class RegisterFile {
  /** All words; word `offset / 4` is the register at `offset`. */
  readonly words: Uint32Array;
  /** Told of every change. */
  mirror: RegisterMirror | undefined;

  /** Registers over `buffer`, whose length is the register space's. */
  constructor(buffer: ArrayBufferLike = new ArrayBuffer(REGISTER_SPACE_SIZE)) {
    this.words = new Uint32Array(buffer, 0, REGISTER_SPACE_SIZE / 4);
  }

  /** The offset, a multiple of 4, at which the register really is: page-0 aliases of page-1 registers are resolved. */
  static resolve(offset: number): number {
    const word = RESOLVED[offset >>> 2];
    return word === undefined ? offset : word * 4;
  }

  /** The bits that software can write in the word at `offset`; zero for what is reserved or read-only. */
  static writable(offset: number): number {
    return WRITABLE[offset >>> 2];
  }

  /** Reads the word of a register. */
  get(register: Register): number {
    return this.words[register.offset >>> 2];
  }

  /** Sets the word of a register, whatever software may write there. */
  set(register: Register, value: number): void {
    this.put(register.offset, value);
  }

  /** Sets the word at `offset`, whatever software may write there. */
  put(offset: number, value: number): void {
    const word = offset >>> 2;
    const old = this.words[word];
    this.words[word] = value;
    this.mirror?.show(word, old, this.words[word]);
  }

  /** Becomes zeros, and then what `fill` makes of them. */
  reset(fill: (words: Uint32Array) => void): void {
    this.words.fill(0);
    fill(this.words);
    this.mirror?.showAll();
  }

  /** The words that are not zero: offset and value of each. */
  snapshot(): (readonly [offset: number, value: number])[] {
    const found: [number, number][] = [];
    for (let word = 0; word < this.words.length; word++) {
      if (this.words[word] !== 0) found.push([word * 4, this.words[word]]);
    }
    return found;
  }

  /** Becomes what a snapshot says. */
  restore(snapshot: readonly (readonly [offset: number, value: number])[]): void {
    this.reset((words) => {
      for (const [offset, value] of snapshot) words[offset >>> 2] = value;
    });
  }

  /** The word or words of a register, for reading its fields. */
  view(register: Register): Uint32Array {
    const first = register.offset >>> 2;
    return this.words.subarray(first, first + 2);
  }
}
