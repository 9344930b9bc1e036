/**
 * Arithmetic of circular queues: an index with a wrap bit above it. IHI 0070 §3.5.1 SMMU circular queues.
 *
 * `prod` and `cons` may carry other bits above the wrap bit (flags, errors); they are ignored.
 * @module
 */
import { getAddress } from "../../bits.ts";
import { QUEUE_BASE } from "../spec/registers.ts";

/** A queue is aligned to this however short it is, in bytes. */
const SMALLEST = 32;

/** Both indices and both wrap bits are equal. */
export function isEmpty(prod: number, cons: number, log2size: number): boolean {
  return ((prod ^ cons) & indexMask(log2size)) === 0;
}

/** The indices are equal and the wrap bits differ. */
export function isFull(prod: number, cons: number, log2size: number): boolean {
  return ((prod ^ cons) & indexMask(log2size)) === 1 << log2size;
}

/** The slot that an index names, 0 to 2^log2size - 1. */
export function slotOf(index: number, log2size: number): number {
  return index & ((1 << log2size) - 1);
}

/** The next index; past the last slot the wrap bit toggles. Bits above the wrap bit are cleared. */
export function advance(index: number, log2size: number): number {
  return (index + 1) & indexMask(log2size);
}

/** The bits of an index that count: slot and wrap bit. */
export function indexMask(log2size: number): number {
  return (2 << log2size) - 1;
}

/**
 * Where a queue of `sizeBytes`, a power of two, begins: what its base register says, truncated to addresses below `end` and aligned
 * to its size. §6.3.26 SMMU_CMDQ_BASE.
 */
export function startOf(base: Uint32Array, end: number, sizeBytes: number): number {
  const said = getAddress(base, QUEUE_BASE.ADDR);
  const address = said < end ? said : said % end;
  return address - ((address & (Math.max(sizeBytes, SMALLEST) - 1)) >>> 0);
}
