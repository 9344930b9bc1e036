/**
 * Looks at the registers between two waits of the device thread, where they are memory.
 * @module
 */
import type { MappingPolicy, RegisterUse } from "./mapping_policy.ts";
import type { RegisterKind } from "./register_page.ts";
import type { WatchPolicy } from "./watch_policy.ts";

/** What is looked at. */
export interface Watched extends RegisterUse {
  /** Whether anybody is there who could write. */
  readonly isUsed: boolean;
  /** Looks, does what was asked for, and returns whether anything was. */
  look(): boolean;
  /** The same for what changes while there is work, at a fraction of the cost. */
  glance(): boolean;
}

/** What of it the guest meets. */
export interface Shown {
  /** Whether that is to be changed also for what does more. */
  readonly isAdaptive: boolean;
  /** Undefined where that cannot be changed. */
  readonly kind: RegisterKind | undefined;
  /** Asks for a change, which comes some time later. */
  want(kind: RegisterKind): void;
}

/** Where nothing can be changed. */
export const UNCHANGING: Shown = { isAdaptive: false, kind: undefined, want: () => {} };

/** The clocks of a thread, in microseconds. */
export interface WatchClocks {
  /** The time. */
  nowUs(): number;
  /** How long the thread has run. */
  spentUs(): number;
}

/**
 * The time between two calls of ppoll(2), in microseconds, which descriptors wait for their turn at most; and that when
 * none was ready for so long. A call costs 1 to 2, and what the processor had learned of our code: the next command
 * takes longer. Plain numbers, as V8 14 throws the compiled `turn` away each time that it comes to a property of an object
 * here, which doubles what an unmap takes.
 */
const TURN_US = 20;
const QUIET_TURN_US = 200;
const QUIET_AFTER_US = 10_000;
/** Glances between two looks at the clock, which costs as much as some four of them. */
const GLANCES = 8;
/** Of so many pauses one is measured. */
const MEASURED = 32;
/**
 * Where accesses trap, memory is looked at so often for so long after that began, in milliseconds and microseconds: a
 * processor of the guest may have been on its way there when it was taken away. What would come even later is found
 * when the next access traps.
 */
const LATE_MS = 50;
const LATE_FOR_US = 1e6;
/** How many measurements count. */
const SMOOTHED = 4;

/** The watcher. */
export class Watcher {
  readonly #watched: Watched;
  readonly #policy: WatchPolicy;
  readonly #mapping: MappingPolicy;
  readonly #shown: Shown;
  readonly #clocks: WatchClocks;
  /** Since when accesses trap, negative where they do not; and when memory was last looked at meanwhile. */
  #restedUs = -1;
  #lookedUs = 0;
  #readyUs = -Infinity;
  #pauses = 0;
  /** What the thread had run before the pause that is measured; negative when none is. */
  #spentUs = -1;

  /** Watches by policies. */
  constructor(
    watched: Watched,
    { watch, mapping, shown, clocks }: {
      readonly watch: WatchPolicy;
      readonly mapping: MappingPolicy;
      readonly shown: Shown;
      readonly clocks: WatchClocks;
    },
  ) {
    this.#watched = watched;
    this.#policy = watch;
    this.#mapping = mapping;
    this.#shown = shown;
    this.#clocks = clocks;
  }

  /**
   * Looks, and returns how long descriptors may be waited for until the next look, in milliseconds; -1 for ever. Where
   * some were `ready` in the last wait, a device was at work, and commands are likely to follow.
   */
  turn(ready: number): number {
    const watched = this.#watched;
    if (!watched.isUsed) return -1;
    const { kind } = this.#shown;
    if (kind === "trapped") return this.#rest();
    this.#restedUs = -1;
    const isBusy = watched.look() || ready > 0;
    this.#measured(!isBusy);
    const beganUs = this.#clocks.nowUs();
    if (kind !== undefined) this.#wish(kind, beganUs);
    if (ready > 0) this.#readyUs = beganUs;
    const turnUs = beganUs - this.#readyUs < QUIET_AFTER_US ? TURN_US : QUIET_TURN_US;
    const pauseUs = this.#spin(this.#policy.pauseUs(isBusy, beganUs), beganUs, beganUs + turnUs);
    if (pauseUs > 0 && ++this.#pauses % MEASURED === 0) this.#spentUs = this.#clocks.spentUs();
    return pauseUs / 1000;
  }

  /** The turn of one whose guest meets registers that trap: a guest may wait until it is over. */
  #rest(): number {
    const nowUs = this.#clocks.nowUs();
    if (this.#restedUs < 0) {
      [this.#restedUs, this.#lookedUs, this.#spentUs] = [nowUs, -Infinity, -1];
    }
    this.#wish("trapped", nowUs);
    const lastUs = this.#restedUs + LATE_FOR_US;
    if (this.#lookedUs < lastUs && nowUs - this.#lookedUs >= LATE_MS * 1000) {
      this.#watched.look();
      this.#lookedUs = nowUs;
    }
    return nowUs < lastUs ? LATE_MS : -1;
  }

  /** Asks for other registers where the guest is better off with them. */
  #wish(kind: RegisterKind, nowUs: number): void {
    const wanted = this.#mapping.wish(kind, this.#watched, this.#policy.wakeUs, nowUs);
    if (wanted !== undefined) this.#shown.want(wanted);
  }

  /** Looks until it is time to pause, for how long is returned, or for descriptors. */
  #spin(pauseUs: number, nowUs: number, endUs: number): number {
    while (pauseUs === 0 && nowUs < endUs) {
      const found = this.#glances();
      nowUs = this.#clocks.nowUs();
      pauseUs = this.#policy.pauseUs(found, nowUs);
    }
    return pauseUs;
  }

  /** Whether one of some glances found anything; it is the last of them. */
  #glances(): boolean {
    for (let i = 0; i < GLANCES; i++) if (this.#watched.glance()) return true;
    return false;
  }

  /** Ends the measurement of a pause, which is worth something when there was nothing to do. */
  #measured(isQuiet: boolean): void {
    if (this.#spentUs < 0) return;
    const costUs = this.#clocks.spentUs() - this.#spentUs;
    this.#spentUs = -1;
    if (isQuiet) this.#policy.wakeUs += (costUs - this.#policy.wakeUs) / SMOOTHED;
  }
}
