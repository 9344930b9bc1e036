/**
 * VMSAv8-64 translation table descriptors. Arm ARM (DDI 0487) D8.3 Translation table descriptor formats.
 * @module
 */
import { bits } from "../../bits.ts";

/** Size of a descriptor, in bytes. */
export const DESCRIPTOR_SIZE = 8;

/** Fields of table, block and page descriptors of stage 1. */
export const DESCRIPTOR = {
  Valid: bits(0),
  Table: bits(1),
  AttrIndx: bits(4, 2),
  NS: bits(5),
  AP: bits(7, 6),
  SH: bits(9, 8),
  AF: bits(10),
  nG: bits(11),
  DBM: bits(51),
  Contiguous: bits(52),
  PXN: bits(53),
  UXN: bits(54),
  PXNTable: bits(59),
  UXNTable: bits(60),
  APTable: bits(62, 61),
  NSTable: bits(63),
} as const;

/** Fields of block and page descriptors of stage 2 that stage 1 has not. */
export const STAGE2_DESCRIPTOR = {
  MemAttr: bits(5, 2),
  S2AP: bits(7, 6),
  XN: bits(54, 53),
} as const;

/** Bits 47:32 of an output address lie in the high word under this mask. */
export const OUTPUT_HIGH_MASK = 0x0000_ffff;
/** Bits 15:12 of the low word are bits 51:48 of an output address, with a granule of 64 KiB and 52-bit addresses. */
export const OUTPUT_WIDE_MASK = 0xf000;
/** How far left of their place those bits belong in the high word of the address. */
export const OUTPUT_WIDE_SHIFT = 4;
