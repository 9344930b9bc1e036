/**
 * What one device answers when it is asked for each step of nested translation.
 * @module
 */
import type { HostIdentity } from "../host_iommu/host_identity.ts";
import type { IovaRange } from "../iommufd/iommufd.ts";

/** The steps, in order. Each needs those before it, but `dirtyTracking`, which a nested guest does not need. */
export const STEPS = [
  "open",
  "bind",
  "hwInfo",
  "ioas",
  "dirtyTracking",
  "nestParent",
  "attach",
  "iovaRanges",
  "viommu",
  "vdevice",
  "veventq",
  "nested",
  "attachNested",
] as const;

/** One of {@linkcode STEPS}. */
export type StepName = typeof STEPS[number];

/** `ok`, or the name of an error number. A step that is absent was not tried. */
export type Steps = Readonly<Partial<Record<StepName, string>>>;

/** What a device answered. */
export interface Examination {
  /** Its PCI address. */
  readonly address: string;
  readonly steps: Steps;
  /** Of `IOMMU_HW_INFO_TYPE`. */
  readonly hwInfoType?: number;
  /** When its IOMMU is an Arm SMMUv3. */
  readonly identity?: HostIdentity;
  /** log2 of the PASIDs that it can use; 0 without PASIDs. */
  readonly maxPasidLog2?: number;
  /** Of `IOMMU_HW_CAP`. */
  readonly capabilities?: number;
  /** What a guest's memory may occupy, once the device is attached. */
  readonly ranges?: readonly IovaRange[];
  /** Bytes that mappings must be aligned to. */
  readonly alignment?: number;
  /** What could not be given back, as lines; the kernel took it when the descriptor was closed. */
  readonly leftOver: readonly string[];
}
