/**
 * A TLB as a plain value, and what to take out of one.
 * @module
 */
import type { DomainList } from "./domains.ts";
import { KIND, KIND_SIZE_SHIFT, leafDistance, leafOf, PERMISSIONS, STAMP } from "./tlb_entry.ts";

/** A TLB as a plain value; see `Tlb.snapshot`. */
export interface TlbSnapshot {
  /** How many translations it can hold. */
  readonly capacity: number;
  /** Entries that were ever used: the number of each and its words. */
  readonly entries: readonly (readonly number[])[];
  /** Sets in which something was pushed out: the number of each and the way. */
  readonly victims: readonly (readonly [set: number, way: number])[];
  /** Address spaces, in the order of their numbers. */
  readonly domains: DomainList;
  /** Address spaces that were invalidated, each with the stamp below which its entries do not match. */
  readonly floors: readonly (readonly [domain: number, floor: number])[];
  /** The stamp below which no entry matches. */
  readonly allFloor: number;
  /** The latest stamp. */
  readonly clock: number;
  /** log2 of the page sizes that entries may have, each with that of the largest leaf they came from. */
  readonly sizes: readonly (readonly [log2size: number, log2leaf: number])[];
}

/**
 * A snapshot without the entries that translate an address in [hi:lo, hi:lo + sizeBytes), whatever their owner; of those
 * of one page size only, where that is given as its log2.
 */
export function withoutRange(
  snapshot: TlbSnapshot,
  lo: number,
  hi: number,
  sizeBytes: number,
  log2size?: number,
): TlbSnapshot {
  const entries = snapshot.entries.map(([index, ...words]) => {
    const log2page = words[KIND] >>> KIND_SIZE_SHIFT;
    const fromStart = leafDistance(words, 0, lo, hi);
    const isInside = fromStart < sizeBytes && fromStart + 2 ** leafOf(words[PERMISSIONS]) > 0 &&
      (log2size ?? log2page) === log2page;
    return [index, ...words.map((word, i) => isInside && i === STAMP ? 0 : word)];
  });
  return { ...snapshot, entries };
}
