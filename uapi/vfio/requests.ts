/**
 * The ioctls of a VFIO device. linux/vfio.h of Linux 7.3; its naming is told in `uapi/iommufd/requests.ts`.
 * @module
 */
import { io } from "../ioctl.ts";

/** The type of all these ioctls, a semicolon. */
export const VFIO_TYPE = 0x3b;

/** The number of the first ioctl. */
export const VFIO_BASE = 100;

const request = (number: number): bigint => io(VFIO_TYPE, VFIO_BASE + number);

/** The ioctls, by their whole names. */
export const VFIO_REQUEST = {
  VFIO_DEVICE_GET_INFO: request(7),
  VFIO_DEVICE_GET_REGION_INFO: request(8),
  VFIO_DEVICE_GET_IRQ_INFO: request(9),
  VFIO_DEVICE_SET_IRQS: request(10),
  VFIO_DEVICE_RESET: request(11),
  VFIO_DEVICE_GET_PCI_HOT_RESET_INFO: request(12),
  VFIO_DEVICE_PCI_HOT_RESET: request(13),
  VFIO_DEVICE_IOEVENTFD: request(16),
  VFIO_DEVICE_FEATURE: request(17),
  VFIO_DEVICE_BIND_IOMMUFD: request(18),
  VFIO_DEVICE_ATTACH_IOMMUFD_PT: request(19),
  VFIO_DEVICE_DETACH_IOMMUFD_PT: request(20),
  VFIO_MIG_GET_PRECOPY_INFO: request(21),
} as const;

/** The name of an ioctl of VFIO. */
export type VfioRequest = keyof typeof VFIO_REQUEST;
