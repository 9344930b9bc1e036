/**
 * Whether a function's guest is shown a PASID capability, and which. PCI Express Base 5.0 §7.8.8; linux/iommufd.h,
 * IOMMU_GET_HW_INFO: `out_max_pasid_log2`, IOMMU_HW_CAP_PCI_PASID_*.
 * @module
 */
import type { PasidAbilities } from "../../hw/pci/pasid.ts";
import { IOMMU_HW_CAP } from "../../uapi/iommufd/mod.ts";
import type { HwInfo } from "../iommufd/iommufd.ts";

/** What the user wants: what the host can do, none, or one whatever the host can do. */
export type PasidChoice = "auto" | "off" | "force";

/** Width of a capability that the host does not warrant, where the guest's SMMU has no SubstreamIDs either. */
const FORCED_WIDTH = 8;

/** The capability, or why there is none. */
export type PasidDecision = { readonly abilities: PasidAbilities } | { readonly reason: string };

/** Decides for a function whose host tells `info`, behind a guest's SMMU with SubstreamIDs of `ssidSize` bits. */
export function decidePasid(
  choice: PasidChoice,
  { maxPasidLog2, capabilities }: Pick<HwInfo, "maxPasidLog2" | "capabilities">,
  ssidSize: number,
): PasidDecision {
  if (choice === "off") return { reason: "it was asked for none" };
  const has = (bit: number): boolean => (capabilities & BigInt(bit)) !== 0n;
  const abilities = {
    execute: has(IOMMU_HW_CAP.PCI_PASID_EXEC),
    privileged: has(IOMMU_HW_CAP.PCI_PASID_PRIV),
  };
  const width = Math.min(maxPasidLog2, ssidSize);
  if (width > 0) return { abilities: { ...abilities, width } };
  if (choice === "force") return { abilities: { ...abilities, width: ssidSize || FORCED_WIDTH } };
  return {
    reason: maxPasidLog2 === 0
      ? "the host's SMMU and function have no PASIDs for it"
      : `the host has PASIDs of ${maxPasidLog2} bits, but the guest's SMMU has no SubstreamIDs`,
  };
}
