/**
 * What the function has: regions and interrupts. vfio-user specification, "VFIO_USER_DEVICE_GET_INFO",
 * "VFIO_USER_DEVICE_GET_REGION_INFO", "VFIO_USER_DEVICE_GET_IRQ_INFO".
 * @module
 */
import type { Pinned } from "../../../uapi/pinned.ts";
import type { Refusal } from "../../guest_ram_map.ts";
import {
  HEADER,
  INFO,
  INFO_FLAGS,
  IRQ,
  IRQ_INFO,
  IRQ_INFO_FLAGS,
  REGION,
  REGION_INFO,
  REGION_INFO_FLAGS,
} from "../protocol.ts";
import { type Command, invalid, type Request, type Target } from "./command.ts";

/** GET_INFO. */
export const getInfo: Command = { sizeBytes: INFO.end, needsReply: true, run: info };

/** GET_REGION_INFO. */
export const getRegionInfo: Command = {
  sizeBytes: REGION_INFO.end,
  needsReply: true,
  run: regionInfo,
};

/** GET_IRQ_INFO. */
export const getIrqInfo: Command = { sizeBytes: IRQ_INFO.end, needsReply: true, run: irqInfo };

/** How many interrupts of an index a client may use: INTx only. The function sends its messages itself. */
export function irqCount({ intx }: Target, index: number): number {
  return index === IRQ.INTX && intx !== undefined ? 1 : 0;
}

function info(_: Target, { message }: Request, { view }: Pinned): number | Refusal {
  const argsz = message.view.getUint32(INFO.argsz, true);
  if (argsz < INFO.end - HEADER.end) return invalid(`its argsz is ${argsz}`);
  view.setUint32(INFO.argsz, INFO.end - HEADER.end, true);
  view.setUint32(INFO.flags, INFO_FLAGS.RESET | INFO_FLAGS.PCI, true);
  view.setUint32(INFO.regions, REGION.count, true);
  view.setUint32(INFO.irqs, IRQ.count, true);
  return INFO.end;
}

function regionInfo({ regions }: Target, { message }: Request, reply: Pinned): number | Refusal {
  const argsz = message.view.getUint32(REGION_INFO.argsz, true);
  const index = message.view.getUint32(REGION_INFO.index, true);
  if (argsz < REGION_INFO.end - HEADER.end) return invalid(`its argsz is ${argsz}`);
  if (index >= REGION.count) return invalid(`there is no region ${index}`);
  const sizeBytes = regions.sizeBytes(index);
  // MMAP is never offered: a single region with it would end posted writes to all.
  const flags = sizeBytes === 0 ? 0 : REGION_INFO_FLAGS.READ | REGION_INFO_FLAGS.WRITE;
  reply.view.setUint32(REGION_INFO.argsz, REGION_INFO.end - HEADER.end, true);
  reply.view.setUint32(REGION_INFO.flags, flags, true);
  reply.view.setUint32(REGION_INFO.index, index, true);
  reply.view.setUint32(REGION_INFO.capOffset, 0, true);
  reply.setU64(REGION_INFO.size, sizeBytes);
  reply.setU64(REGION_INFO.offset, 0);
  return REGION_INFO.end;
}

function irqInfo(target: Target, { message }: Request, { view }: Pinned): number | Refusal {
  const argsz = message.view.getUint32(IRQ_INFO.argsz, true);
  const index = message.view.getUint32(IRQ_INFO.index, true);
  if (argsz < IRQ_INFO.end - HEADER.end) return invalid(`its argsz is ${argsz}`);
  if (index >= IRQ.count) return invalid(`there is no interrupt index ${index}`);
  const { EVENTFD, MASKABLE, AUTOMASKED } = IRQ_INFO_FLAGS;
  const count = irqCount(target, index);
  view.setUint32(IRQ_INFO.argsz, IRQ_INFO.end - HEADER.end, true);
  view.setUint32(IRQ_INFO.flags, count === 0 ? 0 : EVENTFD | MASKABLE | AUTOMASKED, true);
  view.setUint32(IRQ_INFO.index, index, true);
  view.setUint32(IRQ_INFO.count, count, true);
  return IRQ_INFO.end;
}
