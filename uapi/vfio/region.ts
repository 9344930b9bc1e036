/**
 * Regions of a VFIO device: its registers, its configuration space. linux/vfio.h of Linux 7.3.
 * @module
 */
import { s32, struct, u32, u64, u8 } from "../struct.ts";

/** Indices of a PCI function's regions and interrupts. */
export const VFIO_PCI = {
  BAR0_REGION_INDEX: 0,
  BAR1_REGION_INDEX: 1,
  BAR2_REGION_INDEX: 2,
  BAR3_REGION_INDEX: 3,
  BAR4_REGION_INDEX: 4,
  BAR5_REGION_INDEX: 5,
  ROM_REGION_INDEX: 6,
  CONFIG_REGION_INDEX: 7,
  VGA_REGION_INDEX: 8,
  NUM_REGIONS: 9,
  INTX_IRQ_INDEX: 0,
  MSI_IRQ_INDEX: 1,
  MSIX_IRQ_INDEX: 2,
  ERR_IRQ_INDEX: 3,
  REQ_IRQ_INDEX: 4,
  NUM_IRQS: 5,
} as const;

/** Flags of `vfio_region_info`. */
export const VFIO_REGION_INFO_FLAG = { READ: 1, WRITE: 2, MMAP: 4, CAPS: 8 } as const;

/** Argument of VFIO_DEVICE_GET_REGION_INFO. */
export const vfio_region_info = struct(32, {
  argsz: u32(0),
  flags: u32(4),
  index: u32(8),
  cap_offset: u32(12),
  size: u64(16),
  offset: u64(24),
});

/** Ids of the capabilities of `vfio_region_info`. */
export const VFIO_REGION_INFO_CAP = {
  SPARSE_MMAP: 1,
  TYPE: 2,
  MSIX_MAPPABLE: 3,
  NVLINK2_SSATGT: 4,
  NVLINK2_LNKSPD: 5,
} as const;

/** A part of a region that can be mapped. */
export const vfio_region_sparse_mmap_area = struct(16, { offset: u64(0), size: u64(8) });

/** The parts of a region that can be mapped, when not all of it can. */
export const vfio_region_info_cap_sparse_mmap = struct(16, {
  header: u8(0, 8),
  nr_areas: u32(8),
  reserved: u32(12),
  areas: u64(16, 0),
});

/** What a region beyond those of PCI is. */
export const vfio_region_info_cap_type = struct(16, {
  header: u8(0, 8),
  type: u32(8),
  subtype: u32(12),
});

/** Types in `vfio_region_info_cap_type`. */
export const VFIO_REGION_TYPE = {
  PCI_VENDOR_TYPE: 0x8000_0000,
  PCI_VENDOR_MASK: 0xffff,
  GFX: 1,
  CCW: 2,
  MIGRATION_DEPRECATED: 3,
} as const;

/** Subtypes in `vfio_region_info_cap_type`, each of its own type. */
export const VFIO_REGION_SUBTYPE = {
  INTEL_IGD_OPREGION: 1,
  INTEL_IGD_HOST_CFG: 2,
  INTEL_IGD_LPC_CFG: 3,
  NVIDIA_NVLINK2_RAM: 1,
  IBM_NVLINK2_ATSD: 1,
  GFX_EDID: 1,
  CCW_ASYNC_CMD: 1,
  CCW_SCHIB: 2,
  CCW_CRW: 3,
  MIGRATION_DEPRECATED: 1,
} as const;

/** Where NVIDIA's memory is for the link's target. */
export const vfio_region_info_cap_nvlink2_ssatgt = struct(16, { header: u8(0, 8), tgt: u64(8) });

/** The link's speed. */
export const vfio_region_info_cap_nvlink2_lnkspd = struct(16, {
  header: u8(0, 8),
  link_speed: u32(8),
  __pad: u32(12),
});

/** Flags of `vfio_device_ioeventfd`: bits of a write. */
export const VFIO_DEVICE_IOEVENTFD = { 8: 1, 16: 2, 32: 4, 64: 8, SIZE_MASK: 0xf } as const;

/** Argument of VFIO_DEVICE_IOEVENTFD: an eventfd whose signal writes to a region. */
export const vfio_device_ioeventfd = struct(32, {
  argsz: u32(0),
  flags: u32(4),
  offset: u64(8),
  data: u64(16),
  fd: s32(24),
  reserved: u32(28),
});
