/**
 * The interrupt by which a VMM is asked to give a function back. linux/vfio.h, VFIO_PCI_REQ_IRQ_INDEX.
 * @module
 */
import type { EventFd } from "../../uapi/eventfd.ts";

/**
 * Carries the request to an event counter of the client's. QEMU's `vfio-pci` unplugs the function then; its
 * `vfio-user-pci` does not ask for this interrupt.
 */
export class RequestLine implements Disposable {
  #event: EventFd | undefined;

  /** Whether the client wants to be asked. */
  get isHeard(): boolean {
    return this.#event !== undefined;
  }

  /** Asks through `event`, owned from now on, or not at all without one. */
  trigger(event: EventFd | undefined): void {
    this.#event?.[Symbol.dispose]();
    this.#event = event;
  }

  /** Asks the client, if it wants to be asked. */
  signal(): void {
    this.#event?.signal();
  }

  /** Forgets the client. */
  [Symbol.dispose](): void {
    this.trigger(undefined);
  }
}
