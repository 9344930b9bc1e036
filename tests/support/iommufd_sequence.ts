/**
 * Calls of iommufd, good and bad, drawn from a seed: what a program with mistakes, or a hostile one, would ask.
 * @module
 */
import { SystemError } from "../../uapi/errno.ts";
import type { BoundDevice, Iommufd, RecordQueue } from "../../vmm/iommufd/iommufd.ts";
import { KnownIds } from "./known_ids.ts";
import type { Random } from "../../vmm/random.ts";

const PAGE = 0x1000n;
const LAST = 0xffff_ffff_ffff_ffffn;
const PASIDS = [1, 0, 2, 0x10_0000, 0x7fff_ffff, 0x8000_0000, 0xffff_ffff] as const;

/** What sequences may use. */
export interface SequenceGround {
  readonly iommufd: Iommufd;
  readonly devices: readonly BoundDevice[];
  /** Memory of this process that can be pinned, 32 pages at least. */
  readonly userVa: bigint;
  /** A file in memory. */
  readonly fd: number;
  readonly fileSize: bigint;
}

/** What ids stand for; a paging HWPT is told from a nest parent and one for PASIDs. */
type Kind =
  | "device"
  | "ioas"
  | "paging"
  | "parent"
  | "pasid"
  | "nested"
  | "viommu"
  | "vdevice"
  | "queue";

/** One sequence. */
export class Sequence {
  readonly #ground: SequenceGround;
  readonly #random: Random;
  readonly #ids: KnownIds<Kind>;
  readonly #queues: RecordQueue[] = [];
  /** What was mapped, and may still be. */
  readonly #mapped: { readonly ioasId: number; readonly iova: bigint; readonly length: bigint }[] =
    [];

  /** Draws from `random`. */
  constructor(ground: SequenceGround, random: Random) {
    this.#ground = ground;
    this.#random = random;
    this.#ids = new KnownIds(random);
    for (const { devId } of ground.devices) this.#ids.keep("device", devId);
  }

  /** Makes so many calls. What is refused is part of it. */
  run(count: number): void {
    this.#begin();
    for (let i = 0; i < count; i++) this.#attempt(this.#choose(ACTIONS));
  }

  /** Takes everything down that was made, whatever it takes. */
  end(): void {
    const { iommufd, devices } = this.#ground;
    for (const device of devices) {
      this.#attempt(() => device.detach());
      for (const pasid of PASIDS) this.#attempt(() => device.detach(pasid));
    }
    for (const queue of this.#queues) queue[Symbol.dispose]();
    const deviceIds = devices.map(({ devId }) => devId);
    // What is used by another goes after it: as often as there can be levels.
    for (let round = 0; round < 5; round++) {
      for (const id of this.#ids.all) {
        if (!deviceIds.includes(id)) this.#attempt(() => iommufd.destroy(id));
      }
    }
  }

  /** Half of the sequences begin with something to work with. */
  #begin(): void {
    if (this.#random.below(2) === 0) return;
    const { iommufd, devices } = this.#ground;
    this.#attempt(() => {
      const ioas = this.#ids.keep("ioas", iommufd.ioasAlloc());
      const devId = devices[0].devId;
      const alloc = { devId, ptId: ioas, dataType: 0 };
      const parent = this.#ids.keep("parent", iommufd.hwptAlloc({ ...alloc, flags: 1 }));
      if (this.#random.below(3) === 0) {
        const hwptId = this.#ids.keep("pasid", iommufd.hwptAlloc({ ...alloc, flags: 8 }));
        if (this.#random.below(2) === 0) devices[0].attach(hwptId);
        return;
      }
      if (this.#random.below(4) === 0) return;
      const viommu = { flags: 0, type: 1, devId, hwptId: parent };
      const viommuId = this.#ids.keep("viommu", iommufd.viommuAlloc(viommu));
      this.#ids.keep("vdevice", iommufd.vdeviceAlloc({ viommuId, devId, virtId: 0x20n }));
      const data = new Uint8Array(new BigUint64Array([0x4000_000bn, 0n]).buffer);
      const nested = { flags: 0, devId, ptId: viommuId, dataType: 2, data };
      devices[0].attach(this.#ids.keep("nested", iommufd.hwptAlloc(nested)));
    });
  }

  #attempt(call: (() => void) | ((sequence: Sequence) => void)): void {
    try {
      call(this);
    } catch (error) {
      if (!(error instanceof SystemError)) throw error;
    }
  }

  #devId(): number {
    return this.#random.below(12) === 0
      ? this.#ids.any()
      : this.#choose(this.#ground.devices).devId;
  }

  /** What can be attached. */
  #table(): number {
    return this.#ids.of("ioas", "paging", "pasid", "pasid", "parent", "nested");
  }

  #pasidTable(): number {
    return this.#ids.of("pasid", "pasid", "pasid", "pasid", "ioas", "paging", "nested");
  }

  #paging(): number {
    return this.#ids.of("paging", "pasid", "parent");
  }

  /** Mostly `usual`, else one of the others. */
  #mostly<T>(usual: T, ...others: T[]): T {
    return this.#random.below(6) === 0 ? this.#choose(others) : usual;
  }

  #choose<T>(from: readonly T[]): T {
    return from[this.#random.below(from.length)];
  }

  /** Pages from a few places, so that they meet. */
  #iova(): bigint {
    const page = BigInt(this.#random.below(24)) * PAGE;
    const base = this.#mostly(
      0x4000_0000n,
      0n,
      0x0800_0000n - 4n * PAGE,
      0x080f_f000n,
      1n << 44n,
      (1n << 48n) - 8n * PAGE,
      LAST - 8n * PAGE + 1n,
    );
    return (base + page + this.#mostly(0n, 1n, 0x800n)) & LAST;
  }

  #length(): bigint {
    const pages = BigInt(1 + this.#random.below(6)) * PAGE;
    return this.#mostly(pages, 0n, pages + 1n, 0x800n, LAST, LAST - 1n, 1n << 40n);
  }

  #flags(): number {
    return this.#mostly(this.#choose([7, 7, 7, 6, 3, 5]), 0, 1, 8, 0x8000_0007);
  }

  #offset(): bigint {
    return BigInt(this.#random.below(12)) * PAGE + this.#mostly(0n, 0n, 0x800n, 1n);
  }

  /** The action table calls these. */
  static readonly ACTIONS: readonly ((sequence: Sequence) => void)[] = [
    (s) => s.#ids.keep("ioas", s.#ground.iommufd.ioasAlloc(s.#mostly(0, 1))),
    (s) => s.#map(),
    (s) => s.#map(),
    (s) => s.#mapFile(),
    (s) => s.#mapFile(),
    (s) => s.#copy(),
    (s) => s.#unmap(),
    (s) => void s.#ground.iommufd.ioasIovaRanges(s.#ids.of("ioas")),
    (s) => s.#allow(),
    (s) => s.#ground.iommufd.destroy(s.#ids.any()),
    (s) => s.#ground.iommufd.destroy(s.#ids.any()),
    (s) => s.#allocPaging(),
    (s) => s.#nested(),
    (s) => s.#nested(),
    (s) => s.#viommu(),
    (s) => s.#vdevice(),
    (s) => s.#veventq(),
    (s) => s.#invalidate(),
    (s) => s.#invalidate(),
    (s) => void s.#choose(s.#ground.devices).attach(s.#table()),
    (s) => void s.#choose(s.#ground.devices).attach(s.#table()),
    (s) => s.#choose(s.#ground.devices).detach(),
    (s) => void s.#choose(s.#ground.devices).attach(s.#pasidTable(), s.#pasid()),
    (s) => void s.#choose(s.#ground.devices).attach(s.#pasidTable(), s.#pasid()),
    (s) => s.#choose(s.#ground.devices).detach(s.#pasid()),
    (s) => void s.#ground.iommufd.getHwInfo(s.#devId(), s.#mostly(0, 1, 2, 3)),
    (s) => s.#hwQueue(),
    (s) => void s.#option(),
    (s) => void s.#ground.iommufd.vfioIoas(s.#mostly(s.#random.below(3), 9), s.#ids.of("ioas")),
    (s) => s.#ground.iommufd.ioasChangeProcess(),
    (s) => s.#faultQueue(),
    (s) => s.#dirty(),
  ];

  #map(): void {
    const { iommufd, userVa } = this.#ground;
    const map = {
      flags: this.#flags(),
      ioasId: this.#ids.of("ioas"),
      userVa: this.#mostly(userVa + this.#offset(), PAGE, LAST - PAGE),
      length: this.#length(),
      iova: this.#iova(),
    };
    this.#mapped.push({ ...map, iova: iommufd.ioasMap(map) });
  }

  #mapFile(): void {
    const { iommufd, fd, fileSize } = this.#ground;
    const map = {
      flags: this.#flags(),
      ioasId: this.#ids.of("ioas"),
      fd: this.#mostly(fd, fd, fd, -1, 9999),
      start: this.#mostly(this.#offset(), fileSize - PAGE, fileSize, LAST - PAGE),
      length: this.#length(),
      iova: this.#iova(),
    };
    this.#mapped.push({ ...map, iova: iommufd.ioasMapFile(map) });
  }

  /** Mostly what was mapped. */
  #range(): { ioasId: number; iova: bigint; length: bigint } {
    const known = this.#mapped.length > 0 && this.#random.below(4) !== 0;
    const whole = known
      ? this.#choose(this.#mapped)
      : { ioasId: this.#ids.of("ioas"), iova: this.#iova(), length: this.#length() };
    const { ioasId, iova, length } = whole;
    return this.#mostly(
      whole,
      { ioasId, iova, length: length / 2n },
      { ioasId, iova: iova + PAGE, length: length > PAGE ? length - PAGE : length },
      { ioasId, iova: iova & ~0x1_ffffn, length: (length + 0x20_0000n) & LAST },
    );
  }

  #copy(): void {
    const { ioasId, iova, length } = this.#range();
    const copy = {
      flags: this.#flags(),
      dstIoasId: this.#ids.of("ioas"),
      srcIoasId: ioasId,
      length,
      dstIova: this.#iova(),
      srcIova: iova,
    };
    const { dstIoasId } = copy;
    const made = this.#ground.iommufd.ioasCopy(copy);
    this.#mapped.push({ ioasId: dstIoasId, iova: made, length });
  }

  #unmap(): void {
    const { iommufd } = this.#ground;
    const { ioasId, iova, length } = this.#range();
    if (this.#random.below(6) === 0) iommufd.ioasUnmap(ioasId, 0n, LAST);
    else iommufd.ioasUnmap(ioasId, iova, length);
  }

  #allow(): void {
    const ranges = Array.from({ length: this.#random.below(3) }, () => {
      const start = this.#iova();
      return { start, last: (start + this.#length()) & LAST };
    });
    this.#ground.iommufd.ioasAllowIovas(this.#ids.of("ioas"), ranges);
  }

  #allocPaging(): void {
    const flags = this.#mostly(this.#choose([0, 1, 8]), 2, 3, 9, 10, 16);
    const hwptId = this.#ground.iommufd.hwptAlloc({
      flags,
      devId: this.#devId(),
      ptId: this.#ids.of("ioas"),
      dataType: this.#mostly(0, 1, 2),
    });
    this.#ids.keep(flags === 0 ? "paging" : flags === 8 ? "pasid" : "parent", hwptId);
  }

  #nested(): void {
    const q0 = this.#choose([1n, 9n, 0x4000_000bn, 0x5000_000bn, 0n]) |
      this.#mostly(0n, 1n << 52n, 1n << 4n, 1n << 59n, 4n, 2n);
    const q1 = this.#mostly(0n, 3n, 1n << 27n, 1n << 28n, 1n << 29n, 1n << 16n, 1n << 63n);
    const size = this.#mostly(16, 8, 15, 24);
    const data = new Uint8Array(24);
    new DataView(data.buffer).setBigUint64(0, q0, true);
    new DataView(data.buffer).setBigUint64(8, q1, true);
    const hwptId = this.#ground.iommufd.hwptAlloc({
      flags: this.#mostly(0, 1, 8, 16),
      devId: this.#devId(),
      ptId: this.#ids.of("viommu"),
      dataType: this.#mostly(2, 1, 3, 99),
      data: data.slice(0, size),
    });
    this.#ids.keep("nested", hwptId);
  }

  #viommu(): void {
    const viommuId = this.#ground.iommufd.viommuAlloc({
      flags: this.#mostly(0, 1),
      type: this.#mostly(1, 0, 2, 77),
      devId: this.#devId(),
      hwptId: this.#ids.of("parent"),
    });
    this.#ids.keep("viommu", viommuId);
  }

  #vdevice(): void {
    const virtId = this.#mostly(BigInt(this.#random.below(4)) * 8n, 0x1_0000_0000n, LAST);
    const { iommufd } = this.#ground;
    const viommuId = this.#ids.of("viommu");
    const vdevice = { viommuId, devId: this.#devId(), virtId };
    this.#ids.keep("vdevice", iommufd.vdeviceAlloc(vdevice));
  }

  #veventq(): void {
    const queue = this.#ground.iommufd.veventqAlloc({
      flags: this.#mostly(0, 1),
      viommuId: this.#ids.of("viommu"),
      type: this.#mostly(1, 0, 2),
      depth: this.#mostly(16, 0, 1 << 19, (1 << 19) + 1),
    });
    this.#ids.keep("queue", queue.id);
    if (this.#random.below(2) === 0) this.#queues.push(queue);
    else queue[Symbol.dispose]();
  }

  #invalidate(): void {
    const count = this.#mostly(1 + this.#random.below(5), 0, 62, 63, 64, 130);
    const entryLength = this.#mostly(16, 16, 8, 24, 4097, 0);
    const bytes = new Uint8Array(new ArrayBuffer(Math.max(count * entryLength, 16)));
    const view = new DataView(bytes.buffer);
    for (let i = 0; i < count; i++) {
      if (entryLength < 8 || entryLength > 4096) break;
      const [w0, w1] = this.#command();
      view.setBigUint64(i * entryLength, w0, true);
      if (entryLength >= 16) view.setBigUint64(i * entryLength + 8, w1, true);
      if (entryLength === 24 && this.#random.below(3) === 0) bytes[i * 24 + 20] = 1;
    }
    this.#ground.iommufd.hwptInvalidate({
      hwptId: this.#ids.of("viommu", "viommu", "nested"),
      dataType: this.#mostly(1, 0, 2),
      entryLength,
      count,
      entries: bytes,
    });
  }

  #command(): [bigint, bigint] {
    const opcode = this.#mostly(
      this.#choose([0x10n, 0x11n, 0x12n, 0x13n, 0x30n, 0x05n, 0x06n]),
      ...[0x40n, 0x46n, 0x03n, 0x04n, 0x20n, 0x28n, 0xffn],
    );
    const sid = opcode === 5n || opcode === 6n ? this.#choose([0n, 8n, 0x10n, 0x20n, 0x99n]) : 0n;
    const w0 = opcode | (sid << 32n) |
      this.#mostly(0n, 1n << 10n, 1n << 11n, 1n << 12n, 3n << 20n, 1n << 25n, 1n << 48n, 1n << 32n);
    const w1 = this.#mostly(0n, 1n, 0x5000n, 0x100n, 0x400n, 0x500n, 0x900n, 0x800n, 2n);
    return [w0, w1];
  }

  /** Few, so that they meet; 0 is the device itself. */
  #pasid(): number {
    return this.#mostly<number>(...PASIDS);
  }

  #option(): bigint {
    const value = BigInt(this.#mostly(this.#random.below(2), 2));
    const { iommufd } = this.#ground;
    return iommufd.option(
      this.#mostly(1, 0, 7),
      this.#mostly(1, 0, 3),
      this.#ids.of("ioas"),
      value,
    );
  }

  #dirty(): void {
    const { iommufd } = this.#ground;
    const hwptId = this.#paging();
    if (this.#random.below(2) === 0) {
      iommufd.hwptSetDirtyTracking(hwptId, this.#mostly(1, 0, 2));
    } else {
      iommufd.hwptGetDirtyBitmap({
        hwptId,
        flags: this.#mostly(0, 1, 2),
        ...this.#range(),
        pageSize: this.#mostly(PAGE, 0n, 0x800n, 0x2000n, 3n),
        bitmap: new Uint8Array(64),
      });
    }
  }

  #faultQueue(): void {
    const queue = this.#ground.iommufd.faultQueueAlloc(this.#mostly(0, 1));
    this.#ids.keep("queue", queue.id);
    if (this.#random.below(2) === 0) this.#queues.push(queue);
    else queue[Symbol.dispose]();
    const { iommufd } = this.#ground;
    const flags = this.#mostly(4, 5);
    const alloc = { flags, devId: this.#devId(), ptId: this.#ids.of("ioas"), dataType: 0 };
    const faultId = this.#mostly(queue.id, 99);
    this.#ids.keep("paging", iommufd.hwptAlloc({ ...alloc, faultId }));
  }

  #hwQueue(): void {
    this.#ids.keep(
      "queue",
      this.#ground.iommufd.hwQueueAlloc({
        flags: this.#mostly(0, 1),
        viommuId: this.#ids.of("viommu"),
        type: this.#mostly(1, 0, 9),
        index: 0,
        nestingParentIova: this.#iova(),
        length: this.#length(),
      }),
    );
  }
}

const { ACTIONS } = Sequence;
