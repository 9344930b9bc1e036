/**
 * Looks at the registers between two waits of the device thread, where they are memory.
 * @module
 */
import type { WatchPolicy } from "./watch_policy.ts";

/** What is looked at. */
export interface Watched {
  /** Whether anybody is there who could write. */
  readonly isUsed: boolean;
  /** Looks, does what was asked for, and returns whether anything was. */
  look(): boolean;
}

/** The clocks of a thread, in microseconds. */
export interface WatchClocks {
  /** The time. */
  nowUs(): number;
  /** How long the thread has run. */
  spentUs(): number;
}

/** Looks between two calls of ppoll(2), which costs as much as some five of them. */
const LOOKS = 16;
/** Of so many pauses one is measured. */
const MEASURED = 32;
/** How many measurements count. */
const SMOOTHED = 4;

/** The watcher. */
export class Watcher {
  readonly #watched: Watched;
  readonly #policy: WatchPolicy;
  readonly #clocks: WatchClocks;
  #pauses = 0;
  /** What the thread had run before the pause that is measured; negative when none is. */
  #spentUs = -1;

  /** Watches by `policy`. */
  constructor(watched: Watched, policy: WatchPolicy, clocks: WatchClocks) {
    this.#watched = watched;
    this.#policy = policy;
    this.#clocks = clocks;
  }

  /**
   * Looks, and returns how long descriptors may be waited for until the next look, in milliseconds; -1 for ever. Where
   * some were `ready` in the last wait, a device was at work, and commands are likely to follow.
   */
  turn(ready: number): number {
    const watched = this.#watched;
    if (!watched.isUsed) return -1;
    const found = watched.look() || ready > 0;
    this.#measured(!found);
    let pauseUs = this.#policy.pauseUs(found, this.#clocks.nowUs());
    for (let i = 1; i < LOOKS && pauseUs === 0; i++) {
      pauseUs = this.#policy.pauseUs(watched.look(), this.#clocks.nowUs());
    }
    if (pauseUs > 0 && ++this.#pauses % MEASURED === 0) this.#spentUs = this.#clocks.spentUs();
    return pauseUs / 1000;
  }

  /** Ends the measurement of a pause, which is worth something when there was nothing to do. */
  #measured(isQuiet: boolean): void {
    if (this.#spentUs < 0) return;
    const costUs = this.#clocks.spentUs() - this.#spentUs;
    this.#spentUs = -1;
    if (isQuiet) this.#policy.wakeUs += (costUs - this.#policy.wakeUs) / SMOOTHED;
  }
}
