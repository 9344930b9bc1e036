/**
 * Sectors in an array, for tests and embedders.
 * @module
 */
import type { BlockStore } from "./block_store.ts";

/** A store in memory. Discarded ranges read as zero. */
export class MemoryBlockStore implements BlockStore {
  /** The contents. */
  readonly bytes: Uint8Array;

  /** A store over these bytes, or of so many zero bytes. */
  constructor(contents: Uint8Array | number) {
    this.bytes = typeof contents === "number" ? new Uint8Array(contents) : contents;
  }

  /** Size of the array. */
  get sizeBytes(): number {
    return this.bytes.length;
  }

  /** Copies out of the array; always possible. */
  read(offset: number, into: Uint8Array): boolean {
    into.set(this.bytes.subarray(offset, offset + into.length));
    return true;
  }

  /** Copies into the array; always possible. */
  write(offset: number, from: Uint8Array): boolean {
    this.bytes.set(from, offset);
    return true;
  }

  /** Does nothing: an array is never more durable than it is. */
  flush(): boolean {
    return true;
  }

  /** Fills the range with zeroes. */
  discard(offset: number, sizeBytes: number): boolean {
    this.bytes.fill(0, offset, offset + sizeBytes);
    return true;
  }
}
