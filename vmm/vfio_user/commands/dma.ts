/**
 * Guest RAM that the client gives and takes. vfio-user specification, "VFIO_USER_DMA_MAP", "VFIO_USER_DMA_UNMAP".
 * @module
 */
import type { Pinned } from "../../../uapi/pinned.ts";
import type { Refusal } from "../../guest_ram_map.ts";
import { DMA_MAP, DMA_MAP_FLAGS, DMA_UNMAP, DMA_UNMAP_FLAGS, getU64, HEADER } from "../protocol.ts";
import { type Command, echo, invalid, type Request, type Target } from "./command.ts";

/** DMA_MAP. */
export const dmaMap: Command = { sizeBytes: DMA_MAP.end, mostFds: 1, run: map };

/** DMA_UNMAP. */
export const dmaUnmap: Command = { sizeBytes: DMA_UNMAP.end, run: unmap };

function map({ ram }: Target, { message: { view }, fds }: Request): number | Refusal {
  const argsz = view.getUint32(DMA_MAP.argsz, true);
  const flags = view.getUint32(DMA_MAP.flags, true);
  const { READ, WRITE } = DMA_MAP_FLAGS;
  if (argsz < DMA_MAP.end - HEADER.end) return invalid(`its argsz is ${argsz}`);
  if ((flags & READ) === 0 || (flags & ~(READ | WRITE)) !== 0) {
    return invalid(`its flags are 0x${flags.toString(16)}`);
  }
  const range = {
    gpa: getU64(view, DMA_MAP.iova),
    sizeBytes: getU64(view, DMA_MAP.size),
    offset: getU64(view, DMA_MAP.offset),
    writable: (flags & WRITE) !== 0,
  };
  return ram.map(range, fds[0]) ?? HEADER.end;
}

function unmap({ ram }: Target, request: Request, reply: Pinned): number | Refusal {
  const { view } = request.message;
  const argsz = view.getUint32(DMA_UNMAP.argsz, true);
  const flags = view.getUint32(DMA_UNMAP.flags, true);
  const gpa = getU64(view, DMA_UNMAP.iova);
  const sizeBytes = getU64(view, DMA_UNMAP.size);
  const isAll = flags === DMA_UNMAP_FLAGS.ALL;
  if (argsz < DMA_UNMAP.end - HEADER.end) return invalid(`its argsz is ${argsz}`);
  if (!isAll && flags !== 0) return invalid(`its flags are 0x${flags.toString(16)}`);
  if (isAll && (gpa !== 0 || sizeBytes !== 0)) return invalid("it names a range and means all");
  const refusal = isAll ? ram.unmapAll() : ram.unmap(gpa, sizeBytes);
  if (refusal !== undefined) return refusal;
  echo(request, reply, DMA_UNMAP.end);
  return DMA_UNMAP.end;
}
