/**
 * Who made a transaction of a trace, and at which address.
 * @module
 */
import type { Requester } from "../../../hw/device.ts";

/** The requester, and the low and high word of the IOVA. */
export function requesterOf(
  operation: { readonly stream: number; readonly substream?: number; readonly iova: string },
): [requester: Requester, lo: number, hi: number] {
  const requester = { streamId: operation.stream, substreamId: operation.substream ?? -1 };
  const iova = Number(operation.iova);
  if (iova <= Number.MAX_SAFE_INTEGER) {
    return [requester, iova >>> 0, Math.floor(iova / 0x1_0000_0000)];
  }
  const digits = operation.iova.slice(2).padStart(16, "0");
  return [requester, parseInt(digits.slice(8), 16), parseInt(digits.slice(0, 8), 16)];
}
