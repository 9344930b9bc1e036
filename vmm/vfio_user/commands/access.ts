/**
 * Accesses to regions. vfio-user specification, "VFIO_USER_REGION_READ", "VFIO_USER_REGION_WRITE",
 * "VFIO_USER_REGION_WRITE_MULTI".
 * @module
 */
import { ERRNO } from "../../../uapi/errno.ts";
import type { Pinned } from "../../../uapi/pinned.ts";
import type { Refusal } from "../../guest_ram_map.ts";
import { ACCESS, getU64, MOST_DATA, MULTI, WRITE_MULTI } from "../protocol.ts";
import { type Command, echo, invalid, type Request, type Target } from "./command.ts";

/** REGION_READ. */
export const regionRead: Command = { sizeBytes: ACCESS.data, needsReply: true, run: read };

/** REGION_WRITE. */
export const regionWrite: Command = { sizeBytes: ACCESS.data, isOpen: true, run: write };

/** WRITE_MULTI. */
export const writeMulti: Command = {
  sizeBytes: WRITE_MULTI.writes,
  isOpen: true,
  run: writeAll,
};

function read({ regions }: Target, request: Request, reply: Pinned): number | Refusal {
  const { view } = request.message;
  const offset = getU64(view, ACCESS.offset);
  const region = view.getUint32(ACCESS.region, true);
  const count = view.getUint32(ACCESS.count, true);
  if (count > MOST_DATA) return { errno: ERRNO.E2BIG, reason: `it asks for ${count} bytes` };
  if (!regions.contains(region, offset, count)) return outside(region, offset, count);
  regions.read(region, offset, count, reply.bytes, ACCESS.data);
  echo(request, reply, ACCESS.data);
  return ACCESS.data + count;
}

function write({ regions }: Target, request: Request, reply: Pinned): number | Refusal {
  const { message: { bytes, view }, sizeBytes, isPosted } = request;
  const offset = getU64(view, ACCESS.offset);
  const region = view.getUint32(ACCESS.region, true);
  const count = view.getUint32(ACCESS.count, true);
  if (sizeBytes !== ACCESS.data + count) {
    return invalid(`it has ${sizeBytes} bytes to write ${count}`);
  }
  if (!regions.contains(region, offset, count)) return outside(region, offset, count);
  regions.write(region, offset, count, bytes, ACCESS.data);
  if (!isPosted) echo(request, reply, ACCESS.data);
  return ACCESS.data;
}

/** All are looked at before the first is done: a refusal means that nothing happened. */
function writeAll({ regions }: Target, request: Request, reply: Pinned): number | Refusal {
  const { message: { bytes, view }, sizeBytes } = request;
  const count = getU64(view, WRITE_MULTI.count);
  if (sizeBytes !== WRITE_MULTI.writes + count * MULTI.end) {
    return invalid(`it has ${sizeBytes} bytes for ${count} writes`);
  }
  for (let at: number = WRITE_MULTI.writes; at < sizeBytes; at += MULTI.end) {
    const offset = getU64(view, at + MULTI.offset);
    const region = view.getUint32(at + MULTI.region, true);
    const length = view.getUint32(at + MULTI.count, true);
    const fits = length <= MULTI.end - MULTI.data;
    if (!fits || !regions.contains(region, offset, length)) return outside(region, offset, length);
  }
  for (let at: number = WRITE_MULTI.writes; at < sizeBytes; at += MULTI.end) {
    const offset = getU64(view, at + MULTI.offset);
    const region = view.getUint32(at + MULTI.region, true);
    const length = view.getUint32(at + MULTI.count, true);
    regions.write(region, offset, length, bytes, at + MULTI.data);
  }
  reply.setU64(WRITE_MULTI.count, count);
  return WRITE_MULTI.writes;
}

function outside(region: number, offset: number, count: number): Refusal {
  return invalid(`${count} bytes at 0x${offset.toString(16)} are not in region ${region}`);
}
