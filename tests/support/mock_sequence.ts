/**
 * Calls of iommufd on devices of the kernel's mock driver, good and bad, drawn from a seed: what VFIO devices of an
 * emulated machine cannot be asked, such as PASIDs, dirty pages, page requests, events and accesses.
 * @module
 */
import { SystemError } from "../../uapi/errno.ts";
import type { RecordQueue } from "../../vmm/iommufd/iommufd.ts";
import { MOCK, SELFTEST, type TestOp } from "./iommufd_test_abi.ts";
import { KnownIds } from "./known_ids.ts";
import { iommuTest, type TestValues } from "./mock_device.ts";
import type { Random } from "./random.ts";
import type { TwinTestIommufd } from "./twin_test_iommufd.ts";

const PAGE = 0x1000n;
const LAST = 0xffff_ffff_ffff_ffffn;
/** The last IOVA of a mock domain with large tables. */
const HUGE_LAST = (1n << 38n) - 1n;
const PASIDS = [1, 2, 0, SELFTEST.PASID_RESERVED, 0xf_ffff, 0x10_0000, 0xffff_ffff] as const;
const NONE = 0;
const [NEST_PARENT, DIRTY, FAULT, PASID] = [1, 2, 4, 8];
const MOST_DEVICES = 4;

/** What sequences may use. */
export interface MockGround {
  readonly iommufd: TwinTestIommufd;
  /** Memory of this process that can be pinned, and has the content of the file. */
  readonly userVa: bigint;
  readonly fd: number;
  readonly sizeBytes: bigint;
}

type Kind =
  | "device"
  | "binding"
  | "ioas"
  | "paging"
  | "parent"
  | "pasid"
  | "dirty"
  | "nested"
  | "viommu"
  | "vdevice"
  | "queue"
  | "access";

interface Range {
  readonly ioasId: number;
  readonly iova: bigint;
  readonly length: bigint;
}

/** One sequence. */
export class MockSequence {
  readonly #ground: MockGround;
  readonly #random: Random;
  readonly #ids: KnownIds<Kind>;
  readonly #queues: RecordQueue[] = [];
  readonly #faults: RecordQueue[] = [];
  readonly #cookies: number[] = [];
  /** What stands for mock devices, with the PASIDs that may be attached. */
  readonly #bindings = new Map<number, Set<number>>();
  readonly #mapped: Range[] = [];

  /** Draws from `random`. */
  constructor(ground: MockGround, random: Random) {
    this.#ground = ground;
    this.#random = random;
    this.#ids = new KnownIds(random);
  }

  /** Makes so many calls. What is refused is part of it. */
  run(count: number): void {
    this.#attempt(this.#random.of(BEGINNINGS));
    for (let i = 0; i < count; i++) this.#attempt(this.#random.of(ACTIONS));
  }

  /** Closes what the kernel does not close by itself. */
  end(): void {
    // A test that destroys a device with PASIDs leaves the kernel with a warning: its users never do.
    for (const binding of this.#bindings.keys()) this.#detachPasids(binding);
    for (const queue of [...this.#queues, ...this.#faults]) queue[Symbol.dispose]();
  }

  #attempt(call: (sequence: MockSequence) => void): void {
    try {
      call(this);
    } catch (error) {
      if (!(error instanceof SystemError)) throw error;
    }
  }

  get #iommufd(): TwinTestIommufd {
    return this.#ground.iommufd;
  }

  #mostly<T>(usual: T, ...others: T[]): T {
    return this.#random.below(6) === 0 ? this.#random.of(others) : usual;
  }

  /** Now and then something else. */
  #seldom<T>(usual: T, ...others: T[]): T {
    return this.#random.below(16) === 0 ? this.#random.of(others) : usual;
  }

  #iova(): bigint {
    const base = this.#mostly(
      0x100_0000n,
      0n,
      0x7fff_8000n,
      HUGE_LAST + 1n - 8n * PAGE,
      LAST - 7n * PAGE,
    );
    const page = BigInt(this.#random.below(24)) * PAGE;
    return (base + page + this.#seldom(0n, 0x800n, 1n)) & LAST;
  }

  #length(): bigint {
    const pages = BigInt(1 + this.#random.below(12)) * PAGE;
    return this.#seldom(pages, 0n, 0x800n, pages + 0x800n, pages + 1n, LAST, 1n << 40n);
  }

  #offset(): bigint {
    return BigInt(this.#random.below(32)) * PAGE + this.#seldom(0n, 0x800n, 1n);
  }

  #flags(): number {
    return this.#seldom(this.#random.of([7, 7, 7, 6, 3, 5]), 0, 1, 8);
  }

  /** Mostly what was mapped, or a part of it. */
  #range(): Range {
    const known = this.#mapped.length > 0 && this.#random.below(6) !== 0;
    const whole = known
      ? this.#random.of(this.#mapped)
      : { ioasId: this.#ids.of("ioas"), iova: this.#iova(), length: this.#length() };
    const { ioasId, iova, length } = whole;
    return this.#mostly(
      whole,
      { ioasId, iova, length: length / 2n },
      { ioasId, iova: (iova + PAGE) & LAST, length: length > PAGE ? length - PAGE : length },
      { ioasId, iova: iova & ~0x1_ffffn, length: (length + 0x4_0000n) & LAST },
      { ioasId, iova, length: (length + PAGE) & LAST },
    );
  }

  /** What can be attached. */
  #table(): number {
    return this.#ids.of("ioas", "paging", "pasid", "dirty", "parent", "nested", "nested");
  }

  #pasid(): number {
    return this.#mostly<number>(...PASIDS);
  }

  static readonly BEGINNINGS: readonly ((s: MockSequence) => void)[] = [
    (s) => void s.#addDevice(s.#newIoas(), 0),
    (s) => {
      const ioasId = s.#newIoas();
      const devId = s.#addDevice(ioasId, MOCK.FLAGS_DEVICE_PASID);
      for (let i = 0; i < 2; i++) s.#allocPaging(devId, ioasId, PASID);
      s.#test("MOCK_DOMAIN_REPLACE", s.#ids.of("binding"), { pt_id: s.#ids.of("pasid") });
    },
    (s) => {
      const devId = s.#addDevice(s.#newIoas(), 0);
      const ioasId = s.#newIoas();
      s.#map(ioasId, HUGE_LAST + 1n - 16n * PAGE, 16n * PAGE);
      s.#map(ioasId, 0x100_0000n, 12n * PAGE);
      s.#allocPaging(devId, ioasId, DIRTY, MOCK.IOMMUPT_HUGE);
      s.#test("MOCK_DOMAIN_REPLACE", s.#ids.of("binding"), { pt_id: s.#ids.of("dirty") });
      s.#iommufd.hwptSetDirtyTracking(s.#ids.of("dirty"), 1);
    },
    (s) => {
      const ioasId = s.#newIoas();
      const devId = s.#addDevice(ioasId, s.#random.of([0, MOCK.FLAGS_DEVICE_PASID]));
      s.#map(ioasId, 0x100_0000n, 4n * PAGE);
      s.#allocPaging(devId, ioasId, NEST_PARENT);
      s.#viommu();
      s.#vdevice();
      s.#veventq();
      s.#nested();
      s.#test("MOCK_DOMAIN_REPLACE", s.#ids.of("binding"), { pt_id: s.#ids.of("nested") });
    },
    (s) => {
      const ioasId = s.#newIoas();
      const devId = s.#addDevice(ioasId, MOCK.FLAGS_DEVICE_PASID);
      s.#faultQueue();
      s.#allocPaging(devId, ioasId, FAULT | PASID);
      s.#test("MOCK_DOMAIN_REPLACE", s.#ids.of("binding"), { pt_id: s.#ids.of("pasid") });
    },
    (s) => {
      const ioasId = s.#newIoas();
      s.#map(ioasId, 0x100_0000n, 8n * PAGE);
      s.#map(ioasId, 0x100_8000n, 8n * PAGE);
      s.#createAccess();
    },
  ];

  static readonly ACTIONS: readonly ((s: MockSequence) => void)[] = [
    (s) => void s.#newIoas(),
    (s) => s.#map(s.#ids.of("ioas"), s.#iova(), s.#length()),
    (s) => s.#map(s.#ids.of("ioas"), s.#iova(), s.#length()),
    (s) => s.#mapFile(),
    (s) => s.#copy(),
    (s) => s.#unmap(),
    (s) => void s.#iommufd.ioasIovaRanges(s.#ids.of("ioas")),
    (s) => s.#allow(),
    (s) => void s.#iommufd.option(1, s.#mostly(1, 0), s.#ids.of("ioas"), BigInt(s.#mostly(0, 1))),
    (s) => s.#destroy(),
    (s) => s.#destroy(),
    (s) => void s.#addDevice(s.#table(), s.#mostly(4, 0, 1, 5, 2)),
    (s) => s.#test("MOCK_DOMAIN_REPLACE", s.#ids.of("binding"), { pt_id: s.#table() }),
    (s) => s.#test("MOCK_DOMAIN_REPLACE", s.#ids.of("binding"), { pt_id: s.#table() }),
    (s) => s.#changePasid(),
    (s) => s.#changePasid(),
    (s) => s.#changePasid(),
    (s) => s.#checkMap(),
    (s) => s.#reserve(),
    (s) => s.#anyPaging(),
    (s) => s.#anyPaging(),
    (s) => s.#nested(),
    (s) => s.#nested(),
    (s) => s.#viommu(),
    (s) => s.#vdevice(),
    (s) => s.#veventq(),
    (s) => s.#test("TRIGGER_VEVENT", 0, { dev_id: s.#ids.of("device") }),
    (s) => s.#test("TRIGGER_VEVENT", 0, { dev_id: s.#ids.of("device") }),
    (s) => s.#read(s.#queues),
    (s) => s.#faultQueue(),
    (s) => s.#requestPage(),
    (s) => s.#requestPage(),
    (s) => s.#read(s.#faults),
    (s) => s.#answer(),
    (s) => s.#invalidate(),
    (s) => s.#invalidate(),
    (s) => s.#checkCaches(),
    (s) => s.#track(),
    (s) => s.#write(),
    (s) => s.#write(),
    (s) => s.#readDirty(),
    (s) => s.#readDirty(),
    (s) => s.#createAccess(),
    (s) => s.#transfer(),
    (s) => s.#transfer(),
    (s) => s.#pin(),
    (s) => s.#test("DESTROY_ACCESS_PAGES", s.#ids.of("access"), { access_pages_id: s.#below(4) }),
    (s) => s.#test("ACCESS_REPLACE_IOAS", s.#ids.of("access"), { ioas_id: s.#ids.of("ioas") }),
    (s) => s.#iommufd.close(s.#ids.of("access")),
    (s) => s.#hwQueue(),
    (s) => void s.#iommufd.getHwInfo(s.#ids.of("device"), s.#mostly(0, SELFTEST.HW_INFO_TYPE, 2)),
  ];

  #below(limit: number): number {
    return this.#random.below(limit);
  }

  #test<O extends TestOp>(
    op: O,
    id: number,
    values: TestValues<O>,
    bytes?: Uint8Array<ArrayBuffer>,
  ): void {
    iommuTest(this.#iommufd, op, id, values, bytes);
  }

  #newIoas(): number {
    return this.#ids.keep("ioas", this.#iommufd.ioasAlloc());
  }

  #addDevice(ptId: number, flags: number): number {
    if (this.#bindings.size >= MOST_DEVICES) return this.#ids.of("device");
    const made = iommuTest(this.#iommufd, "MOCK_DOMAIN_FLAGS", ptId, { dev_flags: flags });
    this.#bindings.set(this.#ids.keep("binding", made.get("out_stdev_id")), new Set());
    return this.#ids.keep("device", made.get("out_idev_id"));
  }

  #detachPasids(binding: number): void {
    for (const pasid of this.#bindings.get(binding) ?? []) {
      this.#attempt((s) => s.#test("PASID_DETACH", binding, { pasid }));
    }
  }

  #destroy(): void {
    const id = this.#ids.any();
    if (this.#bindings.has(id)) this.#detachPasids(id);
    this.#iommufd.destroy(id);
    this.#bindings.delete(id);
  }

  #map(ioasId: number, iova: bigint, length: bigint): void {
    const userVa = this.#seldom(this.#ground.userVa + this.#offset(), PAGE, LAST - PAGE);
    const map = { flags: this.#flags(), ioasId, userVa, length, iova };
    this.#mapped.push({ ioasId, iova: this.#iommufd.ioasMap(map), length });
  }

  #mapFile(): void {
    const { fd, sizeBytes } = this.#ground;
    const map = {
      flags: this.#flags(),
      ioasId: this.#ids.of("ioas"),
      fd: this.#seldom(fd, -1),
      start: this.#seldom(this.#offset(), sizeBytes - PAGE, sizeBytes),
      length: this.#length(),
      iova: this.#iova(),
    };
    this.#mapped.push({ ...map, iova: this.#iommufd.ioasMapFile(map) });
  }

  #copy(): void {
    const { ioasId, iova, length } = this.#range();
    const dstIoasId = this.#ids.of("ioas");
    const made = this.#iommufd.ioasCopy({
      flags: this.#flags(),
      dstIoasId,
      srcIoasId: ioasId,
      length,
      dstIova: this.#iova(),
      srcIova: iova,
    });
    this.#mapped.push({ ioasId: dstIoasId, iova: made, length });
  }

  #unmap(): void {
    const { ioasId, iova, length } = this.#range();
    if (this.#below(6) === 0) this.#iommufd.ioasUnmap(ioasId, 0n, LAST);
    else this.#iommufd.ioasUnmap(ioasId, iova, length);
  }

  #allow(): void {
    const ranges = Array.from({ length: this.#below(3) }, () => {
      const start = this.#iova();
      return { start, last: (start + this.#length()) & LAST };
    });
    this.#iommufd.ioasAllowIovas(this.#ids.of("ioas"), ranges);
  }

  #reserve(): void {
    const range = { start: this.#iova(), length: this.#length() };
    if (this.#below(4) === 0) this.#test("ADD_RESERVED", this.#ids.of("ioas"), range);
  }

  #checkMap(): void {
    const { iova, length } = this.#range();
    if (length > 0x10_0000n) return;
    const uptr = this.#ground.userVa + this.#offset();
    const hwptId = this.#ids.of("paging", "parent", "dirty", "pasid");
    this.#test("MD_CHECK_MAP", hwptId, { iova, length, uptr });
  }

  #changePasid(): void {
    const binding = this.#ids.of("binding");
    const pasid = this.#pasid();
    const ptId = this.#ids.of("pasid", "pasid", "pasid", "nested", "paging", "ioas");
    const op = this.#random.of(["PASID_ATTACH", "PASID_ATTACH", "PASID_REPLACE", "PASID_DETACH"]);
    const pasids = this.#bindings.get(binding);
    // A device that is none any more is not asked to attach, lest nobody detach it.
    if (pasids === undefined && op !== "PASID_DETACH") return;
    if (pasid !== NONE) pasids?.add(pasid);
    if (op === "PASID_DETACH") this.#test(op, binding, { pasid });
    else this.#test(op as "PASID_ATTACH", binding, { pasid, pt_id: ptId });
    const hwptId = this.#mostly(ptId, 0);
    this.#test("PASID_CHECK_HWPT", binding, { pasid, hwpt_id: hwptId });
  }

  #anyPaging(): void {
    const flags = this.#seldom(
      this.#random.of([
        0,
        NEST_PARENT,
        PASID,
        DIRTY,
        DIRTY,
        DIRTY | NEST_PARENT,
        FAULT,
        FAULT | PASID,
      ]),
      16,
      FAULT | NEST_PARENT,
      PASID | NEST_PARENT,
    );
    this.#allocPaging(this.#ids.of("device"), this.#ids.of("ioas"), flags);
  }

  #allocPaging(devId: number, ptId: number, flags: number, type?: number): void {
    // Pages of a table that may merge them are dirty together, by chance: only others are told apart.
    const isHuge = type ?? (flags & DIRTY || this.#below(4) === 0 ? 1 : 0);
    const words = Uint32Array.of(1, this.#seldom(isHuge, isHuge === 1 ? 2 : 1));
    if (flags & DIRTY) words[1] = isHuge;
    const size = this.#seldom(8, 4, 3, 9);
    const data = new Uint8Array(new ArrayBuffer(12));
    data.set(new Uint8Array(words.buffer));
    const hasData = isHuge === 1 || this.#below(3) === 0;
    const hwptId = this.#iommufd.hwptAlloc({
      flags,
      devId,
      ptId,
      dataType: hasData ? this.#seldom(SELFTEST.HWPT_DATA, 2) : 0,
      data: hasData ? data.slice(0, flags & DIRTY ? 8 : size) : undefined,
      faultId: flags & FAULT ? this.#ids.of("queue") : 0,
    });
    const kind = flags & DIRTY
      ? "dirty"
      : flags & PASID
      ? "pasid"
      : flags & NEST_PARENT
      ? "parent"
      : "paging";
    this.#ids.keep(kind, hwptId);
    if (flags & DIRTY && flags & NEST_PARENT) this.#ids.keep("parent", hwptId);
  }

  #nested(): void {
    const flags = this.#mostly(this.#random.of([0, PASID, FAULT, FAULT | PASID]), 1, 16);
    const size = this.#seldom(4, 8, 3, 9);
    const data = Uint8Array.of(0xef, 0xbe, 0xad, 0x0b, 0, 0, 0, 0, 0).slice(0, size);
    const hwptId = this.#iommufd.hwptAlloc({
      flags,
      devId: this.#ids.of("device"),
      ptId: this.#ids.of("viommu", "viommu", "parent"),
      dataType: this.#seldom(SELFTEST.HWPT_DATA, 2),
      data,
      faultId: flags & FAULT ? this.#ids.of("queue") : 0,
    });
    this.#ids.keep("nested", hwptId);
    if (flags & PASID) this.#ids.keep("pasid", hwptId);
  }

  #viommu(): void {
    const size = this.#mostly(0, 24, 8, 4, 25);
    const data = new Uint8Array(new ArrayBuffer(size));
    if (size > 0) data[0] = this.#below(256);
    const viommuId = this.#iommufd.viommuAlloc({
      flags: this.#seldom(0, 1),
      type: this.#seldom(SELFTEST.VIOMMU_TYPE, 1, 0),
      devId: this.#ids.of("device"),
      hwptId: this.#ids.of("parent"),
      data: size > 0 ? data : undefined,
    });
    this.#ids.keep("viommu", viommuId);
  }

  #virtId(): number {
    return this.#mostly(0x99, 0, 0x98, 0x97);
  }

  #vdevice(): void {
    const virtId = this.#seldom(BigInt(this.#virtId()), 0x1_0000_0099n, LAST);
    const [viommuId, devId] = [this.#ids.of("viommu"), this.#ids.of("device")];
    this.#ids.keep("vdevice", this.#iommufd.vdeviceAlloc({ viommuId, devId, virtId }));
  }

  #veventq(): void {
    const queue = this.#iommufd.veventqAlloc({
      flags: this.#seldom(0, 1),
      viommuId: this.#ids.of("viommu"),
      type: this.#mostly(SELFTEST.VEVENTQ_TYPE, 1, 0),
      depth: this.#mostly(1 + this.#below(3), 0, (1 << 19) + 1),
    });
    this.#keepQueue(queue, this.#queues);
  }

  #faultQueue(): void {
    this.#keepQueue(this.#iommufd.faultQueueAlloc(this.#seldom(0, 1)), this.#faults);
  }

  #keepQueue(queue: RecordQueue, among: RecordQueue[]): void {
    this.#ids.keep("queue", queue.id);
    if (this.#below(6) === 0) queue[Symbol.dispose]();
    else among.push(queue);
  }

  #read(queues: readonly RecordQueue[]): void {
    if (queues.length === 0) return;
    const into = new Uint8Array(new ArrayBuffer(this.#random.of([40, 80, 120, 400, 12, 24, 8, 7])));
    const size = this.#random.of(queues).read(into);
    const view = new DataView(into.buffer);
    if (queues !== this.#faults) return;
    for (let at = 0; at < size; at += 40) this.#cookies.push(view.getUint32(at + 36, true));
  }

  #answer(): void {
    if (this.#faults.length === 0) return;
    const words = Array.from({ length: 1 + this.#below(2) }, () => {
      const cookie = this.#cookies.length > 0 ? this.#random.of(this.#cookies) : this.#below(4);
      return [cookie, this.#seldom(this.#below(2), 2)];
    });
    const bytes = new Uint8Array(new Uint32Array(words.flat()).buffer);
    this.#random.of(this.#faults).write(this.#seldom(bytes, bytes.slice(0, 7)));
  }

  #requestPage(): void {
    this.#test("TRIGGER_IOPF", 0, {
      dev_id: this.#ids.of("device"),
      pasid: this.#mostly(0, ...PASIDS),
      grpid: this.#below(8),
      perm: 1 + this.#below(3),
      addr: this.#iova(),
    });
  }

  #invalidate(): void {
    const isVirtual = this.#below(2) === 0;
    const usual = isVirtual ? 3 : 2;
    const count = this.#seldom(1 + this.#below(3), 0);
    const words = this.#seldom(usual, usual + 1, usual - 1);
    const entries = new Uint32Array(Math.max(count * words, 4));
    for (let i = 0; i < count; i++) {
      const entry = [
        this.#mostly(0, 1, 8),
        ...isVirtual ? [this.#virtId()] : [],
        this.#seldom(this.#below(4), 4),
        this.#mostly(0, 1),
      ];
      entries.set(entry.slice(0, words), i * words);
    }
    this.#iommufd.hwptInvalidate({
      hwptId: isVirtual ? this.#ids.of("viommu") : this.#ids.of("nested"),
      dataType: this.#seldom(SELFTEST.VIOMMU_INVALIDATE_DATA, 0xdad_beef, 1),
      entryLength: words * 4,
      count,
      entries: new Uint8Array(entries.buffer),
    });
  }

  #checkCaches(): void {
    for (let index = 0; index < 4; index++) {
      const [iotlb, cache] = [this.#random.of([0, 0xbad_beef]), SELFTEST.DEV_CACHE_DEFAULT];
      this.#attempt((s) => s.#test("MD_CHECK_IOTLB", s.#ids.of("nested"), { index, iotlb }));
      this.#attempt((s) => s.#test("DEV_CHECK_CACHE", s.#ids.of("device"), { index, cache }));
    }
  }

  #track(): void {
    this.#iommufd.hwptSetDirtyTracking(this.#ids.of("dirty"), this.#mostly(1, 0, 2));
  }

  #write(): void {
    const { iova, length } = this.#range();
    if (length > 0x10_0000n) return;
    const bits = new Uint8Array(new ArrayBuffer(Number(length / 0x800n) + 8));
    for (let i = 0; i < bits.length; i++) bits[i] = this.#below(256) & this.#below(256);
    const pageSize = this.#mostly(PAGE, 0x800n, 0x2000n, 0n);
    const where = { flags: 0, iova, length, page_size: pageSize };
    this.#test("DIRTY", this.#ids.of("dirty"), where, bits);
  }

  #readDirty(): void {
    const { iova, length } = this.#range();
    const pageSize = this.#mostly(PAGE, 0x2000n, 0x800n, 0x3000n, 3n, 0n, 0x4000n);
    const unit = pageSize === 0n ? PAGE : pageSize & -pageSize;
    // More than all that is mapped can have, of which no more than the first areas are told.
    const most = length < 0x20_0000n ? length : 0x20_0000n;
    this.#iommufd.hwptGetDirtyBitmap({
      hwptId: this.#ids.of("dirty", "dirty", "dirty", "paging"),
      flags: this.#mostly(0, 1, 2),
      iova,
      length,
      pageSize,
      bitmap: new Uint8Array(new ArrayBuffer(Number(most / unit / 8n) + 64)),
    });
  }

  #createAccess(): void {
    const flags = this.#mostly(this.#below(2), 2);
    const made = iommuTest(this.#iommufd, "CREATE_ACCESS", this.#ids.of("ioas"), { flags });
    this.#ids.keep("access", made.get("out_access_fd"));
  }

  #transfer(): void {
    const { iova, length } = this.#range();
    const inPage = BigInt(this.#mostly(0, 1, 0xffe, 0x7ff));
    const some = length > 0x10_0000n ? length : this.#mostly(length, 1n, 4n);
    const size = Number(some < 0x20_0000n ? some : 8n);
    const bytes = new Uint8Array(new ArrayBuffer(Math.max(size, 8)));
    for (let i = 0; i < 8; i++) bytes[i] = this.#below(256);
    const flags = this.#seldom(this.#random.of([0, 1, 4, 5]), 2);
    const where = { iova: (iova + inPage) & LAST, length: some, flags };
    this.#test("ACCESS_RW", this.#ids.of("access"), where, bytes);
  }

  #pin(): void {
    const { iova, length } = this.#range();
    const where = { iova, length, flags: this.#mostly(this.#below(2), 2) };
    this.#test("ACCESS_PAGES", this.#ids.of("access"), where);
  }

  #hwQueue(): void {
    const { iova } = this.#range();
    // Whether two pages lie one after the other is not ours to know: a queue has one.
    const inPage = this.#seldom(0n, 0x10n);
    const queueId = this.#iommufd.hwQueueAlloc({
      flags: this.#seldom(0, 1),
      viommuId: this.#ids.of("viommu"),
      type: this.#seldom(SELFTEST.HW_QUEUE_TYPE, 0, 1),
      index: this.#seldom(this.#below(2), 2),
      nestingParentIova: (iova & -PAGE) + inPage,
      length: this.#seldom(PAGE - inPage, 0n, 1n << 41n, LAST - iova),
    });
    this.#ids.keep("queue", queueId);
  }
}

const { BEGINNINGS, ACTIONS } = MockSequence;
