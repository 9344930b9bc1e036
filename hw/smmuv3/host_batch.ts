/**
 * Commands on their way to hardware: collected up to the next point where the guest may see that they are done.
 * @module
 */
import type { HostIommu } from "./host_iommu.ts";

const WORDS = 4;
/** A full batch goes out early: longer ones save nothing. A multiple of the kernel's blocks of 63. */
const MOST = 63 * 16;

/** A batch, and where in the queue each of its commands lies. */
export class HostBatch {
  readonly #host: HostIommu;
  readonly #words = new Uint32Array(MOST * WORDS);
  readonly #cons = new Uint32Array(MOST);
  #count = 0;
  #refused = 0;

  /** For commands to `host`. */
  constructor(host: HostIommu) {
    this.#host = host;
  }

  /** Whether nothing is on its way. */
  get isEmpty(): boolean {
    return this.#count === 0;
  }

  /** Whether there is no room for another command. */
  get isFull(): boolean {
    return this.#count === MOST;
  }

  /** Takes a copy of the command that lies at index `cons` of the queue. */
  add(words: Uint32Array, cons: number): void {
    const at = this.#count * WORDS;
    for (let i = 0; i < WORDS; i++) this.#words[at + i] = words[i];
    this.#cons[this.#count++] = cons;
  }

  /** Has hardware do them all. Returns -1, or the index in the queue of the one that it refused. */
  flush(): number {
    const count = this.#count;
    if (count === 0) return -1;
    this.#count = 0;
    const done = this.#host.invalidate(this.#words, count);
    if (done >= count) return -1;
    this.#refused = done;
    return this.#cons[done];
  }

  /** The command that hardware refused last. */
  get refused(): Uint32Array {
    return this.#words.subarray(this.#refused * WORDS, (this.#refused + 1) * WORDS);
  }
}
