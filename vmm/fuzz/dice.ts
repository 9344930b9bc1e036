/**
 * Random numbers that a seed repeats.
 * @module
 */

/** A generator: sfc32, of four words of state. */
export class Dice {
  #a: number;
  #b: number;
  #c = 0x9e37_79b9;
  #counter = 1;

  /** Two seeds of 32 bits make a generator. */
  constructor(seed: number, stream: number) {
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

  /** A number from 0 to `limit - 1`. */
  below(limit: number): number {
    return this.word() % limit;
  }

  /** True once in `times`. */
  oneIn(times: number): boolean {
    return this.word() % times === 0;
  }

  /** One of several. */
  of<T>(choices: readonly T[]): T {
    return choices[this.word() % choices.length];
  }
}
