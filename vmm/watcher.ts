/**
 * Looks at the registers between two waits of the device thread, where they are memory.
 * @module
 */
import { WatchPolicy } from "./watch_policy.ts";

/** What is looked at. */
export interface Watched {
  /** Whether anybody is there who could write. */
  readonly isUsed: boolean;
  /** Looks, does what was asked for, and returns whether anything was. */
  look(): boolean;
}

/** Looks between two calls of poll(2), which costs as much as some ten of them. */
const LOOKS = 16;

/** The watcher. */
export class Watcher {
  readonly #watched: Watched;
  readonly #policy: WatchPolicy;
  readonly #nowUs: () => number;

  /** Watches by `policy` on the clock `nowUs`, in microseconds. */
  constructor(
    watched: Watched,
    policy: WatchPolicy = new WatchPolicy(),
    nowUs: () => number = () => performance.now() * 1000,
  ) {
    this.#watched = watched;
    this.#policy = policy;
    this.#nowUs = nowUs;
  }

  /** Looks, and returns how long descriptors may be waited for until the next look, in milliseconds; -1 for ever. */
  turn(): number {
    const watched = this.#watched;
    if (!watched.isUsed) return -1;
    let pauseUs = this.#policy.pauseUs(watched.look(), this.#nowUs());
    for (let i = 1; i < LOOKS && pauseUs === 0; i++) {
      pauseUs = this.#policy.pauseUs(watched.look(), this.#nowUs());
    }
    return pauseUs / 1000;
  }
}
