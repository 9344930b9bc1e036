/**
 * Why no device of a host can be nested.
 * @module
 */
import type { Facts } from "./facts.ts";
import { SMMUV3 } from "./iommus.ts";
import type { Reason } from "./verdict.ts";

/** The first kernel that has a call of iommufd which an Arm SMMUv3 needs. */
const SINCE: Readonly<Record<string, string>> = {
  IOMMU_HWPT_ALLOC: "6.7",
  IOMMU_GET_HW_INFO: "6.7",
  IOMMU_HWPT_INVALIDATE: "6.8",
  IOMMU_VIOMMU_ALLOC: "6.13",
  IOMMU_VDEVICE_ALLOC: "6.13",
  IOMMU_VEVENTQ_ALLOC: "6.15",
};

type Rule = (facts: Facts) => Reason | undefined;

/** Every reason that holds, the deepest first. */
export function hostReasons(facts: Facts): Reason[] {
  return RULES.map((rule) => rule(facts)).filter((reason) => reason !== undefined);
}

const machine: Rule = ({ kernel }) =>
  kernel.architecture === "aarch64" ? undefined : {
    why: `The CPU is ${kernel.architecture}, and an Arm SMMUv3 is in arm64 machines only`,
    cure: "Use an arm64 machine with an SMMUv3; deno task hostvm emulates one",
  };

const iommu: Rule = ({ kernel, iommus }) => {
  if (iommus.some(({ kind }) => kind === SMMUV3)) return undefined;
  if (iommus.length > 0) {
    const kinds = [...new Set(iommus.map(({ kind }) => kind))].join(", ");
    return {
      why: `The IOMMU is ${kinds}, and a guest of ours needs an ${SMMUV3}`,
      cure: "Use a machine with an SMMUv3; deno task hostvm emulates one",
    };
  }
  if (kernel.architecture !== "aarch64") return undefined;
  return {
    why: "The kernel drives no IOMMU: /sys/class/iommu is empty",
    cure: kernel.options?.["ARM_SMMU_V3"] === "n"
      ? "Use a kernel with CONFIG_ARM_SMMU_V3"
      : "Turn the SMMU on in the firmware's settings; dmesg | grep -i smmu says what the kernel found",
  };
};

const iommufd: Rule = ({ kernel }) => {
  const option = kernel.options?.["IOMMUFD"];
  if (kernel.iommufd === "usable") return undefined;
  if (kernel.iommufd === "forbidden") {
    return {
      why: "This user cannot open /dev/iommu",
      cure: "Run it as root, or give the user /dev/iommu and /dev/vfio/devices by a rule of udev",
      isUndecided: true,
    };
  }
  if (option === "n") {
    return {
      why: `This kernel, ${kernel.release}, has no iommufd: CONFIG_IOMMUFD is not set`,
      cure: "Use a kernel of 6.15 or newer with CONFIG_IOMMUFD and CONFIG_VFIO_DEVICE_CDEV",
    };
  }
  return {
    why: "/dev/iommu is not there",
    cure: option === "y"
      ? "Make /dev/iommu visible here: the kernel has it, this /dev does not"
      : "modprobe iommufd; without such a module, use a kernel of 6.15 or newer with CONFIG_IOMMUFD",
  };
};

const calls: Rule = ({ kernel, missingCalls = [] }) => {
  const missing = missingCalls.filter((name) => name in SINCE);
  if (missing.length === 0) return undefined;
  const newest = SINCE[missing.at(-1)!];
  return {
    why: `This kernel, ${kernel.release}, has no ${missing.join(", ")}`,
    cure: `Use a kernel of ${newest} or newer`,
  };
};

const smmuDriver: Rule = ({ kernel, iommus }) =>
  kernel.options?.["ARM_SMMU_V3_IOMMUFD"] !== "n" || !iommus.some(({ kind }) => kind === SMMUV3)
    ? undefined
    : {
      why: "The kernel's SMMUv3 driver does not nest: CONFIG_ARM_SMMU_V3_IOMMUFD is not set",
      cure: "Use a kernel with CONFIG_ARM_SMMU_V3_IOMMUFD=y",
    };

const cdevs: Rule = ({ kernel, functions }) => {
  const isOff = kernel.options?.["VFIO_DEVICE_CDEV"] === "n" ||
    functions.some(({ isVfio, cdev, driver }) => isVfio && cdev === undefined && driver);
  if (!isOff || functions.some(({ cdev }) => cdev !== undefined)) return undefined;
  return {
    why: "VFIO makes no character devices: CONFIG_VFIO_DEVICE_CDEV is not set",
    cure: "Use a kernel with CONFIG_VFIO_DEVICE_CDEV=y",
  };
};

const nobody: Rule = ({ kernel, iommus, functions }) => {
  if (functions.some(({ isVfio }) => isVfio)) return undefined;
  if (!iommus.some(({ kind }) => kind === SMMUV3)) return undefined;
  const bind = "echo vfio-pci > /sys/bus/pci/devices/ADDRESS/driver_override, unbind its driver, " +
    "echo ADDRESS > /sys/bus/pci/drivers_probe";
  return {
    why: "No PCI function is bound to vfio-pci, so none can be asked",
    cure: kernel.hasVfioPci ? bind : `modprobe vfio-pci; ${bind}`,
    isUndecided: true,
  };
};

/** From the machine to the driver: a reason further up explains those below it. */
const RULES: readonly Rule[] = [machine, iommu, iommufd, calls, smmuDriver, cdevs, nobody];
