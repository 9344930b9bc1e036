/**
 * An iommufd with a spectator: every call, with what came of it.
 * @module
 */
import { SystemError } from "../../uapi/errno.ts";
import type {
  BoundDevice,
  HwInfo,
  HwptAlloc,
  HwptGetDirtyBitmap,
  HwptInvalidate,
  HwQueueAlloc,
  InvalidateResult,
  IoasCopy,
  IoasMap,
  IoasMapFile,
  Iommufd,
  IovaRange,
  RecordQueue,
  VdeviceAlloc,
  VeventqAlloc,
  ViommuAlloc,
} from "./iommufd.ts";

/** Sees a call: the ioctl's name, its arguments, the positive error number or 0, and what it returned. */
export type IommufdObserver = (
  name: string,
  args: Readonly<Record<string, unknown>>,
  errno: number,
  result: unknown,
) => void;

/** Names of the calls that an observer sees, besides `read` and `write` of queues. */
export const IOMMUFD_CALLS: readonly string[] = [
  "IOMMU_DESTROY",
  "IOMMU_FAULT_QUEUE_ALLOC",
  "IOMMU_GET_HW_INFO",
  "IOMMU_HWPT_ALLOC",
  "IOMMU_HWPT_GET_DIRTY_BITMAP",
  "IOMMU_HWPT_INVALIDATE",
  "IOMMU_HWPT_SET_DIRTY_TRACKING",
  "IOMMU_HW_QUEUE_ALLOC",
  "IOMMU_IOAS_ALLOC",
  "IOMMU_IOAS_ALLOW_IOVAS",
  "IOMMU_IOAS_CHANGE_PROCESS",
  "IOMMU_IOAS_COPY",
  "IOMMU_IOAS_IOVA_RANGES",
  "IOMMU_IOAS_MAP",
  "IOMMU_IOAS_MAP_FILE",
  "IOMMU_IOAS_NOIOMMU_GET_PA",
  "IOMMU_IOAS_UNMAP",
  "IOMMU_OPTION",
  "IOMMU_VDEVICE_ALLOC",
  "IOMMU_VEVENTQ_ALLOC",
  "IOMMU_VFIO_IOAS",
  "IOMMU_VIOMMU_ALLOC",
  "VFIO_DEVICE_ATTACH_IOMMUFD_PT",
  "VFIO_DEVICE_BIND_IOMMUFD",
  "VFIO_DEVICE_DETACH_IOMMUFD_PT",
];

/** Does every call on another one, and shows it. */
export class ObservedIommufd implements Iommufd {
  readonly #inner: Iommufd;
  readonly #observer: IommufdObserver;

  /** Calls go to `inner`. */
  constructor(inner: Iommufd, observer: IommufdObserver) {
    this.#inner = inner;
    this.#observer = observer;
  }

  /** The same device, whose calls are shown too; `bind` makes it, or refuses. */
  bind(args: Readonly<Record<string, unknown>>, bind: () => BoundDevice): BoundDevice {
    const device = this.#show("VFIO_DEVICE_BIND_IOMMUFD", args, bind, ({ devId }) => devId);
    const { devId } = device;
    return {
      devId,
      attach: (ptId, pasid) =>
        this.#show(
          "VFIO_DEVICE_ATTACH_IOMMUFD_PT",
          { devId, ptId, pasid },
          () => device.attach(ptId, pasid),
        ),
      detach: (pasid) =>
        this.#show("VFIO_DEVICE_DETACH_IOMMUFD_PT", { devId, pasid }, () => device.detach(pasid)),
      [Symbol.dispose]: () => device[Symbol.dispose](),
    };
  }

  destroy(id: number): void {
    this.#show("IOMMU_DESTROY", { id }, () => this.#inner.destroy(id));
  }

  ioasAlloc(flags: number = 0): number {
    return this.#show("IOMMU_IOAS_ALLOC", { flags }, () => this.#inner.ioasAlloc(flags));
  }

  ioasIovaRanges(ioasId: number): { readonly ranges: IovaRange[]; readonly alignment: bigint } {
    return this.#show(
      "IOMMU_IOAS_IOVA_RANGES",
      { ioasId },
      () => this.#inner.ioasIovaRanges(ioasId),
    );
  }

  ioasAllowIovas(ioasId: number, ranges: readonly IovaRange[]): void {
    this.#show(
      "IOMMU_IOAS_ALLOW_IOVAS",
      { ioasId, ranges },
      () => this.#inner.ioasAllowIovas(ioasId, ranges),
    );
  }

  ioasMap(map: IoasMap): bigint {
    return this.#show("IOMMU_IOAS_MAP", { ...map }, () => this.#inner.ioasMap(map));
  }

  ioasMapFile(map: IoasMapFile): bigint {
    return this.#show("IOMMU_IOAS_MAP_FILE", { ...map }, () => this.#inner.ioasMapFile(map));
  }

  ioasCopy(copy: IoasCopy): bigint {
    return this.#show("IOMMU_IOAS_COPY", { ...copy }, () => this.#inner.ioasCopy(copy));
  }

  ioasUnmap(ioasId: number, iova: bigint, length: bigint): bigint {
    return this.#show(
      "IOMMU_IOAS_UNMAP",
      { ioasId, iova, length },
      () => this.#inner.ioasUnmap(ioasId, iova, length),
    );
  }

  ioasChangeProcess(): void {
    this.#show("IOMMU_IOAS_CHANGE_PROCESS", {}, () => this.#inner.ioasChangeProcess());
  }

  option(optionId: number, op: number, objectId: number, value: bigint): bigint {
    return this.#show(
      "IOMMU_OPTION",
      { optionId, op, objectId, value },
      () => this.#inner.option(optionId, op, objectId, value),
    );
  }

  vfioIoas(op: number, ioasId: number): number {
    return this.#show("IOMMU_VFIO_IOAS", { op, ioasId }, () => this.#inner.vfioIoas(op, ioasId));
  }

  hwptAlloc(alloc: HwptAlloc): number {
    return this.#show("IOMMU_HWPT_ALLOC", { ...alloc }, () => this.#inner.hwptAlloc(alloc));
  }

  getHwInfo(devId: number, dataType?: number): HwInfo {
    return this.#show(
      "IOMMU_GET_HW_INFO",
      { devId, dataType },
      () => this.#inner.getHwInfo(devId, dataType),
    );
  }

  hwptSetDirtyTracking(hwptId: number, flags: number): void {
    this.#show(
      "IOMMU_HWPT_SET_DIRTY_TRACKING",
      { hwptId, flags },
      () => this.#inner.hwptSetDirtyTracking(hwptId, flags),
    );
  }

  hwptGetDirtyBitmap(get: HwptGetDirtyBitmap): void {
    this.#show(
      "IOMMU_HWPT_GET_DIRTY_BITMAP",
      { ...get },
      () => this.#inner.hwptGetDirtyBitmap(get),
    );
  }

  hwptInvalidate(invalidate: HwptInvalidate): InvalidateResult {
    const result = this.#inner.hwptInvalidate(invalidate);
    this.#observer(
      "IOMMU_HWPT_INVALIDATE",
      invalidate as unknown as Readonly<Record<string, unknown>>,
      result.errno,
      result.handled,
    );
    return result;
  }

  faultQueueAlloc(flags: number = 0): RecordQueue {
    return this.#queue(
      "IOMMU_FAULT_QUEUE_ALLOC",
      { flags },
      () => this.#inner.faultQueueAlloc(flags),
    );
  }

  viommuAlloc(alloc: ViommuAlloc): number {
    return this.#show("IOMMU_VIOMMU_ALLOC", { ...alloc }, () => this.#inner.viommuAlloc(alloc));
  }

  vdeviceAlloc(alloc: VdeviceAlloc): number {
    return this.#show("IOMMU_VDEVICE_ALLOC", { ...alloc }, () => this.#inner.vdeviceAlloc(alloc));
  }

  veventqAlloc(alloc: VeventqAlloc): RecordQueue {
    return this.#queue("IOMMU_VEVENTQ_ALLOC", { ...alloc }, () => this.#inner.veventqAlloc(alloc));
  }

  hwQueueAlloc(alloc: HwQueueAlloc): number {
    return this.#show("IOMMU_HW_QUEUE_ALLOC", { ...alloc }, () => this.#inner.hwQueueAlloc(alloc));
  }

  ioasNoiommuGetPa(
    ioasId: number,
    iova: bigint,
    length: bigint,
  ): { readonly physicalAddress: bigint; readonly length: bigint } {
    return this.#show(
      "IOMMU_IOAS_NOIOMMU_GET_PA",
      { ioasId, iova, length },
      () => this.#inner.ioasNoiommuGetPa(ioasId, iova, length),
    );
  }

  [Symbol.dispose](): void {
    this.#inner[Symbol.dispose]();
  }

  #show<T>(
    name: string,
    args: Readonly<Record<string, unknown>>,
    call: () => T,
    shown: (result: T) => unknown = (result) => result,
  ): T {
    try {
      const result = call();
      this.#observer(name, args, 0, shown(result));
      return result;
    } catch (error) {
      if (error instanceof SystemError) this.#observer(name, args, error.errno, undefined);
      throw error;
    }
  }

  #queue(
    name: string,
    args: Readonly<Record<string, unknown>>,
    make: () => RecordQueue,
  ): RecordQueue {
    const queue = this.#show(name, args, make, ({ id }) => id);
    return {
      id: queue.id,
      read: (into) => {
        const sizeBytes = queue.read(into);
        if (sizeBytes > 0) this.#observer("read", { id: queue.id }, 0, into.subarray(0, sizeBytes));
        return sizeBytes;
      },
      write: (from) => {
        const sizeBytes = queue.write(from);
        this.#observer("write", { id: queue.id, data: from }, 0, sizeBytes);
        return sizeBytes;
      },
      watch: (handler) => queue.watch(handler),
      [Symbol.dispose]: () => queue[Symbol.dispose](),
    };
  }
}
