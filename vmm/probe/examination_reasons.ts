/**
 * Why a device that was asked cannot be nested: which step the kernel refused, and what that errno means there.
 * drivers/iommu/iommufd and drivers/iommu/arm/arm-smmu-v3 of Linux 7.3.
 * @module
 */
import { get } from "../../hw/bits.ts";
import { IDR0, IDR3 } from "../../hw/smmuv3/spec/registers.ts";
import { type Examination, type StepName, STEPS } from "./examination.ts";
import type { Facts } from "./facts.ts";
import { CANWBS } from "./iort.ts";
import type { Reason } from "./verdict.ts";

type Explanation = (facts: Facts, examination: Examination) => Reason;

/** Of `IOMMU_HW_INFO_TYPE`. */
const TYPE_NAMES: readonly string[] = [
  "nothing",
  "Intel VT-d",
  "an Arm SMMUv3",
  "Tegra241 CMDQV",
  "an AMD IOMMU",
];
const ARM_SMMUV3 = 2;

/** What each step is for, in words. */
const DOES: Readonly<Record<StepName, string>> = {
  open: "open the device",
  bind: "bind the device to iommufd",
  hwInfo: "ask for the IOMMU's registers",
  ioas: "make an address space",
  dirtyTracking: "track what devices write",
  nestParent: "make a stage 2 for nesting",
  attach: "attach the device to a stage 2",
  iovaRanges: "ask what addresses stage 2 takes",
  viommu: "make a virtual SMMU",
  vdevice: "give the device a StreamID of the guest",
  veventq: "make a queue of events for the guest",
  nested: "make a nested translation",
  attachNested: "attach the device to a nested translation",
};

/** The reason of the first step that a nested guest needs and that was refused; none when all went well. */
export function examinationReasons(facts: Facts, examination: Examination): Reason[] {
  const { steps, hwInfoType } = examination;
  if (hwInfoType !== undefined && hwInfoType !== ARM_SMMUV3) return [otherIommu(hwInfoType)];
  const refused = STEPS.find((step) =>
    step !== "dirtyTracking" && steps[step] !== undefined && steps[step] !== "ok"
  );
  if (refused === undefined) return [];
  const code = steps[refused]!;
  const explain = EXPLANATIONS[`${refused} ${code}`];
  const reason = explain?.(facts, examination) ?? unexplained(code);
  return [{ ...reason, why: `Cannot ${DOES[refused]}: ${code}. ${reason.why}` }];
}

function otherIommu(type: number): Reason {
  return type === 0
    ? {
      why: "The IOMMU's driver tells nothing of it",
      cure: "Use a kernel with CONFIG_ARM_SMMU_V3_IOMMUFD=y, and a device behind an SMMUv3",
    }
    : {
      why: `The IOMMU is ${TYPE_NAMES[type] ?? `of type ${type}`}`,
      cure: "Use a device behind an Arm SMMUv3",
    };
}

function unexplained(code: string): Reason {
  return code === "ENOMEM"
    ? {
      why: "The kernel had no memory for it",
      cure: "Free memory, or raise the limit of locked memory (ulimit -l)",
    }
    : {
      why: "The kernel gives no more than that",
      cure: "dmesg may say more; otherwise see linux/iommufd.h at this call",
    };
}

const tooOld: Explanation = ({ kernel }) => ({
  why: `This kernel, ${kernel.release}, does not have the call`,
  cure: "Use a kernel of 6.15 or newer",
});

const inUse: Explanation = () => ({
  why: "The device is in use, or it is being reset, or a driver of the host has its group",
  cure: "End what uses it (fuser -v /dev/vfio/* /dev/vfio/devices/* names it), and ask again",
  isUndecided: true,
});

const bindForbidden: Explanation = ({ kernel, groups }, { address }) => {
  if (kernel.allowUnsafeInterrupts === true) return inUseGroup;
  const members = groups.find(({ members }) => members.includes(address))?.members ?? [];
  const also = members.length > 1 ? "; or another program has a device of the group" : "";
  return {
    why: `Interrupts of devices are not isolated from each other, for want of an ITS${also}`,
    cure: "Where every guest is trusted: echo Y > " +
      "/sys/module/iommufd/parameters/allow_unsafe_interrupts",
  };
};

const inUseGroup: Reason = {
  why: "Another program has a device of the group",
  cure: "End that program (fuser -v /dev/vfio/* /dev/vfio/devices/* names it)",
};

const bindInvalid: Explanation = ({ groups }, { address }) => {
  const isDirect = groups.find(({ members }) => members.includes(address))?.reserved
    .some(({ type }) => type === "direct");
  return isDirect
    ? {
      why: "Firmware claims addresses of the device for itself",
      cure: "Turn off what uses them in the firmware's settings (an RMR node of the IORT)",
    }
    : {
      why: "The device's DMA does not keep caches coherent, or the device is bound already",
      cure:
        "Firmware must describe it as coherent (COHACC in the IORT, dma-coherent in a device tree)",
    };
};

const noNesting: Explanation = (_facts, { identity }) => {
  if (identity === undefined) return unexplained("EOPNOTSUPP");
  const idr0 = Uint32Array.of(identity.idr[0]);
  const [s1p, s2p] = [get(idr0, IDR0.S1P), get(idr0, IDR0.S2P)];
  if (s1p === 0 || s2p === 0) {
    return {
      why: `The SMMU lacks a stage: IDR0.S1P is ${s1p} and IDR0.S2P is ${s2p}, both must be 1`,
      cure: "Use an SMMU with both stages; QEMU's needs -global arm-smmuv3.stage=nested",
    };
  }
  const product = erroneous(identity.iidr);
  return product !== undefined
    ? {
      why: `The kernel does not nest on an ${product}: errata`,
      cure: "Use a machine with a newer SMMU",
    }
    : {
      why: "The SMMU has both stages, and the kernel's driver does not nest on it",
      cure: "See the errata that the driver works around: dmesg | grep -i smmu",
    };
};

/** Arm's products that do not nest, if it is one of them: errata 1209401, 2268618 and 2812531. */
function erroneous(iidr: number): string | undefined {
  const [product, variant, revision] = [iidr >>> 20, (iidr >>> 16) & 0xf, (iidr >>> 12) & 0xf];
  if ((iidr & 0xfff) !== ARM) return undefined;
  if (product === MMU_600 && variant < 2) return "MMU-600 before r2p0";
  // As the driver has it: r2p0 is refused too.
  if (product === MMU_700 && (variant < 1 || revision < 1)) return "MMU-700 before r1p1";
  return undefined;
}

const ARM = 0x43b;
const MMU_600 = 0x483;
const MMU_700 = 0x487;

/** IDR3.FWB or CANWBS keeps a guest from making its device's accesses incoherent. */
const noVirtualSmmu: Explanation = ({ kernel, rootComplexes }, { address, identity }) => {
  const fwb = identity && get(Uint32Array.of(identity.idr[3]), IDR3.FWB);
  if (fwb === 1) {
    return {
      why: "IDR3.FWB is 1, and the kernel's driver makes no virtual SMMU all the same",
      cure: "See the errata that the driver works around: dmesg | grep -i smmu",
    };
  }
  const fwbText = fwb === undefined ? "" : `IDR3.FWB is ${fwb}, and `;
  const segment = parseInt(address, 16);
  const flags = rootComplexes?.filter((each) => each.segment === segment)
    .map(({ memoryFlags }) => memoryFlags) ?? [];
  const text = flags.map((each) => `0x${each.toString(16)}`).join(", ");
  const firmware = kernel.firmware === "device tree"
    ? "a device tree cannot say that the root complex is CANWBS"
    : flags.length === 0
    ? "the IORT does not say that the root complex is CANWBS"
    : flags.every((each) => (each & CANWBS) === 0)
    ? `the memory flags of the root complex in the IORT are ${text}, without CANWBS (bit 2)`
    : `the memory flags of the root complexes in the IORT are ${text}`;
  return {
    why: `A guest could make the device's accesses incoherent: ${fwbText}${firmware}`,
    cure: kernel.firmware === "device tree"
      ? "Boot with ACPI, if the hardware is coherent and the IORT says CANWBS"
      : "If the hardware is coherent, override the IORT with bit 2 of the root complex's memory " +
        "flags set (Documentation/admin-guide/acpi/initrd_table_override.rst)",
  };
};

const manyStreams: Explanation = () => ({
  why: "The device has more than one StreamID, as behind a PCIe-to-PCI bridge",
  cure: "Move the device to a slot of PCI Express",
});

const mapped: Explanation = () => ({
  why: "A reserved region of the device is in the way",
  cure: "Compare the reserved regions of its group, above, with what the guest maps",
});

const EXPLANATIONS: Readonly<Record<string, Explanation>> = {
  "open EBUSY": inUse,
  "bind EBUSY": inUse,
  "bind EPERM": bindForbidden,
  "bind EINVAL": bindInvalid,
  "bind ENOTTY": tooOld,
  "hwInfo ENOTTY": tooOld,
  "nestParent EOPNOTSUPP": noNesting,
  "nestParent ENOTTY": tooOld,
  "attach EADDRINUSE": mapped,
  "attach EBUSY": inUse,
  "viommu EOPNOTSUPP": noVirtualSmmu,
  "viommu ENOTTY": tooOld,
  "vdevice EOPNOTSUPP": manyStreams,
  "vdevice ENOTTY": tooOld,
  "veventq ENOTTY": tooOld,
};
