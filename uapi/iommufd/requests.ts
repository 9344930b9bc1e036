/**
 * The ioctls of iommufd. linux/iommufd.h of Linux 7.3.
 *
 * Throughout `uapi/iommufd` and `uapi/vfio`, a structure has its C name; an object of numbers has the common beginning of
 * the C names of its numbers, and each key is what follows an underscore.
 * @module
 */
import { io } from "../ioctl.ts";

/** The type of all these ioctls, a semicolon. */
export const IOMMUFD_TYPE = 0x3b;

/** Numbers of the ioctls. */
export const IOMMUFD_CMD = {
  BASE: 0x80,
  DESTROY: 0x80,
  IOAS_ALLOC: 0x81,
  IOAS_ALLOW_IOVAS: 0x82,
  IOAS_COPY: 0x83,
  IOAS_IOVA_RANGES: 0x84,
  IOAS_MAP: 0x85,
  IOAS_UNMAP: 0x86,
  OPTION: 0x87,
  VFIO_IOAS: 0x88,
  HWPT_ALLOC: 0x89,
  GET_HW_INFO: 0x8a,
  HWPT_SET_DIRTY_TRACKING: 0x8b,
  HWPT_GET_DIRTY_BITMAP: 0x8c,
  HWPT_INVALIDATE: 0x8d,
  FAULT_QUEUE_ALLOC: 0x8e,
  IOAS_MAP_FILE: 0x8f,
  VIOMMU_ALLOC: 0x90,
  VDEVICE_ALLOC: 0x91,
  IOAS_CHANGE_PROCESS: 0x92,
  VEVENTQ_ALLOC: 0x93,
  HW_QUEUE_ALLOC: 0x94,
  IOAS_NOIOMMU_GET_PA: 0x95,
} as const;

const request = (name: keyof typeof IOMMUFD_CMD): bigint => io(IOMMUFD_TYPE, IOMMUFD_CMD[name]);

/** The ioctls, by their whole names. */
export const IOMMUFD_REQUEST = {
  IOMMU_DESTROY: request("DESTROY"),
  IOMMU_IOAS_ALLOC: request("IOAS_ALLOC"),
  IOMMU_IOAS_ALLOW_IOVAS: request("IOAS_ALLOW_IOVAS"),
  IOMMU_IOAS_COPY: request("IOAS_COPY"),
  IOMMU_IOAS_IOVA_RANGES: request("IOAS_IOVA_RANGES"),
  IOMMU_IOAS_MAP: request("IOAS_MAP"),
  IOMMU_IOAS_UNMAP: request("IOAS_UNMAP"),
  IOMMU_OPTION: request("OPTION"),
  IOMMU_VFIO_IOAS: request("VFIO_IOAS"),
  IOMMU_HWPT_ALLOC: request("HWPT_ALLOC"),
  IOMMU_GET_HW_INFO: request("GET_HW_INFO"),
  IOMMU_HWPT_SET_DIRTY_TRACKING: request("HWPT_SET_DIRTY_TRACKING"),
  IOMMU_HWPT_GET_DIRTY_BITMAP: request("HWPT_GET_DIRTY_BITMAP"),
  IOMMU_HWPT_INVALIDATE: request("HWPT_INVALIDATE"),
  IOMMU_FAULT_QUEUE_ALLOC: request("FAULT_QUEUE_ALLOC"),
  IOMMU_IOAS_MAP_FILE: request("IOAS_MAP_FILE"),
  IOMMU_VIOMMU_ALLOC: request("VIOMMU_ALLOC"),
  IOMMU_VDEVICE_ALLOC: request("VDEVICE_ALLOC"),
  IOMMU_IOAS_CHANGE_PROCESS: request("IOAS_CHANGE_PROCESS"),
  IOMMU_VEVENTQ_ALLOC: request("VEVENTQ_ALLOC"),
  IOMMU_HW_QUEUE_ALLOC: request("HW_QUEUE_ALLOC"),
  IOMMU_IOAS_NOIOMMU_GET_PA: request("IOAS_NOIOMMU_GET_PA"),
} as const;

/** The name of an ioctl of iommufd. */
export type IommufdRequest = keyof typeof IOMMUFD_REQUEST;
