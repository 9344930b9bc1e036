/**
 * Whether the guest is better off with registers that are memory, or with such that trap. Memory is the faster the
 * more it is used, but somebody has to look at it: where there is nothing to do, and where the processors are wanted
 * by others, a trap is better, as it wakes us.
 * @module
 */
import type { RegisterKind } from "./register_page.ts";

/** The numbers of a policy. Times are in microseconds. */
export interface MappingTimes {
  /** How long registers are looked at before it is judged. */
  readonly windowUs: number;
  /**
   * Memory is wanted when at least so many accesses trapped in a window, and would have cost at least such a share of
   * a processor had each of them been a waking up.
   */
  readonly busy: { readonly accesses: number; readonly share: number };
  /** Memory is wanted at once when so many trapped: they have cost what a change does. */
  readonly changeAccesses: number;
  /** Traps are wanted when nothing was written to memory for so long. */
  readonly restUs: number;
  /** Traps are tried when we could not run for such a share of so many windows in a row; never without it. */
  readonly crowded?: { readonly share: number; readonly windows: number };
  /** How long they are tried. */
  readonly trialUs: number;
  /**
   * What did more in a trial, memory or traps, is kept for so long; twice as long each time that it is the same
   * again, up to a limit.
   */
  readonly keep: { readonly leastUs: number; readonly mostUs: number };
}

/**
 * Chosen by measurement. A change is two messages between threads and two for each function that QEMU has from
 * another process, 1 to 5 ms: what thirty to a hundred traps cost. Memory is worth it from some 1000 commands a
 * second on, 50 in an emulated machine. With a processor of its own a watcher waits for less than a hundredth of the
 * time, without one for a tenth to half of it.
 */
export const MAPPING_TIMES: MappingTimes = {
  windowUs: 50_000,
  busy: { accesses: 4, share: 0.02 },
  changeAccesses: 100,
  restUs: 200_000,
  crowded: { share: 0.1, windows: 2 },
  trialUs: 200_000,
  keep: { leastUs: 500_000, mostUs: 8_000_000 },
};

/** What waking up costs until that was measured, in microseconds. */
const WAKE_US = 20;

/** What is counted of registers from the beginning on. */
export interface RegisterUse {
  /** Accesses that trapped. */
  readonly trapped: number;
  /** Writes that were found in memory. */
  readonly found: number;
}

/** A policy at work. */
export class MappingPolicy {
  readonly #times: MappingTimes;
  readonly #waitedUs: () => number;
  #kind: RegisterKind | undefined;
  /** Since when the guest meets this kind, and what was counted then. */
  #since = { us: 0, count: 0 };
  /** The window: since when, what was counted and how long we had waited then. */
  #window = { us: 0, count: 0, waitedUs: 0 };
  #foundUs = 0;
  #crowded = 0;
  /** Accesses for each microsecond that memory did before traps were tried; undefined when none are tried. */
  #rival: number | undefined;
  /** What did more in the last trial, how long it is kept, and until when. */
  #better: RegisterKind | undefined;
  #keepUs = 0;
  #keptUntilUs = -Infinity;

  /** `waitedUs` is how long our thread could have run and had no processor, from the beginning on. */
  constructor(waitedUs: () => number, times: MappingTimes = MAPPING_TIMES) {
    this.#waitedUs = waitedUs;
    this.#times = times;
  }

  /**
   * What the guest is to meet instead; undefined for what it meets. A wish is repeated until it comes true. Waking up
   * costs `wakeUs` of a processor; 0 for not known.
   */
  wish(
    kind: RegisterKind,
    { trapped, found }: RegisterUse,
    wakeUs: number,
    nowUs: number,
  ): RegisterKind | undefined {
    // After a reboot registers trap, whatever was shown before: then nothing is found, which is a rest.
    const count = kind === "trapped" ? trapped : found;
    if (kind !== this.#kind) this.#begin(kind, count, nowUs);
    const { windowUs, changeAccesses } = this.#times;
    const { us, count: before, waitedUs } = this.#window;
    const done = count - before;
    const isMany = kind === "trapped" && done >= changeAccesses;
    if (nowUs - us < windowUs && !isMany) return undefined;
    const tookUs = nowUs - us;
    this.#window = { us: nowUs, count, waitedUs: this.#waited(kind) };
    if (kind === "trapped") {
      const isBusy = this.#isBusy(done, done * (wakeUs || WAKE_US) / tookUs);
      return this.#wantsMemory(isBusy, count, nowUs) ? "mapped" : undefined;
    }
    if (done > 0) this.#foundUs = nowUs;
    const waited = (this.#window.waitedUs - waitedUs) / tookUs;
    return this.#wantsTraps(waited, count, nowUs) ? "trapped" : undefined;
  }

  #begin(kind: RegisterKind, count: number, nowUs: number): void {
    this.#kind = kind;
    this.#since = { us: nowUs, count };
    this.#window = { us: nowUs, count, waitedUs: this.#waited(kind) };
    this.#foundUs = nowUs;
    this.#crowded = 0;
  }

  /** How long we had waited, where that matters: asking takes longer than a trap. */
  #waited(kind: RegisterKind): number {
    return kind === "mapped" && this.#times.crowded !== undefined ? this.#waitedUs() : 0;
  }

  #isBusy(done: number, share: number): boolean {
    const { busy } = this.#times;
    return done >= busy.accesses && share >= busy.share;
  }

  #wantsMemory(isBusy: boolean, count: number, nowUs: number): boolean {
    if (this.#rival === undefined) return isBusy && nowUs >= this.#keptUntilUs;
    if (nowUs - this.#since.us < this.#times.trialUs) return false;
    const isBeaten = this.#rate(count, nowUs) < this.#rival;
    this.#rival = undefined;
    // A guest that has come to rest meanwhile has not shown anything.
    if (!isBusy) return false;
    this.#keep(isBeaten ? "mapped" : "trapped", nowUs);
    return isBeaten;
  }

  #keep(better: RegisterKind, nowUs: number): void {
    const { leastUs, mostUs } = this.#times.keep;
    this.#keepUs = better === this.#better ? Math.min(2 * this.#keepUs, mostUs) : leastUs;
    this.#better = better;
    this.#keptUntilUs = nowUs + this.#keepUs;
  }

  #wantsTraps(share: number, count: number, nowUs: number): boolean {
    const { restUs, crowded } = this.#times;
    if (nowUs - this.#foundUs >= restUs) return true;
    if (crowded === undefined) return false;
    this.#crowded = share >= crowded.share ? this.#crowded + 1 : 0;
    if (this.#crowded < crowded.windows || nowUs < this.#keptUntilUs) return false;
    this.#rival = this.#rate(count, nowUs);
    return true;
  }

  /** Accesses for each microsecond since the guest meets this kind. */
  #rate(count: number, nowUs: number): number {
    return (count - this.#since.count) / (nowUs - this.#since.us);
  }
}
