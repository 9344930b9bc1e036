/**
 * Features of a VFIO device. linux/vfio.h of Linux 7.3.
 * @module
 */
import { s32, struct, u32, u64, u8 } from "../struct.ts";

/** Features, and what VFIO_DEVICE_FEATURE does with them. */
export const VFIO_DEVICE_FEATURE = {
  MASK: 0xffff,
  GET: 0x1_0000,
  SET: 0x2_0000,
  PROBE: 0x4_0000,
  PCI_VF_TOKEN: 0,
  MIGRATION: 1,
  MIG_DEVICE_STATE: 2,
  LOW_POWER_ENTRY: 3,
  LOW_POWER_ENTRY_WITH_WAKEUP: 4,
  LOW_POWER_EXIT: 5,
  DMA_LOGGING_START: 6,
  DMA_LOGGING_STOP: 7,
  DMA_LOGGING_REPORT: 8,
  MIG_DATA_SIZE: 9,
  BUS_MASTER: 10,
  CLEAR_MASTER: 0,
  SET_MASTER: 1,
  DMA_BUF: 11,
  MIG_PRECOPY_INFOv2: 12,
  ZPCI_ERROR: 13,
} as const;

/** Argument of VFIO_DEVICE_FEATURE. */
export const vfio_device_feature = struct(8, { argsz: u32(0), flags: u32(4), data: u8(8, 0) });

/** Flags of `vfio_device_feature_migration`. */
export const VFIO_MIGRATION = { STOP_COPY: 1, P2P: 2, PRE_COPY: 4 } as const;

/** Data of MIGRATION. */
export const vfio_device_feature_migration = struct(8, { flags: u64(0) });

/** States in `vfio_device_feature_mig_state`. */
export const VFIO_DEVICE_STATE = {
  ERROR: 0,
  STOP: 1,
  RUNNING: 2,
  STOP_COPY: 3,
  RESUMING: 4,
  RUNNING_P2P: 5,
  PRE_COPY: 6,
  PRE_COPY_P2P: 7,
  NR: 8,
} as const;

/** Data of MIG_DEVICE_STATE. */
export const vfio_device_feature_mig_state = struct(8, { device_state: u32(0), data_fd: s32(4) });

/** Flag of `vfio_precopy_info`. */
export const VFIO_PRECOPY_INFO = { REINIT: 1 } as const;

/** Argument of VFIO_MIG_GET_PRECOPY_INFO. */
export const vfio_precopy_info = struct(24, {
  argsz: u32(0),
  flags: u32(4),
  initial_bytes: u64(8),
  dirty_bytes: u64(16),
});

/** Data of LOW_POWER_ENTRY_WITH_WAKEUP. */
export const vfio_device_low_power_entry_with_wakeup = struct(8, {
  wakeup_eventfd: s32(0),
  reserved: u32(4),
});

/** Data of DMA_LOGGING_START. */
export const vfio_device_feature_dma_logging_control = struct(24, {
  page_size: u64(0),
  num_ranges: u32(8),
  __reserved: u32(12),
  ranges: u64(16),
});

/** A range to log. */
export const vfio_device_feature_dma_logging_range = struct(16, { iova: u64(0), length: u64(8) });

/** Data of DMA_LOGGING_REPORT. */
export const vfio_device_feature_dma_logging_report = struct(32, {
  iova: u64(0),
  length: u64(8),
  page_size: u64(16),
  bitmap: u64(24),
});

/** Data of MIG_DATA_SIZE. */
export const vfio_device_feature_mig_data_size = struct(8, { stop_copy_length: u64(0) });

/** Data of BUS_MASTER. */
export const vfio_device_feature_bus_master = struct(4, { op: u32(0) });

/** A part of a region. */
export const vfio_region_dma_range = struct(16, { offset: u64(0), length: u64(8) });

/** Data of DMA_BUF. */
export const vfio_device_feature_dma_buf = struct(16, {
  region_index: u32(0),
  open_flags: u32(4),
  flags: u32(8),
  nr_ranges: u32(12),
  dma_ranges: u64(16, 0),
});

/** Data of ZPCI_ERROR. */
export const vfio_device_feature_zpci_err = struct(8, { data: u64(0) });
