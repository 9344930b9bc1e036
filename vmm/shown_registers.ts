/**
 * Which registers the guest meets where its SMMU is, in memory of two threads: those that trap, or those that are memory.
 * @module
 */
import type { RegisterKind } from "./register_page.ts";

const KINDS = [undefined, "trapped", "mapped"] as const satisfies (RegisterKind | undefined)[];

/** The main thread, which has the machine change it, writes; the device thread reads. */
export class ShownRegisters {
  readonly #word: Int32Array;

  /** On the memory of another one, or on fresh memory. */
  constructor(buffer: SharedArrayBuffer = new SharedArrayBuffer(Int32Array.BYTES_PER_ELEMENT)) {
    this.#word = new Int32Array(buffer);
  }

  /** The memory. */
  get buffer(): SharedArrayBuffer {
    return this.#word.buffer as SharedArrayBuffer;
  }

  /** Undefined while nobody can change it: what the client of the SMMU does with its BARs is its own affair. */
  get kind(): RegisterKind | undefined {
    return KINDS[Atomics.load(this.#word, 0)];
  }

  /** They are of this kind from now on. */
  set kind(kind: RegisterKind | undefined) {
    Atomics.store(this.#word, 0, KINDS.indexOf(kind));
  }
}
