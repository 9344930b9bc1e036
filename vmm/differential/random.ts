/**
 * Choices that a seed decides.
 * @module
 */

/** A generator (xorshift32) whose numbers follow from its seed. */
export class Random {
  #state: number;

  /** A generator of the given seed, a whole number of 32 bits. */
  constructor(seed: number) {
    // Neighbouring seeds begin far apart, and none begins at 0, where the generator would stay.
    this.#state = Math.imul(seed ^ 0x9e37_79b9, 0x85eb_ca6b) || 1;
    for (let i = 0; i < 4; i++) this.word();
  }

  /** 32 random bits, unsigned. */
  word(): number {
    let x = this.#state;
    x ^= x << 13;
    x ^= x >>> 17;
    x ^= x << 5;
    this.#state = x;
    return x >>> 0;
  }

  /** 64 random bits. */
  quad(): bigint {
    return (BigInt(this.word()) << 32n) | BigInt(this.word());
  }

  /** A whole number from 0 to `limit - 1`. */
  below(limit: number): number {
    return this.word() % limit;
  }

  /** A whole number from `low` to `high`, both included. */
  between(low: number, high: number): number {
    return low + this.below(high - low + 1);
  }

  /** True with the given probability. */
  chance(probability: number): boolean {
    return this.word() < probability * 2 ** 32;
  }

  /** One of several. */
  of<T>(choices: readonly T[]): T {
    return choices[this.below(choices.length)];
  }

  /** The choices in another order. */
  shuffled<T>(choices: readonly T[]): T[] {
    const all = [...choices];
    for (let i = all.length - 1; i > 0; i--) {
      const at = this.below(i + 1);
      [all[i], all[at]] = [all[at], all[i]];
    }
    return all;
  }
}
