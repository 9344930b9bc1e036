/**
 * What is known of QEMU's SMMUv3: a place where it goes another way than the architecture, or may.
 * @module
 */
import type { Difference } from "../difference.ts";

/** A deviation. */
export interface Deviation {
  readonly name: string;
  /** What QEMU does, and why that is not what we do. */
  readonly reason: string;
  /** Where the architecture says what is right. */
  readonly section: string;
  /** The two cannot be compared afterwards. */
  readonly lasts: boolean;
  /** Whether it explains all of a difference. */
  readonly explains: (difference: Difference) => boolean;
}
