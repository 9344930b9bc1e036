/**
 * Properties of the device: each is tried on many small scenarios, and what fails is made smaller until nothing can be
 * left out. fast-check does that: shrinking of sequences and structures is more work than all our properties, and it has
 * been at it since 2017, without a permission or a dependency that does anything else.
 *
 * A property makes its guests by a function that it is given, so that it can be held against a broken device as well.
 * @module
 */
import fc from "fast-check";
import { Guest, type GuestOptions } from "../../support/guest.ts";

export { fc };

/** Makes the guest of a scenario. */
export type MakeGuest = (options?: GuestOptions) => Guest;

/** Something that holds. */
export interface Property {
  /** The groups of invariants that it belongs to, and what it says: the name of its test. */
  readonly name: string;
  /** How many scenarios are tried. */
  readonly runs: number;
  /** Scenarios that are tried first: all of them, where there are few. */
  readonly examples?: readonly unknown[];
  /** Scenarios with what has to hold in them: an exception says that it does not. */
  readonly of: (make: MakeGuest) => fc.IRawProperty<unknown>;
}

/** How a property failed. */
export interface Failure {
  /** The smallest scenario that was found, and what did not hold. */
  readonly report: string;
  readonly seed: number;
  /** Where among the scenarios of the seed. */
  readonly path: string;
}

const honest: MakeGuest = (options) => new Guest(options);

/**
 * Tries a property on the device, or on another; undefined when it holds. With `endOnFailure` the first scenario that
 * fails is good enough, however large.
 */
export function tryOut(
  property: Property,
  make: MakeGuest = honest,
  how: { readonly seed?: number; readonly path?: string; readonly endOnFailure?: boolean } = {},
): Failure | undefined {
  const { runs, of, examples = [] } = property;
  // No property of ours is asynchronous.
  const details = fc.check(of(make), {
    numRuns: runs,
    examples: [...examples],
    ...how,
  }) as fc.RunDetails<unknown>;
  if (!details.failed) return undefined;
  const { seed, counterexamplePath, errorInstance } = details;
  const what = errorInstance instanceof Error ? errorInstance.message : String(errorInstance);
  const report = `${fc.defaultReportMessage(details) ?? ""}\n\n${what}`;
  return { report, seed, path: counterexamplePath ?? "" };
}
