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

const NOTICES: readonly (readonly [index: number, text: string])[] = [
  [
    VFIO_PCI.ERR_IRQ_INDEX,
    "The host reports an uncorrectable error of the function: what it did last may be wrong",
  ],
  [
    VFIO_PCI.REQ_IRQ_INDEX,
    "The host wants the function back, and waits until this guest is ended",
  ],
];

/** Listens until it is disposed; `log` takes a line for each notice. */
export function listenForNotices(
  host: HostFunction,
  poller: Poller,
  log: (line: string) => void,
): Disposable {
  using stack = new DisposableStack();
  for (const [index, text] of NOTICES) {
    if (!has(host, index)) continue;
    const event = stack.use(EventFd.create());
    const noticed = (): void => {
      if (event.drain() > 0) log(text);
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
