/**
 * What a VFIO device is, and what it is attached to. linux/vfio.h of Linux 7.3.
 * @module
 */
import { s32, struct, u16, u32, u64, u8 } from "../struct.ts";

/** Beginning of a capability in a chain behind a structure. */
export const vfio_info_cap_header = struct(8, { id: u16(0), version: u16(2), next: u32(4) });

/** Flags of `vfio_device_info`: what can be done, and on which bus the device is. */
export const VFIO_DEVICE_FLAGS = {
  RESET: 1,
  PCI: 2,
  PLATFORM: 4,
  AMBA: 8,
  CCW: 0x10,
  AP: 0x20,
  FSL_MC: 0x40,
  CAPS: 0x80,
  CDX: 0x100,
} as const;

/** Argument of VFIO_DEVICE_GET_INFO. */
export const vfio_device_info = struct(24, {
  argsz: u32(0),
  flags: u32(4),
  num_regions: u32(8),
  num_irqs: u32(12),
  cap_offset: u32(16),
  pad: u32(20),
});

/** Ids of the capabilities of `vfio_device_info`. */
export const VFIO_DEVICE_INFO_CAP = {
  ZPCI_BASE: 1,
  ZPCI_GROUP: 2,
  ZPCI_UTIL: 3,
  ZPCI_PFIP: 4,
  PCI_ATOMIC_COMP: 5,
} as const;

/** Flags of `vfio_device_info_cap_pci_atomic_comp`: bits of the atomic operations that the root complex completes. */
export const VFIO_PCI_ATOMIC = { COMP32: 1, COMP64: 2, COMP128: 4 } as const;

/** Atomic operations of PCI. */
export const vfio_device_info_cap_pci_atomic_comp = struct(16, {
  header: u8(0, 8),
  flags: u32(8),
  reserved: u32(12),
});

/** Flag of VFIO_DEVICE_BIND_IOMMUFD: `token_uuid_ptr` is the token of a VF. */
export const VFIO_DEVICE_BIND_FLAG = { TOKEN: 1 } as const;

/** Argument of VFIO_DEVICE_BIND_IOMMUFD. */
export const vfio_device_bind_iommufd = struct(24, {
  argsz: u32(0),
  flags: u32(4),
  iommufd: s32(8),
  out_devid: u32(12),
  token_uuid_ptr: u64(16),
});

/** Flag of VFIO_DEVICE_ATTACH_IOMMUFD_PT. */
export const VFIO_DEVICE_ATTACH = { PASID: 1 } as const;

/** Argument of VFIO_DEVICE_ATTACH_IOMMUFD_PT. */
export const vfio_device_attach_iommufd_pt = struct(16, {
  argsz: u32(0),
  flags: u32(4),
  pt_id: u32(8),
  pasid: u32(12),
});

/** Flag of VFIO_DEVICE_DETACH_IOMMUFD_PT. */
export const VFIO_DEVICE_DETACH = { PASID: 1 } as const;

/** Argument of VFIO_DEVICE_DETACH_IOMMUFD_PT. */
export const vfio_device_detach_iommufd_pt = struct(12, {
  argsz: u32(0),
  flags: u32(4),
  pasid: u32(8),
});

/** Instead of a device id in `vfio_pci_dependent_device`. */
export const VFIO_PCI_DEVID = { OWNED: 0, NOT_OWNED: 0xffff_ffff } as const;

/** A PCI function that a reset affects. */
export const vfio_pci_dependent_device = struct(8, {
  group_id: u32(0),
  devid: u32(0),
  segment: u16(4),
  bus: u8(6),
  devfn: u8(7),
});

/** Flags of `vfio_pci_hot_reset_info`. */
export const VFIO_PCI_HOT_RESET_FLAG = { DEV_ID: 1, DEV_ID_OWNED: 2 } as const;

/** Argument of VFIO_DEVICE_GET_PCI_HOT_RESET_INFO. */
export const vfio_pci_hot_reset_info = struct(12, {
  argsz: u32(0),
  flags: u32(4),
  count: u32(8),
  devices: u32(12, 0),
});

/** Argument of VFIO_DEVICE_PCI_HOT_RESET. */
export const vfio_pci_hot_reset = struct(12, {
  argsz: u32(0),
  flags: u32(4),
  count: u32(8),
  group_fds: s32(12, 0),
});
