/**
 * What a guest's IOMMU has of hardware. linux/iommufd.h of Linux 7.3.
 * @module
 */
import { struct, u32, u64 } from "../struct.ts";

/** Types of vIOMMUs. */
export const IOMMU_VIOMMU_TYPE = { DEFAULT: 0, ARM_SMMUV3: 1, TEGRA241_CMDQV: 2 } as const;

/** Argument of IOMMU_VIOMMU_ALLOC. */
export const iommu_viommu_alloc = struct(40, {
  size: u32(0),
  flags: u32(4),
  type: u32(8),
  dev_id: u32(12),
  hwpt_id: u32(16),
  out_viommu_id: u32(20),
  data_len: u32(24),
  __reserved: u32(28),
  data_uptr: u64(32),
});

/** What NVIDIA's driver tells of a new vIOMMU: what of the iommufd to map for its command queues. */
export const iommu_viommu_tegra241_cmdqv = struct(16, {
  out_vintf_mmap_offset: u64(0),
  out_vintf_mmap_length: u64(8),
});

/** Argument of IOMMU_VDEVICE_ALLOC. */
export const iommu_vdevice_alloc = struct(24, {
  size: u32(0),
  viommu_id: u32(4),
  dev_id: u32(8),
  out_vdevice_id: u32(12),
  virt_id: u64(16),
});

/** Types of hardware queues. */
export const IOMMU_HW_QUEUE_TYPE = { DEFAULT: 0, TEGRA241_CMDQV: 1 } as const;

/** Argument of IOMMU_HW_QUEUE_ALLOC. */
export const iommu_hw_queue_alloc = struct(40, {
  size: u32(0),
  flags: u32(4),
  viommu_id: u32(8),
  type: u32(12),
  index: u32(16),
  out_hw_queue_id: u32(20),
  nesting_parent_iova: u64(24),
  length: u64(32),
});
