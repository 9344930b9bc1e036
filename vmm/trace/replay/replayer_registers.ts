/**
 * Registers of a device's snapshot with some of them changed.
 * @module
 */
import type { SmmuV3Snapshot } from "../../../hw/smmuv3/smmuv3.ts";

/** `registers` with `changes` in place of what they had there. */
export function withRegisters(
  registers: SmmuV3Snapshot["registers"],
  changes: readonly (readonly [offset: number, value: number])[],
): SmmuV3Snapshot["registers"] {
  return [...new Map([...registers, ...changes])];
}
