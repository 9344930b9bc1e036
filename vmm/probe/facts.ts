/**
 * Everything that is found out about a host, before anything is made of it.
 * @module
 */
import type { Examination } from "./examination.ts";
import { type Holders, holders } from "./holders.ts";
import { type Group, groups, type Iommu, iommus } from "./iommus.ts";
import { type RootComplex, rootComplexes } from "./iort.ts";
import { type KernelFacts, kernelFacts } from "./kernel_facts.ts";
import { type PciFunction, pciFunctions } from "./pci_functions.ts";
import type { Tree } from "./tree.ts";

/** What files tell. */
export interface FileFacts {
  readonly kernel: KernelFacts;
  readonly iommus: readonly Iommu[];
  readonly groups: readonly Group[];
  readonly functions: readonly PciFunction[];
  /** As the IORT has them; absent when it cannot be read. */
  readonly rootComplexes?: readonly RootComplex[] | undefined;
  /** Who has VFIO's nodes open. */
  readonly holders: Holders;
  /** What could not be read, and why, as lines. */
  readonly unread: readonly string[];
}

/** What is known of a host. */
export interface Facts extends FileFacts {
  /** The calls of iommufd that this kernel does not have, such as `IOMMU_VIOMMU_ALLOC`; absent when it was not asked. */
  readonly missingCalls?: readonly string[] | undefined;
  /** Devices that were asked. */
  readonly examinations: readonly Examination[];
  /** What was not looked at, and why, as lines. */
  readonly unseen: readonly string[];
}

/** Reads the files of a host. */
export async function fileFacts(tree: Tree): Promise<FileFacts> {
  const iort = tree.bytes("/sys/firmware/acpi/tables/IORT");
  const functions = pciFunctions(tree);
  const { byPath, hidden } = functions.some(({ isVfio }) => isVfio)
    ? holders(tree)
    : { byPath: {}, hidden: 0 };
  const facts = {
    kernel: await kernelFacts(tree),
    iommus: iommus(tree),
    groups: groups(tree),
    functions,
    rootComplexes: iort && rootComplexes(iort),
    holders: byPath,
  };
  const unread = [...tree.unread];
  if (hidden > 0) unread.push(`Cannot see what ${hidden} processes have open`);
  if (functions.some(({ capabilities }) => capabilities === undefined)) {
    unread.push("Cannot read configuration space beyond 64 bytes: root can");
  }
  return { ...facts, unread };
}
