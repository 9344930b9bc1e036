/**
 * What the model asks of an IOMMU's driver, as iommufd asks the kernel's.
 * @module
 */
import type { DmaPort, MsiPort } from "../../../hw/device.ts";
import type { InvalidateResult, IovaRange } from "../iommufd.ts";
import type { DirtyLog } from "./dirty_log.ts";
import type { DomainShape, IoPagetable } from "./io_pagetable.ts";

/** What a caller has for a driver alone. */
export interface UserData {
  /** What it is, by the enumeration of the call. */
  readonly type: number;
  /** Its bytes; some calls write back to it. */
  readonly bytes: Uint8Array;
}

/** Entries of IOMMU_HWPT_INVALIDATE, with the checks that are not the driver's done. */
export interface Invalidation {
  /** What they are. */
  readonly type: number;
  /** Bytes of one. */
  readonly entryLength: number;
  /** How many there are. */
  readonly count: number;
  /** One after the other. */
  readonly entries: Uint8Array;
}

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
  /** IOMMU_HWPT_INVALIDATE of a nested domain that has no vIOMMU to ask. */
  readonly invalidate?: (invalidation: Invalidation) => InvalidateResult;
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

/** A hardware queue as its driver sees it. */
export interface DriverHwQueue {
  /** Which queue it is. */
  readonly index: number;
  /** How many need it. */
  users: number;
}

/** The hardware queues of one vIOMMU and type. */
export interface HwQueueDriver {
  /** Takes one, whose memory is pinned; returns the one that it stands on, if any. Throws `SystemError`. */
  add(queue: DriverHwQueue): DriverHwQueue | undefined;
  /** It is over. */
  delete(queue: DriverHwQueue): void;
}

/** A vIOMMU as its driver sees it. */
export interface DriverViommu {
  /** A nested domain. Throws `SystemError`. */
  allocNested(flags: number, data: UserData): Domain;
  /** IOMMU_HWPT_INVALIDATE. */
  invalidate(invalidation: Invalidation): InvalidateResult;
  /** Where its events go, payloads without header: false when no queue is for them. */
  events: ((type: number, payload: Uint8Array) => boolean) | undefined;
  /** Called when a device gets a name there. Throws `SystemError`. */
  adopt(device: DriverDevice, virtId: bigint): void;
  /** Called when it loses it. */
  forget(device: DriverDevice): void;
  /** Its hardware queues of a type; undefined where there are none. */
  readonly hwQueues?: (type: number) => HwQueueDriver | undefined;
  /** Called when it is over. */
  readonly release?: () => void;
}

/** A driver, as one of its devices sees it. */
export interface Driver {
  /** The IOMMU: what is made for one is of no use to another. */
  readonly iommu: unknown;
  /** Of IOMMU_HW_INFO_TYPE. */
  readonly hwInfoType: number;
  /** What IOMMU_GET_HW_INFO tells. */
  readonly hwInfo: Uint8Array;
  /** How many PASIDs its device can have, the device itself as the first; 0 when it knows of none. */
  readonly pasids: number;
  /** Of IOMMU_HW_CAP. */
  readonly capabilities: bigint;
  /** Whether its domains can tell where they were written to. */
  readonly hasDirtyTracking: boolean;
  /** IOVAs that each device needs for itself. */
  readonly reserved: readonly IovaRange[];
  /** A domain that shows `table`. Throws `SystemError`. */
  allocPaging(table: IoPagetable, flags: number, data: UserData | undefined): PagingDomain;
  /** A nested domain without vIOMMU; absent where there is none. Throws `SystemError`. */
  readonly allocNested?: (parent: PagingDomain, flags: number, data: UserData) => Domain;
  /** Blocks a PASID that was attached to `old`. */
  readonly blockPasid?: (device: DriverDevice, pasid: number, old: Domain) => void;
  /** Whether it has vIOMMUs of a type. */
  hasViommu(type: number): boolean;
  /** A vIOMMU of a type that it has, on a nest parent. Throws `SystemError`. */
  allocViommu(
    type: number,
    parent: PagingDomain,
    table: IoPagetable,
    data: UserData | undefined,
  ): DriverViommu;
}
