/**
 * How the client hears of interrupts. vfio-user specification, "VFIO_USER_DEVICE_SET_IRQS".
 * @module
 */
import { EventFd } from "../../../uapi/eventfd.ts";
import type { Refusal } from "../../guest_ram_map.ts";
import type { Intx } from "../intx.ts";
import type { RequestLine } from "../request_line.ts";
import { HEADER, IRQ, SET_IRQS, SET_IRQS_FLAGS } from "../protocol.ts";
import { type Command, invalid, type Request, type Target } from "./command.ts";
import { irqCount } from "./info.ts";

const { NONE, BOOL, EVENTFD, MASK, UNMASK, TRIGGER } = SET_IRQS_FLAGS;
const KINDS = NONE | BOOL | EVENTFD;

/** SET_IRQS. */
export const setIrqs: Command = { sizeBytes: SET_IRQS.data, isOpen: true, mostFds: 16, run };

function run(target: Target, request: Request): number | Refusal {
  const { message: { view }, sizeBytes, fds } = request;
  const argsz = view.getUint32(SET_IRQS.argsz, true);
  const flags = view.getUint32(SET_IRQS.flags, true);
  const index = view.getUint32(SET_IRQS.index, true);
  const start = view.getUint32(SET_IRQS.start, true);
  const count = view.getUint32(SET_IRQS.count, true);
  const kind = flags & KINDS;
  const action = flags & ~KINDS;
  if (argsz < SET_IRQS.data - HEADER.end) return invalid(`its argsz is ${argsz}`);
  if (index >= IRQ.count || start + count > irqCount(target, index)) {
    return invalid(`there are no ${count} interrupts from ${start} of index ${index}`);
  }
  if (sizeBytes !== SET_IRQS.data + (kind === BOOL ? count : 0)) {
    return invalid(`it has ${sizeBytes} bytes`);
  }
  if (fds.length !== 0 && (kind !== EVENTFD || fds.length !== count)) {
    return invalid(`it came with ${fds.length} descriptors for ${count} interrupts`);
  }
  if (!isKnown(kind, action) || (count === 0 && flags !== (NONE | TRIGGER))) {
    return invalid(`its flags are 0x${flags.toString(16)}, for ${count} interrupts`);
  }
  const { intx, request: line } = target;
  if (line !== undefined && index === IRQ.REQUEST) {
    return ask(line, { kind, action, count }, request);
  }
  if (intx === undefined || index !== IRQ.INTX) return HEADER.end;
  if (count === 0) intx.disconnect();
  else if (kind === EVENTFD) return connect(target, intx, action, request);
  else if (kind === NONE || view.getUint8(SET_IRQS.data) !== 0) act(intx, action);
  return HEADER.end;
}

/** One kind of data, one action; a counter can trigger or unmask, not mask. */
function isKnown(kind: number, action: number): boolean {
  const isKind = kind === NONE || kind === BOOL || kind === EVENTFD;
  const isAction = action === UNMASK || action === TRIGGER || (action === MASK && kind !== EVENTFD);
  return isKind && isAction;
}

function connect(
  { poller }: Target,
  intx: Intx,
  action: number,
  request: Request,
): number | Refusal {
  const counter = counterOf(request);
  if ("reason" in counter) return counter;
  if (action === TRIGGER) intx.trigger(counter.event);
  else intx.unmaskOn(counter.event, poller);
  return HEADER.end;
}

/** The interrupt cannot be masked, as the kernel's. Who triggers it asks itself. */
function ask(
  line: RequestLine,
  { kind, action, count }: { kind: number; action: number; count: number },
  request: Request,
): number | Refusal {
  if (action !== TRIGGER) return invalid("requests cannot be masked");
  if (kind === EVENTFD || count === 0) {
    const counter = counterOf(request);
    if ("reason" in counter) return counter;
    line.trigger(counter.event);
  } else if (kind === NONE || request.message.view.getUint8(SET_IRQS.data) !== 0) {
    line.signal();
  }
  return HEADER.end;
}

/** The counter that came along. Without a descriptor, the one that was there goes. */
function counterOf({ fds }: Request): { readonly event: EventFd | undefined } | Refusal {
  const fd = fds.shift();
  const event = fd && EventFd.adopt(fd);
  if (fd !== undefined && event === undefined) return invalid("its descriptor is no eventfd");
  return { event };
}

function act(intx: Intx, action: number): void {
  if (action === MASK) intx.mask();
  else if (action === UNMASK) intx.unmask();
  else intx.pulse();
}
