/**
 * How often to look at memory that nobody tells us about: at once while there is work, ever more rarely when there is
 * none.
 * @module
 */

/** A step on the way to longer pauses. */
export interface WatchPause {
  readonly afterUs: number;
  readonly pauseUs: number;
  /** A pause is at least so many times what it costs: the processor may be the one that the guest needs. */
  readonly costs: number;
}

/** The numbers of a policy. Times are in microseconds. */
export interface WatchTimes {
  /**
   * How long to look without a pause after there was work, where that pays; and at least so many times what a pause
   * costs.
   */
  readonly spinUs: number;
  readonly spinCosts: number;
  /** After so many spins in a row that found nothing, they are left; after so long one is tried again. */
  readonly mostFailures: number;
  readonly tryAgainUs: number;
  /** After so long without a look somebody else had the processor, the guest perhaps: that spin failed, whatever it found. */
  readonly lostUs: number;
  /** After so long without work, pauses are so long; ascending from 0. */
  readonly pauses: readonly WatchPause[];
  /** After so long without work, pauses are so long that all looks take at most this share of a processor, up to a limit. */
  readonly idle: { readonly afterUs: number; readonly share: number; readonly mostUs: number };
}

/**
 * Chosen by measurement. A guest in the middle of its unmaps asks again within some 20 µs, one that fills buffers of
 * 256 KiB in between within some 400. Where it has to share a processor with us it asks only once we pause, so that a spin
 * finds nothing, whatever it costs. There a guest that waits
 * gives way to nobody but us: pauses are as short as what they cost while commands flow, which makes an answer take a
 * third of what it takes with pauses three times as long, and no more of the processor for each.
 *
 * Waking up costs 2 µs of a processor where timers are cheap, 20 µs in a virtual machine in a virtual machine, and 400 µs
 * in an emulated one. So the last pause, which is what a first command may have to wait, depends on the host, and so does
 * how long a spin is: a guest whose command waits for a pause of three wake-ups asks ever more rarely, as Linux doubles its
 * delays, and sees the answer later by as much as it has waited. A spin of two wake-ups ends before its next command, which
 * waits for a pause again; one of eight sees it, and from then on no command waits.
 */
export const WATCH_TIMES: WatchTimes = {
  spinUs: 500,
  spinCosts: 8,
  mostFailures: 4,
  tryAgainUs: 10_000,
  lostUs: 2_000,
  pauses: [
    { afterUs: 0, pauseUs: 10, costs: 1 },
    { afterUs: 400, pauseUs: 25, costs: 3 },
    { afterUs: 2_000, pauseUs: 50, costs: 3 },
    { afterUs: 10_000, pauseUs: 90, costs: 3 },
  ],
  idle: { afterUs: 100_000, share: 0.025, mostUs: 2_000 },
};

/** A watch in progress. */
export class WatchPolicy {
  readonly #times: WatchTimes;
  #lastUs = -Infinity;
  #lookedUs = -Infinity;
  #isSpinning = false;
  /** Spins in a row that found nothing, and when the last of them ended. */
  #failures = 0;
  #failedUs = -Infinity;
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
    const { spinUs, spinCosts, lostUs, pauses, idle } = this.#times;
    const isLost = nowUs - this.#lookedUs > lostUs;
    this.#lookedUs = nowUs;
    if (found) {
      if (this.#isSpinning && !isLost) this.#failures = 0;
      this.#lastUs = nowUs;
    }
    const idleUs = nowUs - this.#lastUs;
    const isTime = idleUs < Math.max(spinUs, spinCosts * this.wakeUs);
    if (this.#spins(found, isTime, isLost, nowUs)) return 0;
    let pauseUs = 0;
    for (let i = 0; i < pauses.length && idleUs >= pauses[i].afterUs; i++) {
      pauseUs = Math.max(pauses[i].pauseUs, pauses[i].costs * this.wakeUs);
    }
    if (idleUs < idle.afterUs) return pauseUs;
    return Math.max(pauseUs, Math.min(this.wakeUs / idle.share, idle.mostUs));
  }

  /** Whether to look again at once. A spin begins with work, and fails when its time is over. */
  #spins(found: boolean, isTime: boolean, isLost: boolean, nowUs: number): boolean {
    const { mostFailures, tryAgainUs } = this.#times;
    if (this.#isSpinning && (!isTime || isLost)) {
      this.#failures++;
      this.#failedUs = nowUs;
    }
    const pays = this.#failures < mostFailures || nowUs - this.#failedUs >= tryAgainUs;
    this.#isSpinning = isTime && ((this.#isSpinning && !isLost) || (found && pays));
    return this.#isSpinning;
  }
}
