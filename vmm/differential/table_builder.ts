/**
 * Translation tables in an image. Arm ARM (DDI 0487) D8.2, D8.3.
 * @module
 */
import type { Image } from "./image.ts";

/** The form of a tree of tables. */
export interface TableForm {
  /** log2 of the granule in bytes: 12, 14 or 16. */
  readonly log2granule: number;
  /** Significant bits of an input address. */
  readonly inputBits: number;
  /** Level of the first table. */
  readonly firstLevel: number;
}

/** A leaf that was made. */
export interface Leaf {
  /** Where its descriptor is. */
  readonly descriptor: number;
  /** Where the descriptors of the tables above are, the first one first. */
  readonly above: readonly number[];
}

const TABLE = 0b11n;
const ADDRESS = 0x0000_ffff_ffff_f000n;

/** The level at which a walk of stage 1 starts. */
export function firstLevelOf(log2granule: number, inputBits: number): number {
  return 4 - Math.max(Math.ceil((inputBits - log2granule) / (log2granule - 3)), 1);
}

/** log2 of what a descriptor of this level maps. */
export function shiftOf(log2granule: number, level: number): number {
  return log2granule + (3 - level) * (log2granule - 3);
}

/** A tree of tables that grows. */
export class TableBuilder {
  readonly form: TableForm;
  /** Where the first table is, for who walks it. */
  readonly root: number;
  /** All tables, as memory has them. */
  readonly tables: number[] = [];
  readonly #image: Image;
  readonly #delta: number;

  /**
   * A tree without leaves; `delta` is what has to be added to the address of a table for who walks it. Throws a RangeError
   * when there is no place.
   */
  constructor(image: Image, form: TableForm, delta: number = 0) {
    this.form = form;
    this.#image = image;
    this.#delta = delta;
    const { log2granule, inputBits, firstLevel } = form;
    const count = 2 ** (inputBits - shiftOf(log2granule, firstLevel));
    this.root = this.#table(Math.max(count * 8, 2 ** log2granule)) + delta;
  }

  /** Maps what a leaf of `level` covers around an input address; `attributes` are all other bits of the descriptor. */
  map(input: bigint, output: number, level: number, attributes: bigint): Leaf {
    const { log2granule, inputBits, firstLevel } = this.form;
    const offset = BigInt.asUintN(inputBits, input);
    const above: number[] = [];
    let table = this.root - this.#delta;
    for (let at = firstLevel;; at++) {
      const bits = at === firstLevel ? 64n : BigInt(log2granule - 3);
      const index = BigInt.asUintN(
        Number(bits),
        offset >> BigInt(shiftOf(log2granule, at)),
      );
      const descriptor = table + Number(index) * 8;
      if (at === level) {
        const size = 2 ** shiftOf(log2granule, level);
        const type = level === 3 ? 0b11n : 0b01n;
        this.#image.store(descriptor, BigInt(output - output % size) | attributes | type);
        return { descriptor, above };
      }
      above.push(descriptor);
      const old = this.#image.load(descriptor);
      if ((old & TABLE) === TABLE) table = Number(old & ADDRESS) - this.#delta;
      else {
        table = this.#table(2 ** log2granule);
        this.#image.store(descriptor, BigInt(table + this.#delta) | TABLE);
      }
    }
  }

  #table(sizeBytes: number): number {
    const gpa = this.#image.place(sizeBytes);
    if (gpa === undefined) throw new RangeError("Cannot place a table: the window is full");
    for (let at = 0; at < sizeBytes; at += 2 ** this.form.log2granule) this.tables.push(gpa + at);
    return gpa;
  }
}
