/**
 * An iommufd whose n-th call fails, around any other: so that every error path of a caller can be walked. It also keeps
 * books of what is alive, so that a leak can be seen. What the caller does while it cleans up is counted like all else.
 * @module
 */
import { errnoName, SystemError } from "../../uapi/errno.ts";
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
} from "../../vmm/iommufd/iommufd.ts";

/** Which call fails, and how. */
export interface Fault {
  /** The first call is 1; with 0 none fails. */
  readonly nth: number;
  /** The positive error number. */
  readonly errno: number;
  /**
   * The call has an effect and fails all the same, as the kernel's does: an invalidation whose commands were partly or
   * all done, an unmap that took only its first areas, an attach that ends detached. No other call can.
   */
  readonly isLate?: boolean;
  /** All calls after it fail too: the hardware is gone. Closing still works. */
  readonly isLasting?: boolean;
}

/** No fault: for counting. */
export const NO_FAULT: Fault = { nth: 0, errno: 0 };

/** The kernel issues so many commands at once. */
const BLOCK = 63;

/** The iommufd. */
export class FaultyIommufd implements Iommufd {
  /** What was called, in order, such as `hwptAlloc`. */
  readonly calls: string[] = [];
  /** The call that failed first; empty before. */
  failed = "";
  readonly #inner: Iommufd;
  readonly #fault: Fault;
  readonly #alive = new Map<string, string>();

  /** Calls go to `inner`, except the one that fails. */
  constructor(inner: Iommufd, fault: Fault) {
    this.#inner = inner;
    this.#fault = fault;
  }

  /** What was made and neither destroyed nor closed, sorted: `descriptor of veventq 5`, `hwpt 3`. */
  get alive(): string[] {
    return [...this.#alive.values()].sort();
  }

  /** The same device, whose calls are counted and fail too; `make` binds it to what is inside. */
  bind(make: (inner: Iommufd) => BoundDevice): BoundDevice {
    const device = this.#do("bind", () => make(this.#inner));
    this.#born("device", device.devId);
    return {
      devId: device.devId,
      attach: (ptId, pasid) =>
        this.#do("attach", () => device.attach(ptId, pasid), () => {
          device.attach(ptId, pasid);
          device.detach(pasid);
        }),
      detach: (pasid) => this.#do("detach", () => device.detach(pasid)),
      [Symbol.dispose]: () => {
        device[Symbol.dispose]();
        this.#alive.delete(`object ${device.devId}`);
        this.#forgetVdevices(device.devId);
      },
    };
  }

  destroy(id: number): void {
    this.#do("destroy", () => this.#inner.destroy(id));
    this.#alive.delete(`object ${id}`);
  }

  ioasAlloc(flags?: number): number {
    return this.#make("ioas", "ioasAlloc", () => this.#inner.ioasAlloc(flags));
  }

  ioasIovaRanges(ioasId: number): { readonly ranges: IovaRange[]; readonly alignment: bigint } {
    return this.#do("ioasIovaRanges", () => this.#inner.ioasIovaRanges(ioasId));
  }

  ioasAllowIovas(ioasId: number, ranges: readonly IovaRange[]): void {
    this.#do("ioasAllowIovas", () => this.#inner.ioasAllowIovas(ioasId, ranges));
  }

  ioasMap(map: IoasMap): bigint {
    return this.#do("ioasMap", () => this.#inner.ioasMap(map));
  }

  ioasMapFile(map: IoasMapFile): bigint {
    return this.#do("ioasMapFile", () => this.#inner.ioasMapFile(map));
  }

  ioasCopy(copy: IoasCopy): bigint {
    return this.#do("ioasCopy", () => this.#inner.ioasCopy(copy));
  }

  ioasUnmap(ioasId: number, iova: bigint, length: bigint): bigint {
    const unmap = (): bigint => this.#inner.ioasUnmap(ioasId, iova, length);
    return this.#do("ioasUnmap", unmap, () => void unmap());
  }

  ioasChangeProcess(): void {
    this.#do("ioasChangeProcess", () => this.#inner.ioasChangeProcess());
  }

  option(optionId: number, op: number, objectId: number, value: bigint): bigint {
    return this.#do("option", () => this.#inner.option(optionId, op, objectId, value));
  }

  vfioIoas(op: number, ioasId: number): number {
    return this.#do("vfioIoas", () => this.#inner.vfioIoas(op, ioasId));
  }

  hwptAlloc(alloc: HwptAlloc): number {
    return this.#make("hwpt", "hwptAlloc", () => this.#inner.hwptAlloc(alloc));
  }

  getHwInfo(devId: number, dataType?: number): HwInfo {
    return this.#do("getHwInfo", () => this.#inner.getHwInfo(devId, dataType));
  }

  hwptSetDirtyTracking(hwptId: number, flags: number): void {
    this.#do("hwptSetDirtyTracking", () => this.#inner.hwptSetDirtyTracking(hwptId, flags));
  }

  hwptGetDirtyBitmap(get: HwptGetDirtyBitmap): void {
    this.#do("hwptGetDirtyBitmap", () => this.#inner.hwptGetDirtyBitmap(get));
  }

  hwptInvalidate(invalidate: HwptInvalidate): InvalidateResult {
    if (!this.#isDue("hwptInvalidate")) return this.#inner.hwptInvalidate(invalidate);
    const { errno, isLate = false } = this.#fault;
    if (!isLate) return { errno, handled: 0 };
    // Whole blocks are issued; of the block in which it fails commands are counted that never were.
    const { count } = invalidate;
    const issued = Math.floor(count / 2 / BLOCK) * BLOCK;
    if (issued > 0) this.#inner.hwptInvalidate({ ...invalidate, count: issued });
    return { errno, handled: Math.floor(count / 2) };
  }

  faultQueueAlloc(flags?: number): RecordQueue {
    return this.#queue("fault queue", "faultQueueAlloc", () => this.#inner.faultQueueAlloc(flags));
  }

  viommuAlloc(alloc: ViommuAlloc): number {
    return this.#make("viommu", "viommuAlloc", () => this.#inner.viommuAlloc(alloc));
  }

  vdeviceAlloc(alloc: VdeviceAlloc): number {
    const kind = `vdevice of ${alloc.devId},`;
    return this.#make(kind, "vdeviceAlloc", () => this.#inner.vdeviceAlloc(alloc));
  }

  veventqAlloc(alloc: VeventqAlloc): RecordQueue {
    return this.#queue("veventq", "veventqAlloc", () => this.#inner.veventqAlloc(alloc));
  }

  hwQueueAlloc(alloc: HwQueueAlloc): number {
    return this.#make("hw queue", "hwQueueAlloc", () => this.#inner.hwQueueAlloc(alloc));
  }

  ioasNoiommuGetPa(
    ioasId: number,
    iova: bigint,
    length: bigint,
  ): { readonly physicalAddress: bigint; readonly length: bigint } {
    return this.#do(
      "ioasNoiommuGetPa",
      () => this.#inner.ioasNoiommuGetPa(ioasId, iova, length),
    );
  }

  /** Closes what is inside. What is alive stays in the books: the kernel would have cleaned it up. */
  [Symbol.dispose](): void {
    this.#inner[Symbol.dispose]();
  }

  #isDue(name: string): boolean {
    this.calls.push(name);
    const { nth, isLasting = false } = this.#fault;
    const count = this.calls.length;
    if (count !== nth && !(isLasting && nth > 0 && count > nth)) return false;
    this.failed ||= name;
    return true;
  }

  /** Does it, or fails; `late` is what is done by a call that fails after its effect. */
  #do<T>(name: string, act: () => T, late?: () => void): T {
    if (!this.#isDue(name)) return act();
    if (this.#fault.isLate) late?.();
    throw new SystemError(`${name}, call ${this.calls.length}`, this.#fault.errno);
  }

  #make(kind: string, name: string, act: () => number): number {
    const id = this.#do(name, act);
    this.#born(kind, id);
    return id;
  }

  #queue(kind: string, name: string, act: () => RecordQueue): RecordQueue {
    const queue = this.#do(name, act);
    const { id } = queue;
    this.#born(kind, id);
    this.#alive.set(`descriptor ${id}`, `descriptor of ${kind} ${id}`);
    return {
      id,
      read: (into) => this.#do("read", () => queue.read(into)),
      write: (from) => this.#do("write", () => queue.write(from)),
      watch: (handler) => queue.watch(handler),
      [Symbol.dispose]: () => {
        queue[Symbol.dispose]();
        this.#alive.delete(`descriptor ${id}`);
      },
    };
  }

  #born(kind: string, id: number): void {
    this.#alive.set(`object ${id}`, `${kind} ${id}`);
  }

  /** The kernel destroys a vDEVICE with its device. */
  #forgetVdevices(devId: number): void {
    for (const [key, text] of this.#alive) {
      if (text.startsWith(`vdevice of ${devId},`)) this.#alive.delete(key);
    }
  }
}

/** What a fault is, for the name of a test step. */
export function faultText({ nth, errno, isLate, isLasting }: Fault): string {
  const calls = isLasting ? `call ${nth} and all after it` : `call ${nth}`;
  return `${calls} fail ${isLate ? "late " : ""}with ${errnoName(errno)}`;
}
