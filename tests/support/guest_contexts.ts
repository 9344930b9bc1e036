/**
 * A context table in the memory of a `KernelGuest`: two SubstreamIDs with tables of their own. IHI 0070 §5.4.
 * @module
 */
import { AT, type KernelGuest, RAM_GPA } from "./kernel_guest.ts";

const CDS = AT.FREE;
const TABLES = [AT.FREE + 0x1_0000, AT.FREE + 0x2_0000];

/** Where the pages are, of which each SubstreamID has one at first. */
export const PAGES = [AT.FREE + 0x3_0000, AT.FREE + 0x3_1000];
/** What both map. */
export const GUEST_IOVA = 0x9000;
/** The ASIDs of SubstreamIDs 1 and 2. */
export const ASIDS = [6, 7];

/**
 * The first two words of an STE: Config 5 with a linear table of 2^2 CDs; S1DSS 0: what comes without a SubstreamID is
 * terminated.
 */
export const CONTEXTS_VSTE = [0xbn | BigInt(RAM_GPA + CDS) | (2n << 59n), 0xd4n] as const;

/** Gives SubstreamIDs 1 and 2 tables of their own, which map one IOVA to different pages. */
export function writeContexts(guest: KernelGuest): void {
  const { view } = guest.ram;
  const set = (offset: number, word: bigint): void => view.setBigUint64(offset, word, true);
  for (const [index, table] of TABLES.entries()) {
    const cd = CDS + 64 * (index + 1);
    for (let at = 0; at < 64; at += 8) set(cd + at, view.getBigUint64(AT.CD + at, true));
    const asid = BigInt(ASIDS[index]) << 48n;
    set(cd, view.getBigUint64(AT.CD, true) & ~(0xffffn << 48n) | asid);
    set(cd + 8, BigInt(RAM_GPA + table));
    set(table, BigInt(RAM_GPA + table + 0x1000) | 3n);
    set(table + 0x1000, BigInt(RAM_GPA + table + 0x2000) | 3n);
    mapContext(guest, index, index);
  }
}

/** Maps a page of SubstreamID `index + 1` to one of the pages. */
export function mapContext(
  { ram }: KernelGuest,
  index: number,
  page: number,
  iova = GUEST_IOVA,
): void {
  const at = TABLES[index] + 0x2000 + (iova >> 12) * 8;
  // Valid page, for everyone, shareable, accessed, of its ASID alone.
  ram.view.setBigUint64(at, BigInt(RAM_GPA + PAGES[page]) | 0xf43n, true);
}

/** Has faults of SubstreamID `index + 1` stall: CD.S. */
export function setContextStalls({ ram }: KernelGuest, index: number): void {
  const cd = CDS + 64 * (index + 1);
  ram.view.setBigUint64(cd, ram.view.getBigUint64(cd, true) | 1n << 44n, true);
}
