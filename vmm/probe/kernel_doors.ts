/**
 * The doors of the running kernel.
 * @module
 */
import { KernelIommufd } from "../iommufd/kernel.ts";
import { KernelDevice } from "../iommufd/kernel_device.ts";
import type { KernelDoors } from "./ask.ts";

/** `/dev/iommu` and the character devices of VFIO. */
export function kernelDoors(): KernelDoors {
  return {
    iommufd: () => KernelIommufd.open(),
    bind: (iommufd, path) => new KernelDevice(iommufd as KernelIommufd, path),
    missingCalls: () => {
      using iommufd = KernelIommufd.open();
      return iommufd.missingCalls();
    },
  };
}
