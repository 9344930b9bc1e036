/**
 * An iommufd with objects and no rules but those of lifetime: what is unknown is ENOENT, what is used EBUSY.
 * @module
 */
import { ERRNO, SystemError } from "../../uapi/errno.ts";
import type {
  BoundDevice,
  HwInfo,
  HwptAlloc,
  HwptInvalidate,
  InvalidateResult,
  Iommufd,
  IovaRange,
  RecordQueue,
  VdeviceAlloc,
  VeventqAlloc,
  ViommuAlloc,
} from "../../vmm/iommufd/iommufd.ts";

interface Thing {
  readonly kind: string;
  /** Ids that it uses. */
  readonly uses: number[];
  isOpen?: boolean;
}

/** What such an iommufd tells of its devices. */
export interface PlainChoice {
  readonly hwInfo?: HwInfo;
  readonly ranges?: IovaRange[];
}

const NOTHING: HwInfo = {
  dataType: 0,
  data: new Uint8Array(),
  maxPasidLog2: 0,
  capabilities: 0n,
};

/** The iommufd. Calls are noted by name. */
export class PlainIommufd implements Iommufd {
  /** Names of the calls so far. */
  readonly calls: string[] = [];
  /** Whether it was disposed. */
  isClosed = false;
  readonly #things = new Map<number, Thing>();
  readonly #choice: PlainChoice;
  #lastId = 0;

  /** With nothing in it. */
  constructor(choice: PlainChoice = {}) {
    this.#choice = choice;
  }

  /** What is in it, such as `hwpt 3`. */
  get things(): string[] {
    return [...this.#things].map(([id, { kind }]) => `${kind} ${id}`);
  }

  /** Binds a device. */
  bind(): BoundDevice {
    this.#call("bind");
    const devId = this.#add("device", []);
    return {
      devId,
      attach: (ptId) => {
        this.#call("attach");
        this.#thing(ptId);
        this.#things.get(devId)!.uses.splice(0, 1, ptId);
        return ptId;
      },
      detach: () => {
        this.#call("detach");
        this.#things.get(devId)!.uses.length = 0;
      },
      [Symbol.dispose]: () => {
        this.#call("unbind");
        for (const [id, { kind, uses }] of this.#things) {
          if (kind === "vdevice" && uses.includes(devId)) this.#things.delete(id);
        }
        this.#things.delete(devId);
      },
    };
  }

  destroy(id: number): void {
    this.#call("destroy");
    const thing = this.#thing(id);
    const isUsed = [...this.#things.values()].some(({ uses }) => uses.includes(id));
    if (thing.kind === "device" || thing.isOpen || isUsed) refuse("destroy", ERRNO.EBUSY);
    this.#things.delete(id);
  }

  ioasAlloc(): number {
    this.#call("ioasAlloc");
    return this.#add("ioas", []);
  }

  ioasIovaRanges(ioasId: number): { ranges: IovaRange[]; alignment: bigint } {
    this.#call("ioasIovaRanges");
    this.#thing(ioasId);
    return { ranges: this.#choice.ranges ?? [], alignment: 4096n };
  }

  hwptAlloc({ devId, ptId }: HwptAlloc): number {
    this.#call("hwptAlloc");
    this.#thing(devId);
    this.#thing(ptId);
    return this.#add("hwpt", [ptId]);
  }

  getHwInfo(devId: number): HwInfo {
    this.#call("getHwInfo");
    this.#thing(devId);
    return this.#choice.hwInfo ?? NOTHING;
  }

  viommuAlloc({ hwptId }: ViommuAlloc): number {
    this.#call("viommuAlloc");
    this.#thing(hwptId);
    return this.#add("viommu", [hwptId]);
  }

  vdeviceAlloc({ viommuId, devId }: VdeviceAlloc): number {
    this.#call("vdeviceAlloc");
    this.#thing(viommuId);
    return this.#add("vdevice", [viommuId, devId]);
  }

  veventqAlloc({ viommuId }: VeventqAlloc): RecordQueue {
    this.#call("veventqAlloc");
    this.#thing(viommuId);
    return this.#queue("veventq", [viommuId]);
  }

  faultQueueAlloc(): RecordQueue {
    this.#call("faultQueueAlloc");
    return this.#queue("fault", []);
  }

  hwptInvalidate({ hwptId, count }: HwptInvalidate): InvalidateResult {
    this.#call("hwptInvalidate");
    const isThere = this.#things.has(hwptId);
    return isThere ? { errno: 0, handled: count } : { errno: ERRNO.ENOENT, handled: 0 };
  }

  ioasMap({ iova }: { readonly iova: bigint }): bigint {
    this.#call("ioasMap");
    return iova;
  }

  ioasMapFile({ iova }: { readonly iova: bigint }): bigint {
    this.#call("ioasMapFile");
    return iova;
  }

  ioasCopy({ dstIova }: { readonly dstIova: bigint }): bigint {
    this.#call("ioasCopy");
    return dstIova;
  }

  ioasUnmap(_ioasId: number, _iova: bigint, length: bigint): bigint {
    this.#call("ioasUnmap");
    return length;
  }

  ioasAllowIovas(): void {
    refuse("ioasAllowIovas", ERRNO.EOPNOTSUPP);
  }

  ioasChangeProcess(): void {
    refuse("ioasChangeProcess", ERRNO.EOPNOTSUPP);
  }

  option(): bigint {
    return refuse("option", ERRNO.EOPNOTSUPP);
  }

  vfioIoas(): number {
    return refuse("vfioIoas", ERRNO.EOPNOTSUPP);
  }

  hwptSetDirtyTracking(): void {
    refuse("hwptSetDirtyTracking", ERRNO.EOPNOTSUPP);
  }

  hwptGetDirtyBitmap(): void {
    refuse("hwptGetDirtyBitmap", ERRNO.EOPNOTSUPP);
  }

  hwQueueAlloc(): number {
    return refuse("hwQueueAlloc", ERRNO.EOPNOTSUPP);
  }

  ioasNoiommuGetPa(): { physicalAddress: bigint; length: bigint } {
    return refuse("ioasNoiommuGetPa", ERRNO.EOPNOTSUPP);
  }

  [Symbol.dispose](): void {
    this.isClosed = true;
    this.#things.clear();
  }

  #call(name: string): void {
    this.calls.push(name);
  }

  #add(kind: string, uses: number[]): number {
    this.#things.set(++this.#lastId, { kind, uses });
    return this.#lastId;
  }

  #queue(kind: string, uses: number[]): RecordQueue {
    const id = this.#add(kind, uses);
    const thing = this.#things.get(id)!;
    thing.isOpen = true;
    return {
      id,
      read: () => 0,
      write: (from) => from.length,
      watch: () => ({ [Symbol.dispose]: () => {} }),
      [Symbol.dispose]: () => {
        thing.isOpen = false;
      },
    };
  }

  #thing(id: number): Thing {
    return this.#things.get(id) ?? refuse("find", ERRNO.ENOENT);
  }
}

function refuse(call: string, errno: number): never {
  throw new SystemError(call, errno);
}
