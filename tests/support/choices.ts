/**
 * What a call sequence does mostly, and what now and then.
 * @module
 */
import type { Random } from "../../vmm/random.ts";

/** Choices drawn from a seed. */
export class Choices {
  /** Nothing unusual is chosen while it is set. */
  isUsual = false;
  readonly #random: Random;

  /** Draws from `random`. */
  constructor(random: Random) {
    this.#random = random;
  }

  /** A number from 0 to `limit - 1`. */
  below(limit: number): number {
    return this.#random.below(limit);
  }

  /** One of several. */
  of<T>(choices: readonly T[]): T {
    return this.#random.of(choices);
  }

  /** `usual`, but one of the others each sixth time. */
  mostly<T>(usual: T, ...others: T[]): T {
    return !this.isUsual && this.below(6) === 0 ? this.of(others) : usual;
  }

  /** `usual`, but one of the others each sixteenth time. */
  nearlyAlways<T>(usual: T, ...others: T[]): T {
    return !this.isUsual && this.below(16) === 0 ? this.of(others) : usual;
  }
}
