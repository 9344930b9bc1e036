/**
 * What hardware tells of itself. linux/iommufd.h of Linux 7.3.
 * @module
 */
import { struct, u32, u64, u8 } from "../struct.ts";

/** Types of what IOMMU_GET_HW_INFO tells. */
export const IOMMU_HW_INFO_TYPE = {
  NONE: 0,
  DEFAULT: 0,
  INTEL_VTD: 1,
  ARM_SMMUV3: 2,
  TEGRA241_CMDQV: 3,
  AMD: 4,
} as const;

/** Flag of IOMMU_GET_HW_INFO: `in_data_type` says which type is wanted. */
export const IOMMU_HW_INFO_FLAG = { INPUT_TYPE: 1 } as const;

/** What a device and its IOMMU can do. */
export const IOMMU_HW_CAP = {
  DIRTY_TRACKING: 1,
  PCI_PASID_EXEC: 2,
  PCI_PASID_PRIV: 4,
  PCI_ATS_NOT_SUPPORTED: 8,
} as const;

/** Argument of IOMMU_GET_HW_INFO. */
export const iommu_hw_info = struct(40, {
  size: u32(0),
  flags: u32(4),
  dev_id: u32(8),
  data_len: u32(12),
  data_uptr: u64(16),
  in_data_type: u32(24),
  out_data_type: u32(24),
  out_max_pasid_log2: u8(28),
  __reserved: u8(29, 3),
  out_capabilities: u64(32),
});

/** Flag of `iommu_hw_info_vtd`. */
export const IOMMU_HW_INFO_VTD = { ERRATA_772415_SPR17: 1 } as const;

/** Intel's VT-d. */
export const iommu_hw_info_vtd = struct(24, {
  flags: u32(0),
  __reserved: u32(4),
  cap_reg: u64(8),
  ecap_reg: u64(16),
});

/** Flag of `iommu_hw_info_arm_smmuv3`: each TLBI and CFGI command has to be done twice. */
export const IOMMU_HW_INFO_ARM_SMMUV3 = { ERRATA_REPEAT_TLBI_CFGI: 1 } as const;

/** Arm's SMMUv3: its ID registers, as they are. */
export const iommu_hw_info_arm_smmuv3 = struct(40, {
  flags: u32(0),
  __reserved: u32(4),
  idr: u32(8, 6),
  iidr: u32(32),
  aidr: u32(36),
});

/** NVIDIA's command queues beside an SMMUv3. */
export const iommu_hw_info_tegra241_cmdqv = struct(8, {
  flags: u32(0),
  version: u8(4),
  log2vcmdqs: u8(5),
  log2vsids: u8(6),
  __reserved: u8(7),
});

/** AMD's IOMMU. */
export const iommu_hw_info_amd = struct(16, { efr: u64(0), efr2: u64(8) });
