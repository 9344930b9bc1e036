/**
 * What iommufd offers, a method for each ioctl: by the kernel (`kernel.ts`) or by a model in this process (`model.ts`).
 *
 * Names are those of `linux/iommufd.h` without their prefixes. IOVAs, lengths and user addresses are 64 bits, therefore
 * bigints; object ids are numbers. Flags are passed through, so that a caller can be refused as the kernel would. Every
 * method throws `SystemError` with the errno of the ioctl.
 * @module
 */

/** A range of IOVAs, both ends included. */
export interface IovaRange {
  /** First IOVA. */
  readonly start: bigint;
  /** Last IOVA. */
  readonly last: bigint;
}

/** Arguments of `ioasMap`. */
export interface IoasMap {
  /** Of `IOMMU_IOAS_MAP`. */
  readonly flags: number;
  /** The IOAS. */
  readonly ioasId: number;
  /** Where the memory is in this process. */
  readonly userVa: bigint;
  /** Bytes. */
  readonly length: bigint;
  /** Where it is to appear; without FIXED_IOVA it is ignored. */
  readonly iova: bigint;
}

/** Arguments of `ioasMapFile`. */
export interface IoasMapFile {
  /** Of `IOMMU_IOAS_MAP`. */
  readonly flags: number;
  /** The IOAS. */
  readonly ioasId: number;
  /** Descriptor of a file in memory. */
  readonly fd: number;
  /** Where the memory is in the file. */
  readonly start: bigint;
  /** Bytes. */
  readonly length: bigint;
  /** Where it is to appear. */
  readonly iova: bigint;
}

/** Arguments of `ioasCopy`. */
export interface IoasCopy {
  /** Of `IOMMU_IOAS_MAP`. */
  readonly flags: number;
  /** Where to. */
  readonly dstIoasId: number;
  /** Where from. */
  readonly srcIoasId: number;
  /** Bytes. */
  readonly length: bigint;
  /** Where it is to appear. */
  readonly dstIova: bigint;
  /** Where it is. */
  readonly srcIova: bigint;
}

/** Arguments of `hwptAlloc`. */
export interface HwptAlloc {
  /** Of `IOMMU_HWPT_ALLOC`. */
  readonly flags: number;
  /** The device that it is for. */
  readonly devId: number;
  /** An IOAS for a paging HWPT; a nest parent or a vIOMMU for a nested one. */
  readonly ptId: number;
  /** Type of `data`, of `IOMMU_HWPT_DATA`. */
  readonly dataType: number;
  /** What the driver needs; absent for NONE. */
  readonly data?: Uint8Array | undefined;
  /** A fault queue, with FAULT_ID_VALID. */
  readonly faultId?: number | undefined;
}

/** What `getHwInfo` tells. */
export interface HwInfo {
  /** Of `IOMMU_HW_INFO_TYPE`. */
  readonly dataType: number;
  /** What the driver tells, as long as the kernel says. */
  readonly data: Uint8Array;
  /** log2 of the PASIDs that the device can use with this IOMMU; 0 without PASIDs. */
  readonly maxPasidLog2: number;
  /** Of `IOMMU_HW_CAP`. */
  readonly capabilities: bigint;
}

/** Arguments of `hwptGetDirtyBitmap`. */
export interface HwptGetDirtyBitmap {
  /** The HWPT. */
  readonly hwptId: number;
  /** Of `IOMMU_HWPT_GET_DIRTY_BITMAP`. */
  readonly flags: number;
  /** First IOVA. */
  readonly iova: bigint;
  /** Bytes. */
  readonly length: bigint;
  /** Bytes that one bit stands for. */
  readonly pageSize: bigint;
  /** Bits are set in it, never cleared. */
  readonly bitmap: Uint8Array;
}

/** Arguments of `hwptInvalidate`. */
export interface HwptInvalidate {
  /** A vIOMMU, or a nested HWPT where the driver has no vIOMMU. */
  readonly hwptId: number;
  /** Of `IOMMU_HWPT_INVALIDATE_DATA`. */
  readonly dataType: number;
  /** Bytes of one entry. */
  readonly entryLength: number;
  /** How many entries of `entries` there are. */
  readonly count: number;
  /** The entries; its buffer must not move, so it is no small array of V8's own heap. */
  readonly entries: Uint8Array<ArrayBuffer>;
}

/** What came of `hwptInvalidate`, which is too frequent to throw. */
export interface InvalidateResult {
  /** 0, or the positive error number. */
  readonly errno: number;
  /** What the kernel says to have handled; with an error it may count entries that never reached the hardware. */
  readonly handled: number;
}

/** Arguments of `viommuAlloc`. */
export interface ViommuAlloc {
  /** Must be 0. */
  readonly flags: number;
  /** Of `IOMMU_VIOMMU_TYPE`. */
  readonly type: number;
  /** A device behind the physical IOMMU. */
  readonly devId: number;
  /** The nest parent. */
  readonly hwptId: number;
  /** What the driver needs, and writes back. */
  readonly data?: Uint8Array<ArrayBuffer> | undefined;
}

/** Arguments of `vdeviceAlloc`. */
export interface VdeviceAlloc {
  /** The vIOMMU. */
  readonly viommuId: number;
  /** The device. */
  readonly devId: number;
  /** Its name for the guest: an SMMU's StreamID. */
  readonly virtId: bigint;
}

/** Arguments of `veventqAlloc`. */
export interface VeventqAlloc {
  /** Must be 0. */
  readonly flags: number;
  /** The vIOMMU. */
  readonly viommuId: number;
  /** Of `IOMMU_VEVENTQ_TYPE`. */
  readonly type: number;
  /** How many events wait before some are lost. */
  readonly depth: number;
}

/** Arguments of `hwQueueAlloc`. */
export interface HwQueueAlloc {
  /** Must be 0. */
  readonly flags: number;
  /** The vIOMMU. */
  readonly viommuId: number;
  /** Of `IOMMU_HW_QUEUE_TYPE`. */
  readonly type: number;
  /** Which queue. */
  readonly index: number;
  /** Where it lies, by IOVA of the nest parent. */
  readonly nestingParentIova: bigint;
  /** Bytes. */
  readonly length: bigint;
}

/** A queue of records from the kernel: events or faults. Disposing it closes the descriptor; the object stays. */
export interface RecordQueue extends Disposable {
  /** Object id, for `hwptAlloc` and `destroy`. */
  readonly id: number;
  /** Reads whole records into `into`; returns bytes, 0 when nothing waits. */
  read(into: Uint8Array<ArrayBuffer>): number;
  /** Writes whole responses; returns bytes. */
  write(from: Uint8Array<ArrayBuffer>): number;
  /** Calls `handler` when records wait, until disposed. The model calls it at once, the kernel's from the poll loop. */
  watch(handler: () => void): Disposable;
}

/** A device bound to an iommufd: a VFIO cdev, or one of the model. Disposing it unbinds. */
export interface BoundDevice extends Disposable {
  /** Its object id. */
  readonly devId: number;
  /** VFIO_DEVICE_ATTACH_IOMMUFD_PT: attaches to an IOAS or HWPT, or replaces what it is attached to. Returns the HWPT. */
  attach(ptId: number, pasid?: number): number;
  /** VFIO_DEVICE_DETACH_IOMMUFD_PT. */
  detach(pasid?: number): void;
}

/** An open iommufd. Disposing it destroys what is left in it. */
export interface Iommufd extends Disposable {
  /** IOMMU_DESTROY. */
  destroy(id: number): void;
  /** IOMMU_IOAS_ALLOC; returns the IOAS. */
  ioasAlloc(flags?: number): number;
  /** IOMMU_IOAS_IOVA_RANGES: what can be mapped, ascending, and the alignment in bytes. */
  ioasIovaRanges(ioasId: number): { readonly ranges: IovaRange[]; readonly alignment: bigint };
  /** IOMMU_IOAS_ALLOW_IOVAS. */
  ioasAllowIovas(ioasId: number, ranges: readonly IovaRange[]): void;
  /** IOMMU_IOAS_MAP; returns the IOVA. */
  ioasMap(map: IoasMap): bigint;
  /** IOMMU_IOAS_MAP_FILE; returns the IOVA. */
  ioasMapFile(map: IoasMapFile): bigint;
  /** IOMMU_IOAS_COPY; returns the IOVA. */
  ioasCopy(copy: IoasCopy): bigint;
  /** IOMMU_IOAS_UNMAP; returns the bytes unmapped. */
  ioasUnmap(ioasId: number, iova: bigint, length: bigint): bigint;
  /** IOMMU_IOAS_CHANGE_PROCESS. */
  ioasChangeProcess(): void;
  /** IOMMU_OPTION: gets or sets; returns the value. */
  option(optionId: number, op: number, objectId: number, value: bigint): bigint;
  /** IOMMU_VFIO_IOAS; returns the IOAS. */
  vfioIoas(op: number, ioasId: number): number;
  /** IOMMU_HWPT_ALLOC; returns the HWPT. */
  hwptAlloc(alloc: HwptAlloc): number;
  /** IOMMU_GET_HW_INFO; `dataType` asks for another type than the device's own. */
  getHwInfo(devId: number, dataType?: number): HwInfo;
  /** IOMMU_HWPT_SET_DIRTY_TRACKING. */
  hwptSetDirtyTracking(hwptId: number, flags: number): void;
  /** IOMMU_HWPT_GET_DIRTY_BITMAP. */
  hwptGetDirtyBitmap(get: HwptGetDirtyBitmap): void;
  /** IOMMU_HWPT_INVALIDATE. Does not throw what the ioctl refuses. */
  hwptInvalidate(invalidate: HwptInvalidate): InvalidateResult;
  /** IOMMU_FAULT_QUEUE_ALLOC. */
  faultQueueAlloc(flags?: number): RecordQueue;
  /** IOMMU_VIOMMU_ALLOC; returns the vIOMMU. */
  viommuAlloc(alloc: ViommuAlloc): number;
  /** IOMMU_VDEVICE_ALLOC; returns the vDEVICE. */
  vdeviceAlloc(alloc: VdeviceAlloc): number;
  /** IOMMU_VEVENTQ_ALLOC. */
  veventqAlloc(alloc: VeventqAlloc): RecordQueue;
  /** IOMMU_HW_QUEUE_ALLOC; returns the queue. */
  hwQueueAlloc(alloc: HwQueueAlloc): number;
  /** IOMMU_IOAS_NOIOMMU_GET_PA: physical address of an IOVA, and how many bytes follow it contiguously. */
  ioasNoiommuGetPa(
    ioasId: number,
    iova: bigint,
    length: bigint,
  ): { readonly physicalAddress: bigint; readonly length: bigint };
}
