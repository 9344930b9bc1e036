/**
 * A function's wired interrupt, carried by the event counters of SET_IRQS.
 * @module
 */
import type { IrqLine } from "../../hw/device.ts";
import type { EventFd } from "../../uapi/eventfd.ts";
import { POLL, type Poller, type Watch } from "../../uapi/poll.ts";

/**
 * A level or an edge becomes one signal, after which the line masks itself. When the client unmasks it, because the
 * guest has seen the interrupt, it signals again if the level is still asserted or an edge came meanwhile. What
 * happens while no client listens is remembered.
 *
 * ```ts
 * import { EventFd } from "../../uapi/eventfd.ts";
 * import { Intx } from "./intx.ts";
 * const line = new Intx();
 * using event = EventFd.create();
 * line.set(true);
 * line.trigger(event);
 * console.assert(event.drain() === 1);
 * ```
 */
export class Intx implements IrqLine {
  #trigger: EventFd | undefined;
  #resample: { readonly event: EventFd; readonly watch: Watch } | undefined;
  #isAsserted = false;
  #isPulsed = false;
  #isMasked = false;
  #seen: (() => void) | undefined;

  /** Calls `seen` each time the client says that the guest has seen the interrupt. */
  onSeen(seen: () => void): void {
    this.#seen = seen;
  }

  /** Asserts the level, or takes it away. */
  set(asserted: boolean): void {
    this.#isAsserted = asserted;
    this.#update();
  }

  /** Makes one edge. */
  pulse(): void {
    this.#isPulsed = true;
    this.#update();
  }

  /** Signals through `event`, owned from now on, or through nothing without one; the mask is cleared. */
  trigger(event: EventFd | undefined): void {
    this.#trigger?.[Symbol.dispose]();
    this.#trigger = event;
    this.#isMasked = false;
    this.#update();
  }

  /**
   * Unmasks whenever `event`, owned from now on, is signalled: KVM's way to say that the guest has seen it. Without an
   * event this ends.
   */
  unmaskOn(event: EventFd | undefined, poller: Poller): void {
    this.#endResample();
    if (event === undefined) return;
    const watch = poller.watch(event.fd, POLL.IN, (ready) => {
      if (event.drain() > 0) this.unmask();
      else if (ready !== POLL.IN) this.#endResample();
    });
    this.#resample = { event, watch };
  }

  /** Holds signals back. */
  mask(): void {
    this.#isMasked = true;
  }

  /** Lets the next signal out, now when one is due. */
  unmask(): void {
    this.#isMasked = false;
    this.#seen?.();
    this.#update();
  }

  /** Forgets the client: its counters, its mask, and an edge that it did not take. */
  disconnect(): void {
    this.#endResample();
    this.#trigger?.[Symbol.dispose]();
    this.#trigger = undefined;
    this.#isMasked = false;
    this.#isPulsed = false;
  }

  #endResample(): void {
    this.#resample?.watch[Symbol.dispose]();
    this.#resample?.event[Symbol.dispose]();
    this.#resample = undefined;
  }

  #update(): void {
    if (this.#trigger === undefined || this.#isMasked) return;
    if (!this.#isAsserted && !this.#isPulsed) return;
    this.#isPulsed = false;
    this.#isMasked = true;
    this.#trigger.signal();
  }
}
