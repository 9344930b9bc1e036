/**
 * Random numbers that can be repeated: a seed from the clock, printed by whatever fails.
 * @module
 */

/** A generator (xorshift32); `toString()` says its seed. */
export class Random {
  readonly #seed: number;
  #state: number;

  /** A generator of the given seed, not 0; by default another one each time. */
  constructor(seed: number = (Date.now() & 0x7fff_ffff) || 1) {
    this.#seed = seed;
    this.#state = seed;
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

  /** A number from 0 to `limit - 1`. */
  below(limit: number): number {
    return this.word() % limit;
  }

  /** True with the given probability. */
  chance(probability: number): boolean {
    return this.word() < probability * 2 ** 32;
  }

  /** One of several. */
  of<T>(choices: readonly T[]): T {
    return choices[this.below(choices.length)];
  }

  toString(): string {
    return `seed ${this.#seed}`;
  }
}
