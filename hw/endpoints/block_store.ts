/**
 * What a block device keeps its sectors in.
 * @module
 */

/** Storage of a fixed size. Offsets and sizes are in bytes, inside the size; false means that the host could not do it. */
export interface BlockStore {
  /** Size in bytes. */
  readonly sizeBytes: number;
  /** Fills `into` from `offset`. */
  read(offset: number, into: Uint8Array): boolean;
  /** Replaces bytes at `offset`; durable after the next `flush`. */
  write(offset: number, from: Uint8Array): boolean;
  /** Makes what was written durable. */
  flush(): boolean;
  /** The contents of the range no longer matter. */
  discard(offset: number, sizeBytes: number): boolean;
}
