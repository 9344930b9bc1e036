/**
 * Objects in general, and address spaces. linux/iommufd.h of Linux 7.3.
 * @module
 */
import { s32, struct, u16, u32, u64 } from "../struct.ts";

/** Argument of IOMMU_DESTROY. */
export const iommu_destroy = struct(8, { size: u32(0), id: u32(4) });

/** Argument of IOMMU_IOAS_ALLOC. */
export const iommu_ioas_alloc = struct(12, { size: u32(0), flags: u32(4), out_ioas_id: u32(8) });

/** A range of IOVAs, both ends included. */
export const iommu_iova_range = struct(16, { start: u64(0), last: u64(8) });

/** Argument of IOMMU_IOAS_IOVA_RANGES. */
export const iommu_ioas_iova_ranges = struct(32, {
  size: u32(0),
  ioas_id: u32(4),
  num_iovas: u32(8),
  __reserved: u32(12),
  allowed_iovas: u64(16),
  out_iova_alignment: u64(24),
});

/** Argument of IOMMU_IOAS_ALLOW_IOVAS. */
export const iommu_ioas_allow_iovas = struct(24, {
  size: u32(0),
  ioas_id: u32(4),
  num_iovas: u32(8),
  __reserved: u32(12),
  allowed_iovas: u64(16),
});

/** Flags of IOMMU_IOAS_MAP, IOMMU_IOAS_MAP_FILE and IOMMU_IOAS_COPY. */
export const IOMMU_IOAS_MAP = { FIXED_IOVA: 1, WRITEABLE: 2, READABLE: 4 } as const;

/** Argument of IOMMU_IOAS_MAP. */
export const iommu_ioas_map = struct(40, {
  size: u32(0),
  flags: u32(4),
  ioas_id: u32(8),
  __reserved: u32(12),
  user_va: u64(16),
  length: u64(24),
  iova: u64(32),
});

/** Argument of IOMMU_IOAS_MAP_FILE. */
export const iommu_ioas_map_file = struct(40, {
  size: u32(0),
  flags: u32(4),
  ioas_id: u32(8),
  fd: s32(12),
  start: u64(16),
  length: u64(24),
  iova: u64(32),
});

/** Argument of IOMMU_IOAS_COPY. */
export const iommu_ioas_copy = struct(40, {
  size: u32(0),
  flags: u32(4),
  dst_ioas_id: u32(8),
  src_ioas_id: u32(12),
  length: u64(16),
  dst_iova: u64(24),
  src_iova: u64(32),
});

/** Argument of IOMMU_IOAS_UNMAP. */
export const iommu_ioas_unmap = struct(24, {
  size: u32(0),
  ioas_id: u32(4),
  iova: u64(8),
  length: u64(16),
});

/** Argument of IOMMU_IOAS_CHANGE_PROCESS. */
export const iommu_ioas_change_process = struct(8, { size: u32(0), __reserved: u32(4) });

/** Argument of IOMMU_IOAS_NOIOMMU_GET_PA. */
export const iommu_ioas_noiommu_get_pa = struct(40, {
  size: u32(0),
  flags: u32(4),
  ioas_id: u32(8),
  __reserved: u32(12),
  iova: u64(16),
  length: u64(24),
  out_phys: u64(32),
});

/** What IOMMU_OPTION gets or sets. */
export const IOMMU_OPTION = { RLIMIT_MODE: 0, HUGE_PAGES: 1 } as const;

/** Whether IOMMU_OPTION gets or sets. */
export const IOMMU_OPTION_OP = { SET: 0, GET: 1 } as const;

/** Argument of IOMMU_OPTION. */
export const iommu_option = struct(24, {
  size: u32(0),
  option_id: u32(4),
  op: u16(8),
  __reserved: u16(10),
  object_id: u32(12),
  val64: u64(16),
});

/** What IOMMU_VFIO_IOAS does. */
export const IOMMU_VFIO_IOAS = { GET: 0, SET: 1, CLEAR: 2 } as const;

/** Argument of IOMMU_VFIO_IOAS. */
export const iommu_vfio_ioas = struct(12, {
  size: u32(0),
  ioas_id: u32(4),
  op: u16(8),
  __reserved: u16(10),
});
