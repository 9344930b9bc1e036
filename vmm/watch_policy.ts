/**
 * How often to look at memory that nobody tells us about: at once while there is work, ever more rarely when there is
 * none.
 * @module
 */

/** The numbers of a policy, in microseconds. */
export interface WatchTimes {
  /** How long to look without a pause after there was work. */
  readonly spinUs: number;
  /** After so long without work, pauses are so long; ascending. */
  readonly pauses: readonly { readonly afterUs: number; readonly pauseUs: number }[];
}

/**
 * Chosen by measurement; `vsmmu bench --guest` shows what they are worth. A guest in the middle of its unmaps asks again
 * within some 20 µs, one between two requests of its disk within some hundred. The longest pause is what the first
 * command after idling may wait, and with it the loop takes 2 to 3 % of a processor.
 */
export const WATCH_TIMES: WatchTimes = {
  spinUs: 60,
  pauses: [
    { afterUs: 60, pauseUs: 10 },
    { afterUs: 400, pauseUs: 25 },
    { afterUs: 2_000, pauseUs: 50 },
    { afterUs: 10_000, pauseUs: 90 },
  ],
};

/** A watch in progress. */
export class WatchPolicy {
  readonly #times: WatchTimes;
  #lastUs = -Infinity;

  /** A watch that has not seen work yet. */
  constructor(times: WatchTimes = WATCH_TIMES) {
    this.#times = times;
  }

  /** How long to pause after a look at `nowUs` that found work, or none: microseconds, 0 for not at all. */
  pauseUs(found: boolean, nowUs: number): number {
    if (found) this.#lastUs = nowUs;
    const idleUs = nowUs - this.#lastUs;
    const { spinUs, pauses } = this.#times;
    if (idleUs < spinUs) return 0;
    let pauseUs = 0;
    for (let i = 0; i < pauses.length && idleUs >= pauses[i].afterUs; i++) {
      pauseUs = pauses[i].pauseUs;
    }
    return pauseUs;
  }
}
