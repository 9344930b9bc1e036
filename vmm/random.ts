/**
 * Random numbers that a seed repeats.
 * @module
 */

/** A generator: sfc32, of four words of state. `toString()` says its seed. */
export class Random {
  readonly #name: string;
  #a: number;
  #b: number;
  #c = 0x9e37_79b9;
  #counter = 1;

  /** Two seeds of 32 bits make a generator: a seed, by default another one each time, and which of its streams. */
  constructor(seed: number = Date.now() & 0x7fff_ffff, stream: number = 0) {
    this.#name = stream === 0 ? `seed ${seed}` : `seed ${seed}, stream ${stream}`;
    this.#a = seed | 0;
    this.#b = stream | 0;
    for (let i = 0; i < 12; i++) this.word();
  }

  /** 32 random bits, unsigned. */
  word(): number {
    const sum = (this.#a + this.#b + this.#counter++) | 0;
    this.#a = this.#b ^ (this.#b >>> 9);
    this.#b = (this.#c + (this.#c << 3)) | 0;
    this.#c = ((this.#c << 21) | (this.#c >>> 11)) + sum | 0;
    return sum >>> 0;
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

  /** True once in `times`. */
  oneIn(times: number): boolean {
    return this.below(times) === 0;
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

  toString(): string {
    return this.#name;
  }
}
