/**
 * How often to look at memory that nobody tells us about: at once while there is work, ever more rarely when there is
 * none.
 * @module
 */

/** The numbers of a policy. Times are in microseconds. */
export interface WatchTimes {
  /** How long to look without a pause after there was work. */
  readonly spinUs: number;
  /** After so long without work, pauses are so long; ascending. */
  readonly pauses: readonly { readonly afterUs: number; readonly pauseUs: number }[];
  /** After so long without work, pauses are so long that all looks take at most this share of a processor, up to a limit. */
  readonly idle: { readonly afterUs: number; readonly share: number; readonly mostUs: number };
}

/**
 * Chosen by measurement. A guest in the middle of its unmaps asks again within some 20 µs, one between two requests of
 * its disk within some hundred. Waking up costs 2 µs of a processor where timers are cheap, and 20 µs in a virtual
 * machine in a virtual machine: so the last pause, which is what a first command may have to wait, depends on the host.
 */
export const WATCH_TIMES: WatchTimes = {
  spinUs: 60,
  pauses: [
    { afterUs: 60, pauseUs: 10 },
    { afterUs: 400, pauseUs: 25 },
    { afterUs: 2_000, pauseUs: 50 },
    { afterUs: 10_000, pauseUs: 90 },
  ],
  idle: { afterUs: 100_000, share: 0.025, mostUs: 1_000 },
};

/** A watch in progress. */
export class WatchPolicy {
  readonly #times: WatchTimes;
  #lastUs = -Infinity;
  /** What a pause and the look after it cost: microseconds of a processor. */
  wakeUs = 0;

  /** A watch that has not seen work yet. */
  constructor(times: WatchTimes = WATCH_TIMES) {
    this.#times = times;
  }

  /** Whether pauses are long because there was no work for long. */
  isIdle(nowUs: number): boolean {
    return nowUs - this.#lastUs >= this.#times.idle.afterUs;
  }

  /** How long to pause after a look at `nowUs` that found work, or none: microseconds, 0 for not at all. */
  pauseUs(found: boolean, nowUs: number): number {
    if (found) this.#lastUs = nowUs;
    const idleUs = nowUs - this.#lastUs;
    const { spinUs, pauses, idle } = this.#times;
    if (idleUs < spinUs) return 0;
    let pauseUs = 0;
    for (let i = 0; i < pauses.length && idleUs >= pauses[i].afterUs; i++) {
      pauseUs = pauses[i].pauseUs;
    }
    if (idleUs < idle.afterUs) return pauseUs;
    return Math.max(pauseUs, Math.min(this.wakeUs / idle.share, idle.mostUs));
  }
}
