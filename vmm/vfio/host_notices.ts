/**
 * What the host says about a function besides its interrupts: an error that cannot be corrected, and that somebody wants
 * the function back. linux/vfio.h, VFIO_PCI_ERR_IRQ_INDEX and VFIO_PCI_REQ_IRQ_INDEX.
 * @module
 */
import { SystemError } from "../../uapi/errno.ts";
import { EventFd } from "../../uapi/eventfd.ts";
import { POLL, type Poller } from "../../uapi/poll.ts";
import { VFIO_IRQ_SET } from "../../uapi/vfio/irq.ts";
import { VFIO_PCI } from "../../uapi/vfio/region.ts";
import type { HostFunction } from "./host_function.ts";

/** Who hears of it. */
export interface NoticeListener {
  /** There was an error that cannot be corrected: what the function did last may be wrong. */
  failed(): void;
  /** Somebody waits for the function to be closed. The kernel says so every 10 seconds. */
  wanted(): void;
}

/** Listens until it is disposed. */
export function listenForNotices(
  host: HostFunction,
  poller: Poller,
  listener: NoticeListener,
): Disposable {
  using stack = new DisposableStack();
  const notices: readonly (readonly [index: number, notify: () => void])[] = [
    [VFIO_PCI.ERR_IRQ_INDEX, () => listener.failed()],
    [VFIO_PCI.REQ_IRQ_INDEX, () => listener.wanted()],
  ];
  for (const [index, notify] of notices) {
    if (!has(host, index)) continue;
    const event = stack.use(EventFd.create());
    const noticed = (): void => {
      if (event.drain() > 0) notify();
    };
    stack.use(poller.watch(event.fd, POLL.IN, noticed));
    host.setIrqs({ index, action: VFIO_IRQ_SET.ACTION_TRIGGER, eventfds: [event.fd.number] });
  }
  return stack.move();
}

/** A kernel says EINVAL of what a function does not have. */
function has(host: HostFunction, index: number): boolean {
  try {
    return host.irq(index).count > 0;
  } catch (error) {
    if (error instanceof SystemError) return false;
    throw error;
  }
}
