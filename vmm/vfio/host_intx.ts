/**
 * The wired interrupt of a function of the host. It masks itself when it fires, and is unmasked when the guest has seen it.
 * @module
 */
import { EventFd } from "../../uapi/eventfd.ts";
import { POLL, type Poller } from "../../uapi/poll.ts";
import { VFIO_IRQ_SET } from "../../uapi/vfio/irq.ts";
import { VFIO_PCI } from "../../uapi/vfio/region.ts";
import type { HostFunction } from "./host_function.ts";

const INDEX = VFIO_PCI.INTX_IRQ_INDEX;
const { ACTION_TRIGGER, ACTION_UNMASK } = VFIO_IRQ_SET;

/** A level that stays until somebody says that it was seen. */
export interface ResampledLine {
  /** Asserts the level, or takes it away. */
  set(asserted: boolean): void;
  /** Calls `seen` each time the guest has seen the interrupt. */
  onSeen(seen: () => void): void;
}

/** Carries the interrupt of `host` to a line. */
export class HostIntx implements Disposable {
  readonly #host: HostFunction;
  readonly #poller: Poller;
  readonly #line: ResampledLine;
  #on: DisposableStack | undefined;

  /** Off. */
  constructor(host: HostFunction, poller: Poller, line: ResampledLine) {
    this.#host = host;
    this.#poller = poller;
    this.#line = line;
    line.onSeen(() => this.#unmask());
  }

  /** Switches it on, unless it is. Throws `SystemError`. */
  enable(): void {
    if (this.#on !== undefined) return;
    using stack = new DisposableStack();
    const event = stack.use(EventFd.create());
    const fired = (): void => {
      if (event.drain() > 0) this.#line.set(true);
    };
    stack.use(this.#poller.watch(event.fd, POLL.IN, fired));
    this.#host.setIrqs({ index: INDEX, action: ACTION_TRIGGER, eventfds: [event.fd.number] });
    this.#on = stack.move();
  }

  /** Switches it off, and takes the level away. Throws `SystemError`; no more interrupts come all the same. */
  disable(): void {
    if (this.#on === undefined) return;
    using _on = this.#on;
    this.#on = undefined;
    this.#line.set(false);
    this.#host.setIrqs({ index: INDEX, action: ACTION_TRIGGER, count: 0 });
  }

  /** Ends the watch; the device's owner closes it. */
  [Symbol.dispose](): void {
    this.#on?.[Symbol.dispose]();
    this.#on = undefined;
  }

  /** Hardware that still asserts it fires again at once. */
  #unmask(): void {
    if (this.#on === undefined) return;
    this.#line.set(false);
    this.#host.setIrqs({ index: INDEX, action: ACTION_UNMASK, count: 1 });
  }
}
