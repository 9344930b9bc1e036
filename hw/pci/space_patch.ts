/**
 * Changes to a configuration space, as bytes that stand in for the device's own.
 * @module
 */

/** Bytes that somebody other than the device answers for. */
export interface PatchRun {
  /** First byte, from the start of configuration space. */
  readonly offset: number;
  /** Their values after reset. */
  readonly bytes: Uint8Array;
  /** Bits of each that software writes, and reads back; as long as `bytes`. */
  readonly writable: Uint8Array;
}

/** Runs of bytes; where two overlap, the later one counts. */
export type SpacePatch = readonly PatchRun[];

/** A run that software cannot change. */
export function fixedRun(offset: number, bytes: Uint8Array): PatchRun {
  return { offset, bytes, writable: new Uint8Array(bytes.length) };
}

/** A copy of `space` with the runs in place; throws a `RangeError` when one does not lie within. */
export function applyPatch(space: Uint8Array, patch: SpacePatch): Uint8Array {
  const patched = space.slice();
  for (const { offset, bytes } of patch) patched.set(bytes, offset);
  return patched;
}
