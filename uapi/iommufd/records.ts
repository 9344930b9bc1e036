/**
 * Queues of faults and events, and the records read from them. linux/iommufd.h of Linux 7.3.
 * @module
 */
import { struct, u32, u64 } from "../struct.ts";

/** Argument of IOMMU_FAULT_QUEUE_ALLOC. */
export const iommu_fault_alloc = struct(16, {
  size: u32(0),
  flags: u32(4),
  out_fault_id: u32(8),
  out_fault_fd: u32(12),
});

/** Flags of `iommu_hwpt_pgfault`. */
export const IOMMU_PGFAULT_FLAGS = { PASID_VALID: 1, LAST_PAGE: 2 } as const;

/** What a device wanted to do to the page. */
export const IOMMU_PGFAULT_PERM = { READ: 1, WRITE: 2, EXEC: 4, PRIV: 8 } as const;

/** A page request, read from a fault queue. */
export const iommu_hwpt_pgfault = struct(40, {
  flags: u32(0),
  dev_id: u32(4),
  pasid: u32(8),
  grpid: u32(12),
  perm: u32(16),
  __reserved: u32(20),
  addr: u64(24),
  length: u32(32),
  cookie: u32(36),
});

/** Answers to a page request. */
export const IOMMUFD_PAGE_RESP = { SUCCESS: 0, INVALID: 1 } as const;

/** The answer to a group of page requests, written to a fault queue. */
export const iommu_hwpt_page_response = struct(8, { cookie: u32(0), code: u32(4) });

/** Types of events, the same as those of vIOMMUs. */
export const IOMMU_VEVENTQ_TYPE = { DEFAULT: 0, ARM_SMMUV3: 1, TEGRA241_CMDQV: 2 } as const;

/** Argument of IOMMU_VEVENTQ_ALLOC. */
export const iommu_veventq_alloc = struct(32, {
  size: u32(0),
  flags: u32(4),
  viommu_id: u32(8),
  type: u32(12),
  veventq_depth: u32(16),
  out_veventq_id: u32(20),
  out_veventq_fd: u32(24),
  __reserved: u32(28),
});

/** Flag of `iommufd_vevent_header`: events were lost, and no record follows. */
export const IOMMU_VEVENTQ_FLAG = { LOST_EVENTS: 1 } as const;

/** What precedes each record of a vEVENTQ. */
export const iommufd_vevent_header = struct(8, { flags: u32(0), sequence: u32(4) });

/** An event record of an SMMUv3, with the guest's StreamID. */
export const iommu_vevent_arm_smmuv3 = struct(32, { evt: u64(0, 4) });

/** Which of NVIDIA's command queues have an error. */
export const iommu_vevent_tegra241_cmdqv = struct(16, { lvcmdq_err_map: u64(0, 2) });
