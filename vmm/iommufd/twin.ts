/**
 * Two iommufds that are asked the same: what one answers and the other does not is the first thing to look at.
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
} from "./iommufd.ts";

/** A call that the two answered differently. */
export interface Disagreement {
  /** Which call it was, counted from 1. */
  readonly number: number;
  /** Its name and arguments. */
  readonly call: string;
  /** What the first answered, or why it refused. */
  readonly first: string;
  /** What the second answered, or why it refused. */
  readonly second: string;
}

/** Either a result or a refusal. */
type Answer<T> = { readonly result: T } | { readonly error: SystemError };

/** Asks two; answers as the first does. */
export class TwinIommufd implements Iommufd {
  /** Where they disagreed. */
  readonly disagreements: Disagreement[] = [];
  /** How many calls there were. */
  calls = 0;
  /** Told of each call, and what both answered when they agreed. */
  onCall: ((call: string, answer: string) => void) | undefined;
  readonly #first: Iommufd;
  readonly #second: Iommufd;

  readonly #hasSameRecords: boolean;

  /** Of two that nobody has asked anything yet, or the same; both have the same records only if their devices do. */
  constructor(first: Iommufd, second: Iommufd, { hasSameRecords = false } = {}) {
    this.#first = first;
    this.#second = second;
    this.#hasSameRecords = hasSameRecords;
  }

  /** A device that is bound to both. */
  bind(first: BoundDevice, second: BoundDevice): BoundDevice {
    const { devId } = first;
    this.compare("bind", {}, () => devId, () => second.devId);
    return {
      devId,
      attach: (ptId, pasid) =>
        this.compare(
          "attach",
          { devId, ptId, pasid },
          () => first.attach(ptId, pasid),
          () => second.attach(ptId, pasid),
        ),
      detach: (pasid) =>
        this.compare(
          "detach",
          { devId, pasid },
          () => first.detach(pasid),
          () => second.detach(pasid),
        ),
      [Symbol.dispose]: () => {
        first[Symbol.dispose]();
        second[Symbol.dispose]();
      },
    };
  }

  destroy(id: number): void {
    this.#each("destroy", { id }, (iommufd) => iommufd.destroy(id));
  }

  ioasAlloc(flags?: number): number {
    return this.#each("ioasAlloc", { flags }, (iommufd) => iommufd.ioasAlloc(flags));
  }

  ioasIovaRanges(ioasId: number): { readonly ranges: IovaRange[]; readonly alignment: bigint } {
    return this.#each("ioasIovaRanges", { ioasId }, (iommufd) => iommufd.ioasIovaRanges(ioasId));
  }

  ioasAllowIovas(ioasId: number, ranges: readonly IovaRange[]): void {
    this.#each(
      "ioasAllowIovas",
      { ioasId, ranges },
      (iommufd) => iommufd.ioasAllowIovas(ioasId, ranges),
    );
  }

  ioasMap(map: IoasMap): bigint {
    return this.#each("ioasMap", map, (iommufd) => iommufd.ioasMap(map));
  }

  ioasMapFile(map: IoasMapFile): bigint {
    return this.#each("ioasMapFile", map, (iommufd) => iommufd.ioasMapFile(map));
  }

  ioasCopy(copy: IoasCopy): bigint {
    return this.#each("ioasCopy", copy, (iommufd) => iommufd.ioasCopy(copy));
  }

  ioasUnmap(ioasId: number, iova: bigint, length: bigint): bigint {
    return this.#each(
      "ioasUnmap",
      { ioasId, iova, length },
      (iommufd) => iommufd.ioasUnmap(ioasId, iova, length),
    );
  }

  ioasChangeProcess(): void {
    this.#each("ioasChangeProcess", {}, (iommufd) => iommufd.ioasChangeProcess());
  }

  option(optionId: number, op: number, objectId: number, value: bigint): bigint {
    return this.#each(
      "option",
      { optionId, op, objectId, value },
      (iommufd) => iommufd.option(optionId, op, objectId, value),
    );
  }

  vfioIoas(op: number, ioasId: number): number {
    return this.#each("vfioIoas", { op, ioasId }, (iommufd) => iommufd.vfioIoas(op, ioasId));
  }

  hwptAlloc(alloc: HwptAlloc): number {
    return this.#each("hwptAlloc", alloc, (iommufd) => iommufd.hwptAlloc(alloc));
  }

  /** What hardware tells is its own business: only whether it tells anything is compared. */
  getHwInfo(devId: number, dataType?: number): HwInfo {
    return this.#each(
      "getHwInfo",
      { devId, dataType },
      (iommufd) => iommufd.getHwInfo(devId, dataType),
      ({ dataType }) => dataType,
    );
  }

  hwptSetDirtyTracking(hwptId: number, flags: number): void {
    this.#each(
      "hwptSetDirtyTracking",
      { hwptId, flags },
      (iommufd) => iommufd.hwptSetDirtyTracking(hwptId, flags),
    );
  }

  hwptGetDirtyBitmap(get: HwptGetDirtyBitmap): void {
    const { bitmap, ...args } = get;
    const other = bitmap.slice();
    this.compare(
      "hwptGetDirtyBitmap",
      args,
      () => {
        this.#first.hwptGetDirtyBitmap(get);
        return bitmap;
      },
      () => {
        this.#second.hwptGetDirtyBitmap({ ...get, bitmap: other });
        return other;
      },
    );
  }

  hwptInvalidate(invalidate: HwptInvalidate): InvalidateResult {
    return this.#each(
      "hwptInvalidate",
      invalidate,
      (iommufd) => iommufd.hwptInvalidate(invalidate),
    );
  }

  faultQueueAlloc(flags?: number): RecordQueue {
    return this.#queue(
      "faultQueueAlloc",
      { flags },
      (iommufd) => iommufd.faultQueueAlloc(flags),
    );
  }

  viommuAlloc(alloc: ViommuAlloc): number {
    const { data, ...args } = alloc;
    const other = data?.slice();
    return this.compare(
      "viommuAlloc",
      { ...args, data: data?.slice() },
      () => ({ id: this.#first.viommuAlloc(alloc), data }),
      () => ({ id: this.#second.viommuAlloc({ ...alloc, data: other }), data: other }),
    ).id;
  }

  vdeviceAlloc(alloc: VdeviceAlloc): number {
    return this.#each("vdeviceAlloc", alloc, (iommufd) => iommufd.vdeviceAlloc(alloc));
  }

  veventqAlloc(alloc: VeventqAlloc): RecordQueue {
    return this.#queue("veventqAlloc", alloc, (iommufd) => iommufd.veventqAlloc(alloc));
  }

  hwQueueAlloc(alloc: HwQueueAlloc): number {
    return this.#each("hwQueueAlloc", alloc, (iommufd) => iommufd.hwQueueAlloc(alloc));
  }

  ioasNoiommuGetPa(
    ioasId: number,
    iova: bigint,
    length: bigint,
  ): { readonly physicalAddress: bigint; readonly length: bigint } {
    return this.#each(
      "ioasNoiommuGetPa",
      { ioasId, iova, length },
      (iommufd) => iommufd.ioasNoiommuGetPa(ioasId, iova, length),
    );
  }

  [Symbol.dispose](): void {
    this.#first[Symbol.dispose]();
    this.#second[Symbol.dispose]();
  }

  #each<T>(
    name: string,
    args: object,
    call: (iommufd: Iommufd) => T,
    seen: (result: T) => unknown = (result) => result,
  ): T {
    return this.compare(name, args, () => call(this.#first), () => call(this.#second), seen);
  }

  /** Records come from hardware; where that is not the same, only the first has any that is ours. */
  #queue(name: string, args: object, call: (iommufd: Iommufd) => RecordQueue): RecordQueue {
    const made: RecordQueue[] = [];
    const make = (iommufd: Iommufd): RecordQueue => {
      const queue = call(iommufd);
      made.push(queue);
      return queue;
    };
    const queue = this.#each(name, args, make, ({ id }) => id);
    const [, other] = made;
    const isOne = !this.#hasSameRecords || other === undefined;
    return {
      id: queue.id,
      read: (into) => isOne ? queue.read(into) : this.#read(queue, other, into),
      write: (from) => isOne ? queue.write(from) : this.#write(queue, other, from),
      watch: (handler) => queue.watch(handler),
      [Symbol.dispose]: () => made.forEach((one) => one[Symbol.dispose]()),
    };
  }

  #read(queue: RecordQueue, other: RecordQueue, into: Uint8Array<ArrayBuffer>): number {
    const second = new Uint8Array(new ArrayBuffer(into.length));
    return this.compare(
      "read",
      { id: queue.id, size: into.length },
      () => into.subarray(0, queue.read(into)),
      () => second.subarray(0, other.read(second)),
    ).length;
  }

  #write(queue: RecordQueue, other: RecordQueue, from: Uint8Array<ArrayBuffer>): number {
    const args = { id: queue.id, from };
    return this.compare("write", args, () => queue.write(from), () => other.write(from));
  }

  /** Asks both; answers as the first does. `seen` is what is compared of a result. */
  protected compare<T>(
    name: string,
    args: object,
    one: () => T,
    other: () => T,
    seen: (result: T) => unknown = (result) => result,
  ): T {
    const number = ++this.calls;
    const [a, b] = [answer(one), answer(other)];
    const [first, second] = [textOf(a, seen), textOf(b, seen)];
    this.onCall?.(`${name} ${plain(args)}`, first);
    if (first !== second) {
      this.disagreements.push({ number, call: `${name} ${plain(args)}`, first, second });
    }
    if ("error" in a) throw a.error;
    return a.result;
  }
}

function answer<T>(call: () => T): Answer<T> {
  try {
    return { result: call() };
  } catch (error) {
    if (!(error instanceof SystemError)) throw error;
    return { error };
  }
}

function textOf<T>(answer: Answer<T>, seen: (result: T) => unknown): string {
  return "error" in answer ? errnoName(answer.error.errno) : plain(seen(answer.result));
}

function plain(value: unknown): string {
  return JSON.stringify(value, (_, value) => {
    if (typeof value === "bigint") return `0x${value.toString(16)}`;
    return value instanceof Uint8Array ? value.toHex() : value;
  }) ?? "done";
}
