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
/** Pauses over which their cost is measured. */
const MEASURED = 64;

/** The watcher. */
export class Watcher {
  readonly #watched: Watched;
  readonly #policy: WatchPolicy;
  readonly #clocks: WatchClocks;
  /** Pauses since the cost was measured, and what the thread had run by then. */
  #pauses = 0;
  #spentUs = 0;

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
    let pauseUs = this.#pause(watched.look() || ready > 0);
    for (let i = 1; i < LOOKS && pauseUs === 0; i++) pauseUs = this.#pause(watched.look());
    return pauseUs / 1000;
  }

  #pause(found: boolean): number {
    const nowUs = this.#clocks.nowUs();
    const pauseUs = this.#policy.pauseUs(found, nowUs);
    if (this.#policy.isIdle(nowUs)) this.#measure();
    else this.#pauses = 0;
    return pauseUs;
  }

  /** While nothing else happens, what the thread runs is the cost of its pauses. */
  #measure(): void {
    if (this.#pauses === 0) this.#spentUs = this.#clocks.spentUs();
    if (this.#pauses++ < MEASURED) return;
    this.#policy.wakeUs = (this.#clocks.spentUs() - this.#spentUs) / MEASURED;
    this.#pauses = 0;
  }
}
