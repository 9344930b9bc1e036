/**
 * The IOMMUs of a host, and the groups of devices that they keep apart. Documentation/ABI/testing/sysfs-class-iommu and
 * sysfs-kernel-iommu_groups.
 * @module
 */
import type { Tree } from "./tree.ts";

/** An IOMMU. */
export interface Iommu {
  /** As in `/sys/class/iommu`. */
  readonly name: string;
  /** What it is. */
  readonly kind: string;
}

/** Addresses that a group's devices cannot use as others. */
export interface ReservedRegion {
  /** First IOVA. */
  readonly start: string;
  /** Last IOVA. */
  readonly last: string;
  /** `direct`, `direct-relaxable`, `reserved` or `msi`. */
  readonly type: string;
}

/** Devices that an IOMMU cannot tell apart. */
export interface Group {
  /** Its number. */
  readonly id: string;
  /** What the kernel does with it: `DMA`, `DMA-FQ`, `identity`, `blocked`, `unmanaged`. */
  readonly type: string;
  /** Names of the devices. */
  readonly members: readonly string[];
  /** In the order of the kernel. */
  readonly reserved: readonly ReservedRegion[];
}

/** What an Arm SMMUv3 is called among {@linkcode Iommu} kinds. */
export const SMMUV3 = "Arm SMMUv3";

const KINDS: readonly (readonly [RegExp, string])[] = [
  [/^smmu3\./, SMMUV3],
  [/^smmu\./, "Arm SMMU"],
  [/^dmar\d/, "Intel VT-d"],
  [/^ivhd\d/, "AMD IOMMU"],
  [/^iommufd_selftest/, "mock of iommufd's self-tests"],
];

/** The IOMMUs that the kernel drives. */
export function iommus(tree: Tree): Iommu[] {
  return tree.names("/sys/class/iommu").map((name) => ({
    name,
    kind: KINDS.find(([pattern]) => pattern.test(name))?.[1] ?? "other",
  }));
}

/** The groups, by number. */
export function groups(tree: Tree): Group[] {
  const root = "/sys/kernel/iommu_groups";
  return tree.names(root).sort((a, b) => Number(a) - Number(b)).map((id) => ({
    id,
    type: tree.text(`${root}/${id}/type`) ?? "unknown",
    members: tree.names(`${root}/${id}/devices`),
    reserved: regions(tree.text(`${root}/${id}/reserved_regions`) ?? ""),
  }));
}

function regions(text: string): ReservedRegion[] {
  return text.split("\n").map((line) => line.trim().split(/\s+/))
    .filter((words) => words.length === 3)
    .map(([start, last, type]) => ({ start, last, type }));
}
