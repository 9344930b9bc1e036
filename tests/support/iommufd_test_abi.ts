/**
 * The ioctl with which a kernel built for testing makes devices of its own for iommufd, and what its mock driver takes.
 * drivers/iommu/iommufd/iommufd_test.h of Linux 7.3.
 * @module
 */
import { io } from "../../uapi/ioctl.ts";
import { type Field, type Fields, s32, type Struct, struct, u32, u64 } from "../../uapi/struct.ts";

/** The ioctl. */
export const IOMMU_TEST_CMD = io(0x3b, 0xa0);

/** What every argument has. */
type Head = Readonly<Record<"size" | "op" | "id", Field<"u32">>>;

const cmd = <F extends Fields>(fields: F): Struct<Head & F> =>
  struct(72, { size: u32(0), op: u32(4), id: u32(8), ...fields });

/** Numbers of the operations. */
export const IOMMU_TEST_OP = {
  ADD_RESERVED: 1,
  MOCK_DOMAIN: 2,
  MD_CHECK_MAP: 3,
  MD_CHECK_REFS: 4,
  CREATE_ACCESS: 5,
  DESTROY_ACCESS_PAGES: 6,
  ACCESS_PAGES: 7,
  ACCESS_RW: 8,
  SET_TEMP_MEMORY_LIMIT: 9,
  MOCK_DOMAIN_REPLACE: 10,
  ACCESS_REPLACE_IOAS: 11,
  MOCK_DOMAIN_FLAGS: 12,
  DIRTY: 13,
  MD_CHECK_IOTLB: 14,
  TRIGGER_IOPF: 15,
  DEV_CHECK_CACHE: 16,
  TRIGGER_VEVENT: 17,
  PASID_ATTACH: 18,
  PASID_REPLACE: 19,
  PASID_DETACH: 20,
  PASID_CHECK_HWPT: 21,
  DMABUF_GET: 22,
  DMABUF_REVOKE: 23,
} as const;

const mockDomain = cmd({
  out_stdev_id: u32(16),
  out_hwpt_id: u32(20),
  out_idev_id: u32(24),
  dev_flags: u32(28),
});
const pasid = cmd({ pasid: u32(16), pt_id: u32(20) });

/** Arguments of the operations. */
export const iommu_test_cmd = {
  ADD_RESERVED: cmd({ start: u64(16), length: u64(24) }),
  MOCK_DOMAIN: mockDomain,
  MD_CHECK_MAP: cmd({ iova: u64(16), length: u64(24), uptr: u64(32) }),
  MD_CHECK_REFS: cmd({ length: u64(16), uptr: u64(24), refs: u32(32) }),
  CREATE_ACCESS: cmd({ out_access_fd: u32(16), flags: u32(20) }),
  DESTROY_ACCESS_PAGES: cmd({ access_pages_id: u32(16) }),
  ACCESS_PAGES: cmd({
    flags: u32(16),
    out_access_pages_id: u32(20),
    iova: u64(24),
    length: u64(32),
    uptr: u64(40),
  }),
  ACCESS_RW: cmd({ iova: u64(16), length: u64(24), uptr: u64(32), flags: u32(40) }),
  SET_TEMP_MEMORY_LIMIT: cmd({ limit: u32(16) }),
  MOCK_DOMAIN_REPLACE: cmd({ pt_id: u32(16) }),
  ACCESS_REPLACE_IOAS: cmd({ ioas_id: u32(16) }),
  MOCK_DOMAIN_FLAGS: mockDomain,
  DIRTY: cmd({
    flags: u32(16),
    iova: u64(24),
    length: u64(32),
    page_size: u64(40),
    uptr: u64(48),
    out_nr_dirty: u64(56),
  }),
  MD_CHECK_IOTLB: cmd({ index: u32(16), iotlb: u32(20) }),
  TRIGGER_IOPF: cmd({
    dev_id: u32(16),
    pasid: u32(20),
    grpid: u32(24),
    perm: u32(28),
    addr: u64(32),
  }),
  DEV_CHECK_CACHE: cmd({ index: u32(16), cache: u32(20) }),
  TRIGGER_VEVENT: cmd({ dev_id: u32(16) }),
  PASID_ATTACH: pasid,
  PASID_REPLACE: pasid,
  PASID_DETACH: pasid,
  PASID_CHECK_HWPT: cmd({ pasid: u32(16), hwpt_id: u32(20) }),
  DMABUF_GET: cmd({ length: u32(16), open_flags: u32(20) }),
  DMABUF_REVOKE: cmd({ dmabuf_fd: s32(16), revoked: u32(20) }),
} as const;

/** The name of an operation. */
export type TestOp = keyof typeof IOMMU_TEST_OP;

/** Flags and sizes of the mock device. */
export const MOCK = {
  APERTURE_START: 0x100_0000,
  APERTURE_LAST: 0x7fff_ffff,
  PAGE_SIZE: 2048,
  HUGE_PAGE_SIZE: 0x10_0000,
  FLAGS_ACCESS_WRITE: 1,
  FLAGS_ACCESS_SYZ: 0x1_0000,
  ACCESS_RW_WRITE: 1,
  ACCESS_RW_SLOW_PATH: 4,
  FLAGS_ACCESS_CREATE_NEEDS_PIN_PAGES: 1,
  FLAGS_DEVICE_NO_DIRTY: 1,
  FLAGS_DEVICE_PASID: 4,
  NESTED_DOMAIN_IOTLB_NUM: 4,
  DEV_CACHE_NUM: 4,
  PASID_WIDTH: 20,
  IOMMUPT_DEFAULT: 0,
  IOMMUPT_HUGE: 1,
} as const;

/** Types of the mock driver's data, and the values that it begins with. */
export const SELFTEST = {
  HW_INFO_TYPE: 0xfeed_beef,
  HW_INFO_REGVAL: 0xdead_beef,
  HWPT_DATA: 0xdead,
  IOTLB_DEFAULT: 0xbad_beef,
  DEV_CACHE_DEFAULT: 0xba_ddad,
  HWPT_INVALIDATE_DATA: 0xdead_beef,
  HWPT_INVALIDATE_DATA_INVALID: 0xdad_beef,
  INVALIDATE_FLAG_ALL: 1,
  VIOMMU_TYPE: 0xdead_beef,
  VIOMMU_INVALIDATE_DATA: 0xdead_beef,
  VIOMMU_INVALIDATE_DATA_INVALID: 0xdad_beef,
  VEVENTQ_TYPE: 0xbeef_beef,
  HW_QUEUE_TYPE: 0xdead_beef,
  HW_QUEUE_MAX: 2,
  PASID_RESERVED: 1024,
} as const;

/** What IOMMU_GET_HW_INFO tells. */
export const iommu_test_hw_info = struct(8, { flags: u32(0), test_reg: u32(4) });
/** Data of IOMMU_HWPT_ALLOC. */
export const iommu_hwpt_selftest = struct(8, { iotlb: u32(0), pagetable_type: u32(4) });
/** Entry of IOMMU_HWPT_INVALIDATE for a nested HWPT. */
export const iommu_hwpt_invalidate_selftest = struct(8, { flags: u32(0), iotlb_id: u32(4) });
/** Data of IOMMU_VIOMMU_ALLOC. */
export const iommu_viommu_selftest = struct(24, {
  in_data: u32(0),
  out_data: u32(4),
  out_mmap_offset: u64(8),
  out_mmap_length: u64(16),
});
/** Entry of IOMMU_HWPT_INVALIDATE for a vIOMMU. */
export const iommu_viommu_invalidate_selftest = struct(12, {
  flags: u32(0),
  vdev_id: u32(4),
  cache_id: u32(8),
});
/** Record of a vEVENTQ. */
export const iommu_viommu_event_selftest = struct(4, { virt_id: u32(0) });
