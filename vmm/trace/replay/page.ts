/**
 * Memory for the registers of a device that replays a recording of one that had its registers there.
 * @module
 */
import { REGISTER_SPACE_SIZE } from "../../../hw/smmuv3/spec/registers.ts";
import type { TraceHeader } from "../format.ts";

/** The memory, in which nobody writes: writes that were found there are operations. None where accesses trapped. */
export function pageOf({ registers }: TraceHeader): ArrayBuffer | undefined {
  return registers === "mapped" ? new ArrayBuffer(REGISTER_SPACE_SIZE) : undefined;
}
