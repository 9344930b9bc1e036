/**
 * Entries of the PRI queue: fields by their bits in the 128-bit record. IHI 0070 §8 Page request queue.
 * @module
 */
import { bits } from "../../bits.ts";

/** Size of an entry, in bytes. */
export const PAGE_REQUEST_SIZE = 16;

/** Fields of an entry; the page address is word 3 and word 2 with the low 12 bits cleared. */
export const PAGE_REQUEST = {
  StreamID: bits(31, 0),
  SubstreamID: bits(51, 32),
  Priv: bits(58),
  X: bits(59),
  R: bits(60),
  W: bits(61),
  Last: bits(62),
  SSV: bits(63),
  PRGIndex: bits(72, 64),
} as const;
