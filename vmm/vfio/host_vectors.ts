/**
 * MSI-X of the host: event counters that the kernel signals.
 * @module
 */
import { EventFd } from "../../uapi/eventfd.ts";
import { POLL, type Poller } from "../../uapi/poll.ts";
import { VFIO_IRQ_SET } from "../../uapi/vfio/irq.ts";
import { VFIO_PCI } from "../../uapi/vfio/region.ts";
import type { HostFunction } from "./host_function.ts";

const INDEX = VFIO_PCI.MSIX_IRQ_INDEX;
const { ACTION_TRIGGER } = VFIO_IRQ_SET;

/** The vectors of a function, switched on and off together. */
export class HostVectors implements Disposable {
  readonly #host: HostFunction;
  readonly #poller: Poller;
  readonly #raise: (vector: number) => void;
  #on: DisposableStack | undefined;

  /** Off; `raise` is called with the number of a vector that the hardware has signalled. */
  constructor(host: HostFunction, poller: Poller, raise: (vector: number) => void) {
    this.#host = host;
    this.#poller = poller;
    this.#raise = raise;
  }

  /** Switches `count` vectors on, unless they are. Throws `SystemError`, and all are off then. */
  enable(count: number): void {
    if (this.#on !== undefined) return;
    using stack = new DisposableStack();
    const events = Array.from({ length: count }, () => stack.use(EventFd.create()));
    events.forEach((event, vector) => {
      const signalled = (): void => {
        if (event.drain() > 0) this.#raise(vector);
      };
      stack.use(this.#poller.watch(event.fd, POLL.IN, signalled));
    });
    const eventfds = events.map(({ fd }) => fd.number);
    this.#host.setIrqs({ index: INDEX, action: ACTION_TRIGGER, eventfds });
    this.#on = stack.move();
  }

  /** Switches all off. Throws `SystemError`; no more signals come all the same. */
  disable(): void {
    if (this.#on === undefined) return;
    using _on = this.#on;
    this.#on = undefined;
    this.#host.setIrqs({ index: INDEX, action: ACTION_TRIGGER, count: 0 });
  }

  /** Ends the watches; the device's owner closes it. */
  [Symbol.dispose](): void {
    this.#on?.[Symbol.dispose]();
    this.#on = undefined;
  }
}
