/**
 * Waiting for descriptors in one synchronous loop. ppoll(2).
 * @module
 */
import { ERRNO, SystemError } from "./errno.ts";
import type { Fd } from "./fd.ts";
import { lastErrno, libc } from "./libc.ts";
import { TIMESPEC } from "./timespec.ts";

/** `struct pollfd`: byte offsets, and the size. */
export const POLLFD = { fd: 0, events: 4, revents: 6, size: 8 } as const;

/** What to wait for. ERR, HUP and NVAL are reported always. */
export const POLL = { IN: 1, OUT: 4, ERR: 8, HUP: 0x10, NVAL: 0x20 } as const;

/** Called with the bits of `POLL` that are ready. */
export type Handler = (ready: number) => void;

/** One watched descriptor. Disposing it ends the watch and leaves the descriptor open. */
export class Watch implements Disposable {
  /** Bits of `POLL` to wait for; with 0, only errors and hang-ups are seen. */
  events: number;
  readonly #fd: number;
  readonly #handler: Handler;
  readonly #forget: (watch: Watch) => void;
  #isActive = true;

  /** Made by `Poller.watch`. */
  constructor(fd: number, events: number, handler: Handler, forget: (watch: Watch) => void) {
    this.#fd = fd;
    this.events = events;
    this.#handler = handler;
    this.#forget = forget;
  }

  /** The descriptor's number. */
  get fd(): number {
    return this.#fd;
  }

  /** Calls the handler, unless the watch has ended. */
  dispatch(ready: number): void {
    if (this.#isActive) this.#handler(ready);
  }

  /** Ends the watch. */
  [Symbol.dispose](): void {
    if (!this.#isActive) return;
    this.#isActive = false;
    this.#forget(this);
  }
}

/**
 * Watches descriptors and calls their handlers. A handler may add and end watches, its own too. What a handler throws
 * leaves `step` or `run`.
 */
export class Poller {
  #watches: readonly Watch[] = [];
  #table = new DataView(new ArrayBuffer(POLLFD.size));
  #bytes = new Uint8Array(this.#table.buffer);
  #count = 0n;
  readonly #timeout = new DataView(new ArrayBuffer(TIMESPEC.size));
  readonly #timeoutBytes = new Uint8Array(this.#timeout.buffer);
  #isStopped = false;

  /** Watches `fd` for `events`. The watch must end before the descriptor is closed. */
  watch(fd: Fd, events: number, handler: Handler): Watch {
    const watch = new Watch(fd.number, events, handler, (ended) => {
      this.#replace(this.#watches.filter((other) => other !== ended));
    });
    this.#replace([...this.#watches, watch]);
    return watch;
  }

  /**
   * Waits until something is ready, at most `timeoutMs` (-1: for ever; fractions count), and calls its handlers once
   * each. Returns how many descriptors were ready; 0 also when a signal came first. Throws `SystemError`.
   */
  step(timeoutMs: number): number {
    const watches = this.#watches;
    const table = this.#table;
    for (let i = 0; i < watches.length; i++) {
      table.setInt16(i * POLLFD.size + POLLFD.events, watches[i].events, true);
    }
    const count = libc().ppoll(this.#bytes, this.#count, this.#until(timeoutMs), null);
    if (count < 0) {
      const errno = lastErrno();
      if (errno === ERRNO.EINTR) return 0;
      throw new SystemError("ppoll", errno);
    }
    for (let i = 0, left = count; i < watches.length && left > 0; i++) {
      const ready = table.getInt16(i * POLLFD.size + POLLFD.revents, true);
      if (ready === 0) continue;
      left--;
      watches[i].dispatch(ready);
    }
    return count;
  }

  /**
   * Steps until `stop` is called; at once when it was called before. Before each step `turn` does what is not told by
   * descriptors, and returns for how many milliseconds the step may wait; for ever without one. It is given how many
   * descriptors were ready in the step before.
   */
  run(turn?: (ready: number) => number): void {
    for (let ready = 0; !this.#isStopped;) ready = this.step(turn?.(ready) ?? -1);
    this.#isStopped = false;
  }

  /** Makes `run` return after the current step. To be called by a handler. */
  stop(): void {
    this.#isStopped = true;
  }

  #until(timeoutMs: number): Uint8Array<ArrayBuffer> | null {
    if (timeoutMs < 0) return null;
    const seconds = Math.floor(timeoutMs / 1000);
    this.#timeout.setUint32(TIMESPEC.seconds, seconds, true);
    this.#timeout.setUint32(TIMESPEC.nanoseconds, (timeoutMs - seconds * 1000) * 1e6, true);
    return this.#timeoutBytes;
  }

  /** A step in progress keeps the table and the list it began with. */
  #replace(watches: readonly Watch[]): void {
    this.#watches = watches;
    this.#count = BigInt(watches.length);
    this.#table = new DataView(new ArrayBuffer(Math.max(watches.length, 1) * POLLFD.size));
    this.#bytes = new Uint8Array(this.#table.buffer);
    watches.forEach((watch, i) =>
      this.#table.setInt32(i * POLLFD.size + POLLFD.fd, watch.fd, true)
    );
  }
}
