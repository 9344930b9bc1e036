/**
 * The ABI of VFIO that a VMM needs, and devices. linux/vfio.h of Linux 7.3.
 * @module
 */
export * from "./capabilities.ts";
export * from "./dependent_devices.ts";
export * from "./device.ts";
export * from "./feature.ts";
export * from "./irq.ts";
export * from "./region.ts";
export * from "./region_info.ts";
export * from "./requests.ts";
export * from "./vfio_device.ts";
