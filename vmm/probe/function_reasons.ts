/**
 * Why a PCI function cannot be asked, or given to a guest: what files tell.
 * @module
 */
import type { Facts } from "./facts.ts";
import { SMMUV3 } from "./iommus.ts";
import type { PciFunction } from "./pci_functions.ts";
import type { Reason } from "./verdict.ts";

type Rule = (facts: Facts, device: PciFunction) => Reason | undefined;

/** Every reason that holds. */
export function functionReasons(facts: Facts, address: string): Reason[] {
  const device = facts.functions.find((each) => each.address === address)!;
  return RULES.map((rule) => rule(facts, device)).filter((reason) => reason !== undefined);
}

const isolation: Rule = (_facts, { group, cdev }) => {
  if (group !== undefined && !cdev?.name.startsWith("noiommu-")) return undefined;
  return {
    why: "It is in no IOMMU group: nothing translates its DMA",
    cure: "Use a device behind the SMMU; dmesg | grep -i iommu says which the kernel has added",
  };
};

const kind: Rule = ({ iommus }, { iommu }) => {
  const found = iommus.find(({ name }) => name === iommu);
  if (found === undefined || found.kind === SMMUV3) return undefined;
  return {
    why: `Its IOMMU, ${found.name}, is ${found.kind}`,
    cure: `Use a device behind an ${SMMUV3}`,
  };
};

const node: Rule = (_facts, { cdev }) => {
  if (cdev === undefined || cdev.state === "usable") return undefined;
  return cdev.state === "forbidden"
    ? {
      why: `This user cannot open ${cdev.path}`,
      cure: `Run it as root, or chown ${cdev.path} to the user`,
      isUndecided: true,
    }
    : {
      why: `${cdev.path} is not there`,
      cure: "Make it visible here: the kernel has it, this /dev does not",
      isUndecided: true,
    };
};

const use: Rule = ({ holders }, { cdev, group }) => {
  const found = [cdev?.path, `/dev/vfio/${group}`].flatMap((path) => holders[path ?? ""] ?? []);
  if (found.length === 0) return undefined;
  return {
    why: `It is in use by ${found.join(", ")}, and was left alone`,
    cure: "Ask again when that program has ended",
    isUndecided: true,
  };
};

const companions: Rule = ({ groups, functions }, { address, group }) => {
  const members = groups.find(({ id }) => id === group)?.members ?? [];
  const driven = functions.filter((other) =>
    other.address !== address && members.includes(other.address) && isDriven(other)
  );
  if (driven.length === 0) return undefined;
  const names = driven.map(({ address, driver }) => `${address} (${driver})`).join(", ");
  return {
    why: `Its group, ${group}, has devices that the host uses: ${names}`,
    cure: `Bind them to vfio-pci too, or move the device to a slot with a group of its own`,
  };
};

const direct: Rule = ({ groups }, { group }) => {
  const found = groups.find(({ id }) => id === group)?.reserved
    .find(({ type }) => type === "direct");
  if (found === undefined) return undefined;
  return {
    why: `Firmware claims ${found.start} to ${found.last} for the device (a direct region)`,
    cure: "Turn off what uses it in the firmware's settings (an RMR node of the IORT)",
  };
};

/** A bridge's driver leaves DMA alone, and so does no driver. */
function isDriven({ driver, isVfio }: PciFunction): boolean {
  return !isVfio && driver !== undefined && driver !== "pcieport" && driver !== "pci-stub";
}

const RULES: readonly Rule[] = [isolation, kind, node, use, companions, direct];
