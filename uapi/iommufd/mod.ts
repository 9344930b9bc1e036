/**
 * The ABI of iommufd. linux/iommufd.h of Linux 7.3.
 * @module
 */
export * from "./hw_info.ts";
export * from "./hwpt.ts";
export * from "./invalidation.ts";
export * from "./ioas.ts";
export * from "./records.ts";
export * from "./requests.ts";
export * from "./viommu.ts";
