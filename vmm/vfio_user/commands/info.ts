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
  SPARSE_MMAP,
} from "../protocol.ts";
import type { MappedRegion } from "../mapped_region.ts";
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

/** How many interrupts of an index a client may use. The function sends its messages itself. */
export function irqCount({ intx, request }: Target, index: number): number {
  const line = index === IRQ.INTX ? intx : index === IRQ.REQUEST ? request : undefined;
  return line === undefined ? 0 : 1;
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

function regionInfo({ regions }: Target, request: Request, reply: Pinned): number | Refusal {
  const { view } = request.message;
  const argsz = view.getUint32(REGION_INFO.argsz, true);
  const index = view.getUint32(REGION_INFO.index, true);
  if (argsz < REGION_INFO.end - HEADER.end) return invalid(`its argsz is ${argsz}`);
  if (index >= REGION.count) return invalid(`there is no region ${index}`);
  const sizeBytes = regions.sizeBytes(index);
  const mapped = regions.mapped(index);
  const { READ, WRITE, MMAP, CAPS } = REGION_INFO_FLAGS;
  // A single region with MMAP ends posted writes to all.
  const flags = sizeBytes === 0 ? 0 : READ | WRITE | (mapped ? MMAP | CAPS : 0);
  const end = REGION_INFO.end + (mapped ? SPARSE_MMAP.areas : 0) +
    (mapped?.areas.length ?? 0) * SPARSE_MMAP.area.end;
  const hasRoom = argsz >= end - HEADER.end;
  reply.view.setUint32(REGION_INFO.argsz, end - HEADER.end, true);
  reply.view.setUint32(REGION_INFO.flags, flags, true);
  reply.view.setUint32(REGION_INFO.index, index, true);
  const capOffset = mapped ? REGION_INFO.end - HEADER.end : 0;
  reply.view.setUint32(REGION_INFO.capOffset, capOffset, true);
  reply.setU64(REGION_INFO.size, sizeBytes);
  reply.setU64(REGION_INFO.offset, mapped?.offset ?? 0);
  // A client without room for the rest learns from argsz to ask again; QEMU looks at the offset already now.
  if (mapped === undefined || !hasRoom) return REGION_INFO.end;
  writeSparse(reply, REGION_INFO.end, mapped);
  request.carried.push(mapped.fd);
  return end;
}

function writeSparse(reply: Pinned, at: number, { areas }: MappedRegion): void {
  reply.view.setUint16(at + SPARSE_MMAP.id, SPARSE_MMAP.ID, true);
  reply.view.setUint16(at + SPARSE_MMAP.version, SPARSE_MMAP.VERSION, true);
  reply.view.setUint32(at + SPARSE_MMAP.next, 0, true);
  reply.view.setUint32(at + SPARSE_MMAP.count, areas.length, true);
  reply.view.setUint32(at + SPARSE_MMAP.count + 4, 0, true);
  areas.forEach(({ offset, sizeBytes }, i) => {
    const area = at + SPARSE_MMAP.areas + i * SPARSE_MMAP.area.end;
    reply.setU64(area + SPARSE_MMAP.area.offset, offset);
    reply.setU64(area + SPARSE_MMAP.area.size, sizeBytes);
  });
}

function irqInfo(target: Target, { message }: Request, { view }: Pinned): number | Refusal {
  const argsz = message.view.getUint32(IRQ_INFO.argsz, true);
  const index = message.view.getUint32(IRQ_INFO.index, true);
  if (argsz < IRQ_INFO.end - HEADER.end) return invalid(`its argsz is ${argsz}`);
  if (index >= IRQ.count) return invalid(`there is no interrupt index ${index}`);
  const { EVENTFD, MASKABLE, AUTOMASKED, NORESIZE } = IRQ_INFO_FLAGS;
  const count = irqCount(target, index);
  const flags = EVENTFD | (index === IRQ.INTX ? MASKABLE | AUTOMASKED : NORESIZE);
  view.setUint32(IRQ_INFO.argsz, IRQ_INFO.end - HEADER.end, true);
  view.setUint32(IRQ_INFO.flags, count === 0 ? 0 : flags, true);
  view.setUint32(IRQ_INFO.index, index, true);
  view.setUint32(IRQ_INFO.count, count, true);
  return IRQ_INFO.end;
}
