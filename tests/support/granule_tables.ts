/**
 * Tables of stage 1 of any granule in the memory of a `KernelGuest`, where its context descriptor finds them.
 * DDI 0487 D8.2; IHI 0070 §5.4 TG0, T0SZ.
 * @module
 */
import { AT, type KernelGuest, RAM_GPA } from "./kernel_guest.ts";

/** A page size: what CD.TG0 and the TG of range invalidations call it. */
export interface Granule {
  readonly log2size: number;
  readonly tg0: bigint;
  readonly rangeTg: bigint;
}

/** Those that the architecture has besides 4 KiB. */
export const GRANULE = {
  "16 KiB": { log2size: 14, tg0: 2n, rangeTg: 2n },
  "64 KiB": { log2size: 16, tg0: 1n, rangeTg: 3n },
} as const satisfies Record<string, Granule>;

/** Valid, for everyone, shareable, accessed, of its ASID alone; a block, without bit 1 that makes it a page. */
const BLOCK = 0xf41n;
const [PAGE, TABLE] = [BLOCK | 2n, 3n];
const FIRST = AT.FREE;
const LARGEST_TABLE = 0x1_0000;

/** Tables that begin empty; each has 64 KiB of the memory, from `AT.FREE` on. */
export class GranuleTables {
  readonly #guest: KernelGuest;
  readonly #granule: Granule;
  readonly #inputBits: number;
  #end = FIRST;
  readonly #root: number;

  /** For addresses of `inputBits`. */
  constructor(guest: KernelGuest, granule: Granule, inputBits: number) {
    this.#guest = guest;
    this.#granule = granule;
    this.#inputBits = inputBits;
    this.#root = this.#newTable();
    const { view } = guest.ram;
    const word = view.getBigUint64(AT.CD, true) & ~0xffn;
    view.setBigUint64(AT.CD, word | BigInt(64 - inputBits) | granule.tg0 << 6n, true);
    view.setBigUint64(AT.CD + 8, BigInt(RAM_GPA + this.#root), true);
  }

  /** Where free memory begins, when all that is to be mapped has been. */
  get end(): number {
    return this.#end;
  }

  /** Maps the page at `iova` to the one `offset` bytes into the guest's memory. */
  map(iova: number, offset: number): void {
    this.#set(this.#find(iova, 3), BigInt(RAM_GPA + offset) | PAGE);
  }

  /** Maps the block of level 2 at `iova` to the one that the guest's memory begins. */
  mapBlock(iova: number): void {
    this.#set(this.#find(iova, 2), BigInt(RAM_GPA) | BLOCK);
  }

  /** Where the descriptor of an address is, by tables that are made where there are none. */
  #find(iova: number, lastLevel: number): number {
    const bits = this.#granule.log2size - 3;
    const address = BigInt(iova) & (1n << BigInt(this.#inputBits)) - 1n;
    const levels = Math.ceil((this.#inputBits - this.#granule.log2size) / bits);
    let table = this.#root;
    for (let level = 4 - levels;; level++) {
      const shift = BigInt(this.#granule.log2size + (3 - level) * bits);
      // What is above the first level's bits was masked off.
      const index = Number(address >> shift & (1n << BigInt(bits)) - 1n);
      const at = table + 8 * index;
      if (level === lastLevel) return at;
      const found = this.#guest.ram.view.getBigUint64(at, true);
      if (found === 0n) {
        table = this.#newTable();
        this.#set(at, BigInt(RAM_GPA + table) | TABLE);
      } else table = Number(found & ~TABLE) - RAM_GPA;
    }
  }

  #set(at: number, descriptor: bigint): void {
    this.#guest.ram.view.setBigUint64(at, descriptor, true);
  }

  #newTable(): number {
    const at = this.#end;
    this.#end += LARGEST_TABLE;
    return at;
  }
}
