/**
 * Page tables of hardware, and their dirty bits. linux/iommufd.h of Linux 7.3.
 * @module
 */
import { struct, u32, u64 } from "../struct.ts";

/** Flags of IOMMU_HWPT_ALLOC. */
export const IOMMU_HWPT_ALLOC = { NEST_PARENT: 1, DIRTY_TRACKING: 2, PASID: 8 } as const;

/** Flag of IOMMU_HWPT_ALLOC: `fault_id` is a fault queue. */
export const IOMMU_HWPT_FAULT_ID_VALID = 4;

/** Types of the data of IOMMU_HWPT_ALLOC. */
export const IOMMU_HWPT_DATA = { NONE: 0, VTD_S1: 1, ARM_SMMUV3: 2, AMD_GUEST: 3 } as const;

/** Argument of IOMMU_HWPT_ALLOC. */
export const iommu_hwpt_alloc = struct(48, {
  size: u32(0),
  flags: u32(4),
  dev_id: u32(8),
  pt_id: u32(12),
  out_hwpt_id: u32(16),
  __reserved: u32(20),
  data_type: u32(24),
  data_len: u32(28),
  data_uptr: u64(32),
  fault_id: u32(40),
  __reserved2: u32(44),
});

/** Flags of `iommu_hwpt_vtd_s1`. */
export const IOMMU_VTD_S1 = { SRE: 1, EAFE: 2, WPE: 4 } as const;

/** A stage 1 of Intel's VT-d. */
export const iommu_hwpt_vtd_s1 = struct(24, {
  flags: u64(0),
  pgtbl_addr: u64(8),
  addr_width: u32(16),
  __reserved: u32(20),
});

/** A stage 1 of Arm's SMMUv3: the first two words of an STE. */
export const iommu_hwpt_arm_smmuv3 = struct(16, { ste: u64(0, 2) });

/** A guest's table of AMD's IOMMU: a DTE. */
export const iommu_hwpt_amd_guest = struct(32, { dte: u64(0, 4) });

/** Flag of IOMMU_HWPT_SET_DIRTY_TRACKING; without it, tracking ends. */
export const IOMMU_HWPT_DIRTY_TRACKING = { ENABLE: 1 } as const;

/** Argument of IOMMU_HWPT_SET_DIRTY_TRACKING. */
export const iommu_hwpt_set_dirty_tracking = struct(16, {
  size: u32(0),
  flags: u32(4),
  hwpt_id: u32(8),
  __reserved: u32(12),
});

/** Flag of IOMMU_HWPT_GET_DIRTY_BITMAP. */
export const IOMMU_HWPT_GET_DIRTY_BITMAP = { NO_CLEAR: 1 } as const;

/** Argument of IOMMU_HWPT_GET_DIRTY_BITMAP. */
export const iommu_hwpt_get_dirty_bitmap = struct(48, {
  size: u32(0),
  hwpt_id: u32(4),
  flags: u32(8),
  __reserved: u32(12),
  iova: u64(16),
  length: u64(24),
  page_size: u64(32),
  data: u64(40),
});

/** Types of the entries of IOMMU_HWPT_INVALIDATE for an HWPT. */
export const IOMMU_HWPT_INVALIDATE_DATA = { VTD_S1: 0 } as const;

/** Types of the entries of IOMMU_HWPT_INVALIDATE for a vIOMMU. */
export const IOMMU_VIOMMU_INVALIDATE_DATA = { ARM_SMMUV3: 1 } as const;

/** Flag of `iommu_hwpt_vtd_s1_invalidate`. */
export const IOMMU_VTD_INV_FLAGS = { LEAF: 1 } as const;

/** What VT-d is to forget. */
export const iommu_hwpt_vtd_s1_invalidate = struct(24, {
  addr: u64(0),
  npages: u64(8),
  flags: u32(16),
  __reserved: u32(20),
});

/** A command of an SMMUv3. */
export const iommu_viommu_arm_smmuv3_invalidate = struct(16, { cmd: u64(0, 2) });

/** Argument of IOMMU_HWPT_INVALIDATE. */
export const iommu_hwpt_invalidate = struct(32, {
  size: u32(0),
  hwpt_id: u32(4),
  data_uptr: u64(8),
  data_type: u32(16),
  entry_len: u32(20),
  entry_num: u32(24),
  __reserved: u32(28),
});
