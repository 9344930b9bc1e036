/**
 * What the model asks of an IOMMU's driver, as iommufd asks the kernel's.
 * @module
 */
import type { DmaPort, MsiPort } from "../../../hw/device.ts";
import type { InvalidateResult, IovaRange } from "../iommufd.ts";
import type { DirtyLog } from "./dirty_log.ts";
import type { DomainShape, IoPagetable } from "./io_pagetable.ts";

/** What a device is attached to, as far as its driver is concerned. */
export interface Domain {
  /** Moves a device here; what it was attached to before is over. Throws `SystemError`, with nothing changed. */
  attach(device: DriverDevice): void;
  /**
   * Moves a PASID of a device here from `old`, if it was anywhere; undefined for what no PASID can be attached to. Not
   * called for devices without PASIDs. Throws `SystemError`, with nothing changed.
   */
  readonly attachPasid:
    | ((device: DriverDevice, pasid: number, old: Domain | undefined) => void)
    | undefined;
}

/** A domain that shows an IOAS. */
export interface PagingDomain extends Domain, DomainShape {
  /** Where it was written to; undefined for one that cannot tell. */
  readonly dirty: DirtyLog | undefined;
}

/** A device as its driver sees it. */
export interface DriverDevice {
  /** What tells it from others on the bus: a StreamID. */
  readonly streamId: number;
  /** Takes its messages to where no RAM is. */
  readonly messages: MsiPort;
  /** Its way to memory; undefined while it is blocked. */
  port: DmaPort | undefined;
  /** Called when it is attached elsewhere. */
  leave: (() => void) | undefined;
  /** By what a vIOMMU knows it. */
  virtIdAt(viommu: DriverViommu): bigint | undefined;
}

/** A vIOMMU as its driver sees it. */
export interface DriverViommu {
  /** A nested domain. Throws `SystemError`. */
  allocNested(flags: number, dataType: number, data: Uint8Array): Domain;
  /** IOMMU_HWPT_INVALIDATE with the checks that are not the driver's done. */
  invalidate(
    dataType: number,
    entryLength: number,
    count: number,
    entries: Uint8Array,
  ): InvalidateResult;
  /** Where its events go: payloads without header. */
  events: ((type: number, payload: Uint8Array) => void) | undefined;
  /** Called when a device gets a name there. Throws `SystemError`. */
  adopt(device: DriverDevice, virtId: bigint): void;
  /** Called when it loses it. */
  forget(device: DriverDevice): void;
}

/** A driver. */
export interface Driver {
  /** Of IOMMU_HW_INFO_TYPE. */
  readonly hwInfoType: number;
  /** What IOMMU_GET_HW_INFO tells. */
  readonly hwInfo: Uint8Array;
  /** log2 of the PASIDs that devices can use; 0 without. */
  readonly maxPasidLog2: number;
  /** Of IOMMU_HW_CAP. */
  readonly capabilities: bigint;
  /** Whether its domains can tell where they were written to. */
  readonly hasDirtyTracking: boolean;
  /** IOVAs that each device needs for itself. */
  readonly reserved: readonly IovaRange[];
  /** A domain that shows `table`. Throws `SystemError`. */
  allocPaging(table: IoPagetable, flags: number, data: Uint8Array | undefined): PagingDomain;
  /** Blocks a PASID that was attached to `old`. */
  readonly blockPasid?: (device: DriverDevice, pasid: number, old: Domain) => void;
  /** Whether it has vIOMMUs of a type. */
  hasViommu(type: number): boolean;
  /** A vIOMMU of a type that it has, on a nest parent. Throws `SystemError`. */
  allocViommu(type: number, parent: PagingDomain, table: IoPagetable): DriverViommu;
}
