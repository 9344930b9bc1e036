/**
 * The eight words of a TLB entry; they share half a cache line.
 * @module
 */
import { DOMAIN_BITS, MOST_DOMAINS } from "./domains.ts";

/** Entries of a set. */
export const WAYS = 4;
/** Words of an entry. */
export const WORDS = 8;

/** Low word of the page's address. */
export const TAG_LO = 0;
/** High word of the page's address. */
export const TAG_HI = 1;
/** Domain, and log2 of the page size above it. Never 0 in an entry that was used. */
export const KIND = 2;
/** When it was inserted; 0 once it was dropped. */
export const STAMP = 3;
/** Low word of the output page's address. */
export const GPA_LO = 4;
/** High word of the output page's address. */
export const GPA_HI = 5;
/** Permissions, see `permissions.ts`; above them log2 of the size of the leaf. */
export const PERMISSIONS = 6;
/** Bits of an address inside the page. */
export const OFFSET_MASK = 7;

/** Where the size is in KIND. */
export const KIND_SIZE_SHIFT: number = DOMAIN_BITS;
/** The domain in KIND. */
export const KIND_DOMAIN: number = MOST_DOMAINS - 1;

const LEAF_SHIFT = 8;

/** The PERMISSIONS word. */
export function permissionsOf(permissions: number, log2leaf: number): number {
  return permissions | (log2leaf << LEAF_SHIFT);
}

/** log2 of the size of the leaf that an entry came from, out of its PERMISSIONS word. */
export function leafOf(word: number): number {
  return word >>> LEAF_SHIFT;
}

/** The low word of an address, aligned down to 2^log2size bytes. */
export function alignLow(lo: number, log2size: number): number {
  return log2size >= 32 ? 0 : ((lo >>> log2size) << log2size) >>> 0;
}

/** The high word of an address, aligned down to 2^log2size bytes. */
export function alignHigh(hi: number, log2size: number): number {
  return log2size <= 32 ? hi : ((hi >>> (log2size - 32)) << (log2size - 32)) >>> 0;
}

/** How far the leaf of an entry lies behind an address, in bytes; exact where that is near. */
export function leafDistance(words: ArrayLike<number>, at: number, lo: number, hi: number): number {
  const log2leaf = leafOf(words[at + PERMISSIONS]);
  return (alignHigh(words[at + TAG_HI], log2leaf) - hi) * 0x1_0000_0000 +
    (alignLow(words[at + TAG_LO], log2leaf) - lo);
}
