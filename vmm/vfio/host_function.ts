/**
 * A function of the host as the one who serves it needs it: a part of what VFIO offers.
 * @module
 */
import type { Fd } from "../../uapi/fd.ts";
import type { IrqInfo, IrqSet } from "../../uapi/vfio/irq.ts";
import type { RegionInfo } from "../../uapi/vfio/region_info.ts";

/** An open VFIO device, such as a `VfioDevice`. All throw `SystemError`. */
export interface HostFunction {
  /** Its file, of which regions can be mapped. */
  readonly fd: Fd;
  /** What a region is. */
  region(index: number): RegionInfo;
  /** What interrupts there are at an index. */
  irq(index: number): IrqInfo;
  /** Reads from a region. */
  read(index: number, offset: number, into: Uint8Array): void;
  /** Writes to a region. */
  write(index: number, offset: number, from: Uint8Array): void;
  /** Says what interrupts do. */
  setIrqs(set: IrqSet): void;
  /** Resets the function alone. */
  reset(): void;
}
