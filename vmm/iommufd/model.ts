/**
 * An iommufd in this process, where there is none in the kernel: the kernel's object rules and errors, and, unlike the
 * kernel, the DMA of emulated endpoints.
 * @module
 */
import type { DmaPort, MsiPort } from "../../hw/device.ts";
import { ERRNO } from "../../uapi/errno.ts";
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
import type { Pin } from "./model/area.ts";
import { Attachments } from "./model/attachment.ts";
import { DevicePort, ModelDevice } from "./model/device.ts";
import { checkDirtyRange } from "./model/dirty_log.ts";
import type { Driver } from "./model/driver.ts";
import { ModelEventQueue } from "./model/event_queue.ts";
import { ModelFaultQueue } from "./model/fault_queue.ts";
import { checkFile, checkMap, checkUser, insert, rightsOf } from "./model/mapping.ts";
import { ModelOptions } from "./model/options.ts";
import { ObjectTable, refuse } from "./model/objects.ts";
import { allocHwQueue } from "./model/hw_queue.ts";
import { allocHwpt } from "./model/hwpt_alloc.ts";
import { Ioas, NestedHwpt, PagingHwpt } from "./model/page_tables.ts";
import { ModelVfioDevice } from "./model/vfio_device.ts";
import { ModelVdevice, ModelViommu } from "./model/viommu.ts";
import {
  IOMMU_HWPT_DIRTY_TRACKING,
  IOMMU_HWPT_GET_DIRTY_BITMAP,
  IOMMU_IOAS_MAP,
} from "../../uapi/iommufd/mod.ts";

const LAST = 0xffff_ffff_ffff_ffffn;
const MOST_VEVENTQ_DEPTH = 1 << 19;
const MOST_INVALIDATIONS = 1 << 19;
const PAGE = 4096;

/** What a model is made of. */
export interface ModelIommufdOptions {
  /** Finds memory that is mapped. */
  readonly pin: Pin;
  /** Whether a descriptor is open; by default, any is. */
  readonly isOpen?: (fd: number) => boolean;
  /** Where its objects are, for those who put others among them. */
  readonly objects?: ObjectTable;
}

/** A device to be bound. */
export interface ModelDeviceOptions {
  /** Its IOMMU. */
  readonly driver: Driver;
  /** What its IOMMU knows it by. */
  readonly streamId: number;
}

/** The model. */
export class ModelIommufd implements Iommufd {
  readonly #objects: ObjectTable;
  readonly #attachments: Attachments;
  readonly #options: ModelOptions;
  readonly #pin: Pin;
  readonly #isOpen: (fd: number) => boolean;

  /** With nothing in it. */
  constructor(options: ModelIommufdOptions) {
    const { pin, isOpen = (): boolean => true, objects = new ObjectTable() } = options;
    this.#objects = objects;
    this.#attachments = new Attachments(objects);
    this.#options = new ModelOptions(objects);
    this.#pin = pin;
    this.#isOpen = isOpen;
  }

  /** How many objects there are. */
  get size(): number {
    return this.#objects.size;
  }

  /** Binds a device, as VFIO_DEVICE_BIND_IOMMUFD does. */
  bind({ driver, streamId }: ModelDeviceOptions): BoundDevice {
    const device = this.#objects.add(new ModelDevice(driver, streamId));
    return new ModelVfioDevice(device, this.#attachments);
  }

  /** The way of a bound device to memory; its messages to where none is go to `msi`. */
  port(devId: number, msi?: MsiPort): DmaPort {
    const device = this.#objects.get(devId, ModelDevice, "find a device");
    device.msi = msi;
    return new DevicePort(device);
  }

  destroy(id: number): void {
    this.#objects.destroy(id);
  }

  ioasAlloc(flags: number = 0): number {
    if (flags !== 0) refuse("IOMMU_IOAS_ALLOC", ERRNO.EOPNOTSUPP);
    return this.#objects.add(new Ioas(this.#pin)).id;
  }

  ioasIovaRanges(ioasId: number): { readonly ranges: IovaRange[]; readonly alignment: bigint } {
    const { table } = this.#ioas(ioasId, "IOMMU_IOAS_IOVA_RANGES");
    return { ranges: table.ranges(), alignment: table.alignment };
  }

  ioasAllowIovas(ioasId: number, ranges: readonly IovaRange[]): void {
    const call = "IOMMU_IOAS_ALLOW_IOVAS";
    this.#ioas(ioasId, call).table.allow(ranges, call);
  }

  ioasMap({ flags, ioasId, userVa, length, iova }: IoasMap): bigint {
    const call = "IOMMU_IOAS_MAP";
    checkMap(flags, iova, length, call);
    const ioas = this.#ioas(ioasId, call);
    checkUser(userVa, length, call);
    return insert(ioas, { kind: "user", userVa }, flags, length, iova, call);
  }

  ioasMapFile({ flags, ioasId, fd, start, length, iova }: IoasMapFile): bigint {
    const call = "IOMMU_IOAS_MAP_FILE";
    checkMap(flags, iova, length, call);
    const ioas = this.#ioas(ioasId, call);
    checkFile(start, length, call);
    if (!this.#isOpen(fd)) refuse(call, ERRNO.EBADF);
    return insert(ioas, { kind: "file", fd, start }, flags, length, iova, call);
  }

  ioasCopy({ flags, dstIoasId, srcIoasId, length, dstIova, srcIova }: IoasCopy): bigint {
    const call = "IOMMU_IOAS_COPY";
    checkMap(flags, dstIova, length, call);
    const source = this.#ioas(srcIoasId, call).table;
    if (length === 0n) refuse(call, ERRNO.EINVAL);
    if (srcIova + length - 1n > LAST) refuse(call, ERRNO.EOVERFLOW);
    const { pieces, isWhole } = source.pieces(srcIova, srcIova + length - 1n);
    if (!isWhole) refuse(call, ERRNO.ENOENT);
    const { table } = this.#ioas(dstIoasId, call);
    const parts = pieces.map(({ area, from, to }) => ({
      pages: area.pages,
      offset: area.offset + from - area.start,
      length: to - from + 1n,
    }));
    const fixed = flags & IOMMU_IOAS_MAP.FIXED_IOVA ? dstIova : undefined;
    return table.insert(parts, fixed, rightsOf(flags), call);
  }

  ioasUnmap(ioasId: number, iova: bigint, length: bigint): bigint {
    const call = "IOMMU_IOAS_UNMAP";
    const { table } = this.#ioas(ioasId, call);
    if (iova === 0n && length === LAST) return table.remove(0n, LAST, call);
    if (iova === LAST || length === LAST) refuse(call, ERRNO.EOVERFLOW);
    if (length === 0n) refuse(call, ERRNO.EINVAL);
    const last = iova + length - 1n;
    if (last > LAST) refuse(call, ERRNO.EOVERFLOW);
    const removed = table.remove(iova, last, call);
    return removed > 0n ? removed : refuse(call, ERRNO.ENOENT);
  }

  ioasChangeProcess(): void {
    this.#options.changeProcess();
  }

  option(optionId: number, op: number, objectId: number, value: bigint): bigint {
    return this.#options.option(optionId, op, objectId, value);
  }

  vfioIoas(op: number, ioasId: number): number {
    return this.#options.vfioIoas(op, ioasId);
  }

  hwptAlloc(alloc: HwptAlloc): number {
    return allocHwpt(this.#objects, alloc);
  }

  getHwInfo(devId: number, dataType: number = 0): HwInfo {
    const call = "IOMMU_GET_HW_INFO";
    const { driver } = this.#device(devId, call);
    if (dataType !== 0 && dataType !== driver.hwInfoType) refuse(call, ERRNO.EOPNOTSUPP);
    return {
      dataType: driver.hwInfoType,
      data: driver.hwInfo.slice(),
      maxPasidLog2: Math.floor(Math.log2(Math.max(driver.pasids, 1))),
      capabilities: driver.capabilities,
    };
  }

  hwptSetDirtyTracking(hwptId: number, flags: number): void {
    const call = "IOMMU_HWPT_SET_DIRTY_TRACKING";
    if ((flags & ~IOMMU_HWPT_DIRTY_TRACKING.ENABLE) !== 0) refuse(call, ERRNO.EOPNOTSUPP);
    const { dirty } = this.#objects.get(hwptId, PagingHwpt, call).domain;
    (dirty ?? refuse(call, ERRNO.EOPNOTSUPP)).track(flags !== 0);
  }

  hwptGetDirtyBitmap(get: HwptGetDirtyBitmap): void {
    const call = "IOMMU_HWPT_GET_DIRTY_BITMAP";
    if ((get.flags & ~IOMMU_HWPT_GET_DIRTY_BITMAP.NO_CLEAR) !== 0) refuse(call, ERRNO.EOPNOTSUPP);
    const { ioas, domain } = this.#objects.get(get.hwptId, PagingHwpt, call);
    checkDirtyRange(get, ioas.table.alignment, call);
    const dirty = domain.dirty ?? refuse(call, ERRNO.EOPNOTSUPP);
    // What comes after a hole is not told, and that there is one is not told either.
    const { pieces } = ioas.table.pieces(get.iova, get.iova + get.length - 1n);
    const end = pieces.at(-1);
    if (end !== undefined) dirty.read({ ...get, length: end.to - get.iova + 1n }, get.flags !== 0);
  }

  hwptInvalidate(invalidate: HwptInvalidate): InvalidateResult {
    const { hwptId, dataType, entryLength, count, entries } = invalidate;
    const failed = (errno: number): InvalidateResult => ({ errno, handled: 0 });
    if (count > 0 && (entryLength === 0 || entryLength > PAGE || count > MOST_INVALIDATIONS)) {
      return failed(ERRNO.EINVAL);
    }
    const object = this.#objects.find(hwptId);
    const invalidation = { type: dataType, entryLength, count, entries };
    if (object instanceof ModelViommu) return object.driver.invalidate(invalidation);
    if (object instanceof NestedHwpt) {
      return object.domain.invalidate?.(invalidation) ?? failed(ERRNO.EOPNOTSUPP);
    }
    return failed(object === undefined ? ERRNO.ENOENT : ERRNO.EINVAL);
  }

  faultQueueAlloc(flags: number = 0): RecordQueue {
    if (flags !== 0) refuse("IOMMU_FAULT_QUEUE_ALLOC", ERRNO.EOPNOTSUPP);
    return this.#objects.add(new ModelFaultQueue());
  }

  viommuAlloc({ flags, type, devId, hwptId, data }: ViommuAlloc): number {
    const call = "IOMMU_VIOMMU_ALLOC";
    if (flags !== 0 || type === 0) refuse(call, ERRNO.EOPNOTSUPP);
    const { driver } = this.#device(devId, call);
    if (!driver.hasViommu(type)) refuse(call, ERRNO.EOPNOTSUPP);
    const parent = this.#objects.get(hwptId, PagingHwpt, call);
    if (!parent.isNestParent) refuse(call, ERRNO.EINVAL);
    const userData = data === undefined || data.length === 0 ? undefined : { type, bytes: data };
    const made = driver.allocViommu(type, parent.domain, parent.ioas.table, userData);
    return this.#objects.add(new ModelViommu(parent, made, driver.iommu)).id;
  }

  vdeviceAlloc({ viommuId, devId, virtId }: VdeviceAlloc): number {
    const call = "IOMMU_VDEVICE_ALLOC";
    const viommu = this.#objects.get(viommuId, ModelViommu, call);
    const device = this.#device(devId, call);
    if (viommu.iommu !== device.driver.iommu) refuse(call, ERRNO.EINVAL);
    if (device.vdevice !== undefined || viommu.devices.has(virtId)) refuse(call, ERRNO.EEXIST);
    return this.#objects.add(new ModelVdevice(viommu, device, virtId)).id;
  }

  veventqAlloc({ flags, viommuId, type, depth }: VeventqAlloc): RecordQueue {
    const call = "IOMMU_VEVENTQ_ALLOC";
    if (flags !== 0 || type === 0) refuse(call, ERRNO.EOPNOTSUPP);
    if (depth === 0 || depth > MOST_VEVENTQ_DEPTH) refuse(call, ERRNO.EINVAL);
    const viommu = this.#objects.get(viommuId, ModelViommu, call);
    if (viommu.queues.has(type)) refuse(call, ERRNO.EEXIST);
    const queue = new ModelEventQueue(type, depth, () => {
      viommu.queues.delete(type);
      viommu.users--;
    });
    viommu.users++;
    viommu.queues.set(type, queue);
    return this.#objects.add(queue);
  }

  hwQueueAlloc(alloc: HwQueueAlloc): number {
    return allocHwQueue(this.#objects, alloc);
  }

  ioasNoiommuGetPa(): { readonly physicalAddress: bigint; readonly length: bigint } {
    return refuse("IOMMU_IOAS_NOIOMMU_GET_PA", ERRNO.EOPNOTSUPP);
  }

  /** Blocks all devices, and forgets everything. */
  [Symbol.dispose](): void {
    for (const device of this.#objects.all(ModelDevice)) device.block();
  }

  #ioas(id: number, call: string): Ioas {
    return this.#objects.get(id, Ioas, call);
  }

  #device(id: number, call: string): ModelDevice {
    return this.#objects.get(id, ModelDevice, call);
  }
}
