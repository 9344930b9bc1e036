/**
 * A region that the client maps: its accesses do not reach us. vfio-user specification, "VFIO_USER_DEVICE_GET_REGION_INFO".
 * @module
 */
import type { Fd } from "../../uapi/fd.ts";

/** A file behind a region, and the parts of the region for which it stands. Accesses to the rest still come to us. */
export interface MappedRegion {
  /** The file. Its owner keeps it open as long as there are clients. */
  readonly fd: Fd;
  /** Where the region begins in the file, in bytes. */
  readonly offset: number;
  /** The parts, ascending, of whole pages, none overlapping; at least one. */
  readonly areas: readonly { readonly offset: number; readonly sizeBytes: number }[];
}
