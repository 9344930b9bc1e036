/**
 * Where and why a walk ended badly: what an event record says beyond the transaction. IHI 0070 §7.3.
 * @module
 */
import { CLASS } from "../spec/events.ts";

/** The trouble that was met last; written only when there is some. */
export class Trouble {
  /** Whether stage 2 met it. */
  stage2 = false;
  /** What was being translated, one of `CLASS`. */
  klass: number = CLASS.IN;
  /** Low word of the intermediate physical address, when stage 2 met it. */
  ipaLo = 0;
  /** High word of it. */
  ipaHi = 0;
  /** Where the descriptor or structure is that could not be fetched, in bytes. */
  gpa = 0;
  /** Whether a table of stage 1 was to be written, instead of read. */
  isTableWrite = false;
}
