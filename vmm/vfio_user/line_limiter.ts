/**
 * Log lines for people, however fast a client causes them.
 * @module
 */

/** Options of `LineLimiter`. */
export interface LineLimits {
  /** Lines that may come at once. */
  readonly burst: number;
  /** Time after which one more may come. */
  readonly refillMs: number;
  /** The time in milliseconds, from any start. */
  readonly now: () => number;
}

/** Passes a burst of lines, then one at each interval; the next line that passes says how many did not. */
export class LineLimiter {
  readonly #log: (line: string) => void;
  readonly #limits: LineLimits;
  #tokens: number;
  #refilledAt: number;
  #suppressed = 0;

  /** A limiter in front of `log`. */
  constructor(log: (line: string) => void, limits: LineLimits) {
    this.#log = log;
    this.#limits = limits;
    this.#tokens = limits.burst;
    this.#refilledAt = limits.now();
  }

  /** Logs `line`, or counts it. */
  line(line: string): void {
    const { burst, refillMs, now } = this.#limits;
    const refill = Math.floor((now() - this.#refilledAt) / refillMs);
    this.#refilledAt += refill * refillMs;
    this.#tokens = Math.min(burst, this.#tokens + refill);
    if (this.#tokens === 0) {
      this.#suppressed++;
      return;
    }
    this.#tokens--;
    const note = this.#suppressed === 0 ? "" : ` (lines not shown before: ${this.#suppressed})`;
    this.#suppressed = 0;
    this.#log(line + note);
  }
}
