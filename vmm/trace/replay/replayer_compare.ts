/**
 * What a device did against what was recorded.
 * @module
 */
import type { Output } from "../format.ts";

/** One thing that is not as recorded. */
export interface Difference {
  /** What differs, such as `read value` or `output 2`. */
  readonly what: string;
  /** What the recording has. */
  readonly expected: unknown;
  /** What came of it now. */
  readonly got: unknown;
}

/** Adds to `differences` where outputs are not as recorded; checksums count where the payload was recorded. */
export function compareOutputs(
  expected: readonly Output[],
  got: readonly Output[],
  hasPayload: boolean,
  differences: Difference[],
): void {
  for (let i = 0; i < Math.max(expected.length, got.length); i++) {
    if (!same(expected[i], got[i], hasPayload)) {
      differences.push({
        what: `output ${i + 1}`,
        expected: expected[i] ?? "nothing",
        got: got[i] ?? "nothing",
      });
    }
  }
}

/** Where payload was not recorded, or could not be moved, its checksum says nothing about the device. */
function same(
  expected: Output | undefined,
  got: Output | undefined,
  hasPayload: boolean,
): boolean {
  if (expected === undefined || got === undefined || expected.length !== got.length) return false;
  const isPayload = expected[0] === "read" || expected[0] === "write";
  const isSummed = hasPayload && expected.at(-1) === true;
  for (let i = 0; i < expected.length; i++) {
    if (expected[i] !== got[i] && (isSummed || !isPayload || i !== 3)) return false;
  }
  return true;
}
