/**
 * Calls of iommufd on devices of the kernel's mock driver, good and bad, drawn from a seed: what VFIO devices of an
 * emulated machine cannot be asked, such as PASIDs, dirty pages, page requests, events and accesses.
 * @module
 */
import { SystemError } from "../../uapi/errno.ts";
import type { RecordQueue } from "../../vmm/iommufd/iommufd.ts";
import { MOCK, SELFTEST, type TestOp } from "./iommufd_test_abi.ts";
import { Choices } from "./choices.ts";
import { KnownIds } from "./known_ids.ts";
import { MemoryCalls, type MemoryGround } from "./memory_calls.ts";
import { iommuTest, type TestValues } from "./mock_device.ts";
import type { Random } from "../../vmm/random.ts";
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
export interface MockGround extends MemoryGround {
  readonly iommufd: TwinTestIommufd;
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

type Action = (sequence: MockSequence) => void;

/** What a sequence is about. */
interface Theme {
  readonly begin: Action;
  readonly actions: readonly Action[];
}

/** One sequence. */
export class MockSequence {
  readonly #ground: MockGround;
  readonly #choices: Choices;
  readonly #ids: KnownIds<Kind>;
  readonly #queues: RecordQueue[] = [];
  readonly #faults: RecordQueue[] = [];
  readonly #cookies: number[] = [];
  /** What stands for mock devices, with the PASIDs that may be attached. */
  readonly #bindings = new Map<number, Set<number>>();
  readonly #memory: MemoryCalls;

  /** Draws from `random`. */
  constructor(ground: MockGround, random: Random) {
    this.#ground = ground;
    this.#choices = new Choices(random);
    const ids = new KnownIds<Kind>(random);
    this.#ids = ids;
    this.#memory = new MemoryCalls(ground, this.#choices, () => ids.of("ioas"));
  }

  /** Makes so many calls. What is refused is part of it. */
  run(count: number): void {
    const { begin, actions } = this.#choices.of(THEMES);
    this.#setUsual(true);
    this.#attempt(begin);
    this.#setUsual(false);
    for (let i = 0; i < count; i++) {
      const { actions: other } = this.#choices.of(THEMES);
      this.#attempt(
        this.#choices.of(this.#choices.of([actions, actions, actions, COMMON, COMMON, other])),
      );
    }
  }

  /** Closes what the kernel does not close by itself. */
  end(): void {
    // A test that destroys a device with PASIDs leaves the kernel with a warning: its users never do.
    for (const binding of this.#bindings.keys()) this.#detachPasids(binding);
    for (const queue of [...this.#queues, ...this.#faults]) queue[Symbol.dispose]();
  }

  #setUsual(isUsual: boolean): void {
    this.#choices.isUsual = isUsual;
    this.#ids.isExact = isUsual;
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

  /** What can be attached. */
  #table(): number {
    return this.#ids.of("ioas", "paging", "pasid", "dirty", "parent", "nested", "nested");
  }

  #pasid(): number {
    return this.#choices.mostly<number>(...PASIDS);
  }

  static readonly COMMON: readonly Action[] = [
    (s) => void s.#newIoas(),
    (s) => s.#mapAnywhere(),
    (s) => s.#mapAnywhere(),
    (s) => s.#memory.mapFile(),
    (s) => s.#memory.copy(),
    (s) => s.#memory.unmap(),
    (s) => void s.#iommufd.ioasIovaRanges(s.#ids.of("ioas")),
    (s) => s.#memory.allow(),
    (s) => s.#option(),
    (s) => s.#destroy(),
    (s) => s.#destroy(),
    (s) => void s.#addDevice(s.#table(), s.#choices.mostly(4, 0, 1, 5, 2)),
    (s) => s.#replace(),
    (s) => s.#checkMap(),
    (s) => s.#reserve(),
    (s) => s.#anyPaging(),
    (s) => s.#getHwInfo(),
  ];

  static readonly THEMES: readonly Theme[] = [
    {
      begin: (s) => {
        const ioasId = s.#newIoas();
        const devId = s.#addDevice(ioasId, MOCK.FLAGS_DEVICE_PASID);
        for (let i = 0; i < 2; i++) s.#allocPaging(devId, ioasId, PASID);
        s.#replaceBy(s.#ids.of("pasid"));
      },
      actions: [
        (s) => s.#changePasid(),
        (s) => s.#changePasid(),
        (s) => s.#changePasid(),
        (s) => s.#anyPaging(),
        (s) => s.#nested(),
        (s) => s.#replace(),
      ],
    },
    {
      begin: (s) => {
        const devId = s.#addDevice(s.#newIoas(), 0);
        const ioasId = s.#newIoas();
        s.#memory.map(ioasId, HUGE_LAST + 1n - 16n * PAGE, 16n * PAGE);
        s.#memory.map(ioasId, 0x100_0000n, 12n * PAGE);
        s.#memory.map(ioasId, 0x100_c000n, 5n * PAGE);
        s.#allocPaging(devId, ioasId, DIRTY, MOCK.IOMMUPT_HUGE);
        s.#replaceBy(s.#ids.of("dirty"));
        s.#iommufd.hwptSetDirtyTracking(s.#ids.of("dirty"), 1);
      },
      actions: [
        (s) => s.#track(),
        (s) => s.#write(),
        (s) => s.#write(),
        (s) => s.#write(),
        (s) => s.#readDirty(),
        (s) => s.#readDirty(),
        (s) => s.#readDirty(),
        (s) => s.#mapAnywhere(),
        (s) => s.#memory.unmap(),
      ],
    },
    {
      begin: (s) => {
        const ioasId = s.#newIoas();
        const flags = s.#choices.of([0, MOCK.FLAGS_DEVICE_PASID]);
        const devId = s.#addDevice(ioasId, flags);
        s.#memory.map(ioasId, 0x100_0000n, 4n * PAGE);
        s.#allocPaging(devId, ioasId, NEST_PARENT);
        s.#viommu();
        s.#vdevice();
        s.#veventq();
        s.#nested();
        s.#replaceBy(s.#ids.of("nested"));
      },
      actions: [
        (s) => s.#nested(),
        (s) => s.#viommu(),
        (s) => s.#vdevice(),
        (s) => s.#veventq(),
        (s) => s.#triggerEvent(),
        (s) => s.#triggerEvent(),
        (s) => s.#triggerEvent(),
        (s) => s.#triggerEvent(),
        (s) => s.#read(s.#queues),
        (s) => s.#invalidate(),
        (s) => s.#invalidate(),
        (s) => s.#checkCaches(),
        (s) => s.#hwQueue(),
        (s) => s.#hwQueue(),
      ],
    },
    {
      begin: (s) => {
        const ioasId = s.#newIoas();
        const devId = s.#addDevice(ioasId, MOCK.FLAGS_DEVICE_PASID);
        s.#faultQueue();
        s.#allocPaging(devId, ioasId, FAULT | PASID);
        s.#allocPaging(devId, ioasId, FAULT | PASID);
        s.#replaceBy(s.#ids.of("pasid"));
      },
      actions: [
        (s) => s.#faultQueue(),
        (s) => s.#requestPage(),
        (s) => s.#requestPage(),
        (s) => s.#requestPage(),
        (s) => s.#requestPage(),
        (s) => s.#read(s.#faults),
        (s) => s.#read(s.#faults),
        (s) => s.#answer(),
        (s) => s.#answer(),
        (s) => s.#changePasid(),
        (s) => s.#changePasid(),
        (s) => s.#replace(),
      ],
    },
    {
      begin: (s) => {
        const ioasId = s.#newIoas();
        s.#memory.map(ioasId, 0x100_0000n, 8n * PAGE);
        s.#memory.map(ioasId, 0x100_8000n, 8n * PAGE);
        s.#createAccess();
      },
      actions: [
        (s) => s.#createAccess(),
        (s) => s.#transfer(),
        (s) => s.#transfer(),
        (s) => s.#transfer(),
        (s) => s.#pin(),
        (s) => s.#pin(),
        (s) => s.#pin(),
        (s) => s.#unpin(),
        (s) => s.#moveAccess(),
        (s) => s.#iommufd.close(s.#ids.of("access")),
        (s) => s.#memory.unmap(),
      ],
    },
  ];

  #test<O extends TestOp>(
    op: O,
    id: number,
    values: TestValues<O>,
    bytes?: Uint8Array<ArrayBuffer>,
  ): void {
    iommuTest(this.#iommufd, op, id, values, bytes);
  }

  #mapAnywhere(): void {
    this.#memory.map(this.#ids.of("ioas"), this.#memory.iova(), this.#memory.length());
  }

  #replace(): void {
    this.#replaceBy(this.#table());
  }

  #replaceBy(ptId: number): void {
    this.#test("MOCK_DOMAIN_REPLACE", this.#ids.of("binding"), { pt_id: ptId });
  }

  #option(): void {
    const value = BigInt(this.#choices.mostly(0, 1));
    this.#iommufd.option(1, this.#choices.mostly(1, 0), this.#ids.of("ioas"), value);
  }

  #getHwInfo(): void {
    const type = this.#choices.mostly(0, SELFTEST.HW_INFO_TYPE, 2);
    this.#iommufd.getHwInfo(this.#ids.of("device"), type);
  }

  #triggerEvent(): void {
    this.#test("TRIGGER_VEVENT", 0, { dev_id: this.#ids.of("device") });
  }

  #unpin(): void {
    const item = this.#choices.below(4);
    this.#test("DESTROY_ACCESS_PAGES", this.#ids.of("access"), { access_pages_id: item });
  }

  #moveAccess(): void {
    const ioasId = this.#ids.of("ioas");
    this.#test("ACCESS_REPLACE_IOAS", this.#ids.of("access"), { ioas_id: ioasId });
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

  #reserve(): void {
    const range = { start: this.#memory.iova(), length: this.#memory.length() };
    if (this.#choices.below(4) === 0) this.#test("ADD_RESERVED", this.#ids.of("ioas"), range);
  }

  #checkMap(): void {
    const { iova, length, userVa } = this.#memory.placed();
    // What lies beyond our memory is not ours to know.
    if (length > 0x1_0000n) return;
    const hwptId = this.#ids.of("paging", "parent", "dirty", "pasid");
    this.#test("MD_CHECK_MAP", hwptId, { iova, length, uptr: userVa });
  }

  #changePasid(): void {
    const binding = this.#ids.of("binding");
    const pasid = this.#pasid();
    const ptId = this.#ids.of("pasid", "pasid", "pasid", "nested", "paging", "ioas");
    const op = this.#choices.of(["PASID_ATTACH", "PASID_ATTACH", "PASID_REPLACE", "PASID_DETACH"]);
    const pasids = this.#bindings.get(binding);
    // A device that is none any more is not asked to attach, lest nobody detach it.
    if (pasids === undefined && op !== "PASID_DETACH") return;
    if (pasid !== NONE) pasids?.add(pasid);
    if (op === "PASID_DETACH") this.#test(op, binding, { pasid });
    else this.#test(op as "PASID_ATTACH", binding, { pasid, pt_id: ptId });
    const hwptId = this.#choices.mostly(ptId, 0);
    this.#test("PASID_CHECK_HWPT", binding, { pasid, hwpt_id: hwptId });
  }

  #anyPaging(): void {
    const flags = this.#choices.nearlyAlways(
      this.#choices.of([
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
    const isHuge = type ?? (flags & DIRTY || this.#choices.below(4) === 0 ? 1 : 0);
    const words = Uint32Array.of(1, this.#choices.nearlyAlways(isHuge, isHuge === 1 ? 2 : 1));
    if (flags & DIRTY) words[1] = isHuge;
    const size = this.#choices.nearlyAlways(8, 4, 3, 9);
    const data = new Uint8Array(new ArrayBuffer(12));
    data.set(new Uint8Array(words.buffer));
    const hasData = isHuge === 1 || this.#choices.below(3) === 0;
    const hwptId = this.#iommufd.hwptAlloc({
      flags,
      devId,
      ptId,
      dataType: hasData ? this.#choices.nearlyAlways(SELFTEST.HWPT_DATA, 2) : 0,
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
    const flags = this.#choices.mostly(this.#choices.of([0, PASID, FAULT, FAULT | PASID]), 1, 16);
    const size = this.#choices.nearlyAlways(4, 8, 3, 9);
    const data = Uint8Array.of(0xef, 0xbe, 0xad, 0x0b, 0, 0, 0, 0, 0).slice(0, size);
    const hwptId = this.#iommufd.hwptAlloc({
      flags,
      devId: this.#ids.of("device"),
      ptId: this.#ids.of("viommu", "viommu", "parent"),
      dataType: this.#choices.nearlyAlways(SELFTEST.HWPT_DATA, 2),
      data,
      faultId: flags & FAULT ? this.#ids.of("queue") : 0,
    });
    this.#ids.keep("nested", hwptId);
    if (flags & PASID) this.#ids.keep("pasid", hwptId);
  }

  #viommu(): void {
    const size = this.#choices.mostly(0, 24, 8, 4, 25);
    const data = new Uint8Array(new ArrayBuffer(size));
    if (size > 0) data[0] = this.#choices.below(256);
    const viommuId = this.#iommufd.viommuAlloc({
      flags: this.#choices.nearlyAlways(0, 1),
      type: this.#choices.nearlyAlways(SELFTEST.VIOMMU_TYPE, 1, 0),
      devId: this.#ids.of("device"),
      hwptId: this.#ids.of("parent"),
      data: size > 0 ? data : undefined,
    });
    this.#ids.keep("viommu", viommuId);
  }

  #virtId(): number {
    return this.#choices.mostly(0x99, 0, 0x98, 0x97);
  }

  #vdevice(): void {
    const virtId = this.#choices.nearlyAlways(BigInt(this.#virtId()), 0x1_0000_0099n, LAST);
    const [viommuId, devId] = [this.#ids.of("viommu"), this.#ids.of("device")];
    this.#ids.keep("vdevice", this.#iommufd.vdeviceAlloc({ viommuId, devId, virtId }));
  }

  #veventq(): void {
    const queue = this.#iommufd.veventqAlloc({
      flags: this.#choices.nearlyAlways(0, 1),
      viommuId: this.#ids.of("viommu"),
      type: this.#choices.mostly(SELFTEST.VEVENTQ_TYPE, 1, 0),
      depth: this.#choices.mostly(1 + this.#choices.below(3), 0, (1 << 19) + 1),
    });
    this.#keepQueue(queue, this.#queues);
  }

  #faultQueue(): void {
    this.#keepQueue(this.#iommufd.faultQueueAlloc(this.#choices.nearlyAlways(0, 1)), this.#faults);
  }

  #keepQueue(queue: RecordQueue, among: RecordQueue[]): void {
    this.#ids.keep("queue", queue.id);
    if (this.#choices.below(6) === 0) queue[Symbol.dispose]();
    else among.push(queue);
  }

  #read(queues: readonly RecordQueue[]): void {
    if (queues.length === 0) return;
    const into = new Uint8Array(
      new ArrayBuffer(this.#choices.of([40, 80, 120, 400, 12, 24, 8, 7])),
    );
    const size = this.#choices.of(queues).read(into);
    const view = new DataView(into.buffer);
    if (queues !== this.#faults) return;
    for (let at = 0; at < size; at += 40) this.#cookies.push(view.getUint32(at + 36, true));
  }

  #answer(): void {
    if (this.#faults.length === 0) return;
    const words = Array.from({ length: 1 + this.#choices.below(2) }, () => {
      const cookie = this.#cookies.length > 0
        ? this.#choices.of(this.#cookies)
        : this.#choices.below(4);
      return [cookie, this.#choices.nearlyAlways(this.#choices.below(2), 2)];
    });
    const bytes = new Uint8Array(new Uint32Array(words.flat()).buffer);
    this.#choices.of(this.#faults).write(this.#choices.nearlyAlways(bytes, bytes.slice(0, 7)));
  }

  #requestPage(): void {
    this.#test("TRIGGER_IOPF", 0, {
      dev_id: this.#ids.of("device"),
      pasid: this.#choices.mostly(0, ...PASIDS),
      grpid: this.#choices.below(8),
      perm: 1 + this.#choices.below(3),
      addr: this.#memory.iova(),
    });
  }

  #invalidate(): void {
    const isVirtual = this.#choices.below(2) === 0;
    const usual = isVirtual ? 3 : 2;
    const count = this.#choices.nearlyAlways(1 + this.#choices.below(3), 0);
    const words = this.#choices.nearlyAlways(usual, usual + 1, usual - 1);
    const entries = new Uint32Array(Math.max(count * words, 4));
    for (let i = 0; i < count; i++) {
      const entry = [
        this.#choices.mostly(0, 1, 8),
        ...isVirtual ? [this.#virtId()] : [],
        this.#choices.nearlyAlways(this.#choices.below(4), 4),
        this.#choices.mostly(0, 1),
      ];
      entries.set(entry.slice(0, words), i * words);
    }
    this.#iommufd.hwptInvalidate({
      hwptId: isVirtual ? this.#ids.of("viommu") : this.#ids.of("nested"),
      dataType: this.#choices.nearlyAlways(SELFTEST.VIOMMU_INVALIDATE_DATA, 0xdad_beef, 1),
      entryLength: words * 4,
      count,
      entries: new Uint8Array(entries.buffer),
    });
  }

  #checkCaches(): void {
    for (let index = 0; index < 4; index++) {
      const [iotlb, cache] = [this.#choices.of([0, 0xbad_beef]), SELFTEST.DEV_CACHE_DEFAULT];
      this.#attempt((s) => s.#test("MD_CHECK_IOTLB", s.#ids.of("nested"), { index, iotlb }));
      this.#attempt((s) => s.#test("DEV_CHECK_CACHE", s.#ids.of("device"), { index, cache }));
    }
  }

  #track(): void {
    this.#iommufd.hwptSetDirtyTracking(this.#ids.of("dirty"), this.#choices.mostly(1, 0, 2));
  }

  #write(): void {
    const { iova, length } = this.#memory.range();
    if (length > 0x10_0000n) return;
    const bits = new Uint8Array(new ArrayBuffer(Number(length / 0x800n) + 8));
    for (let i = 0; i < bits.length; i++) {
      bits[i] = this.#choices.below(256) & this.#choices.below(256);
    }
    const pageSize = this.#choices.mostly(PAGE, 0x800n, 0x2000n, 0n);
    const where = { flags: 0, iova, length, page_size: pageSize };
    this.#test("DIRTY", this.#ids.of("dirty"), where, bits);
  }

  #readDirty(): void {
    const { iova, length } = this.#memory.range();
    const pageSize = this.#choices.mostly(PAGE, 0x2000n, 0x800n, 0x3000n, 3n, 0n, 0x4000n);
    const unit = pageSize === 0n ? PAGE : pageSize & -pageSize;
    // More than all that is mapped can have, of which no more than the first areas are told.
    const most = length < 0x20_0000n ? length : 0x20_0000n;
    this.#iommufd.hwptGetDirtyBitmap({
      hwptId: this.#ids.of("dirty", "dirty", "dirty", "paging"),
      flags: this.#choices.mostly(0, 1, 2),
      iova,
      length,
      pageSize,
      bitmap: new Uint8Array(new ArrayBuffer(Number(most / unit / 8n) + 64)),
    });
  }

  #createAccess(): void {
    const flags = this.#choices.mostly(this.#choices.below(2), 2);
    const made = iommuTest(this.#iommufd, "CREATE_ACCESS", this.#ids.of("ioas"), { flags });
    this.#ids.keep("access", made.get("out_access_fd"));
  }

  #transfer(): void {
    const { iova, length } = this.#memory.range();
    const inPage = BigInt(this.#choices.mostly(0, 1, 0xffe, 0x7ff));
    const some = length > 0x10_0000n ? length : this.#choices.mostly(length, 1n, 4n);
    const size = Number(some < 0x20_0000n ? some : 8n);
    const bytes = new Uint8Array(new ArrayBuffer(Math.max(size, 8)));
    for (let i = 0; i < 8; i++) bytes[i] = this.#choices.below(256);
    const flags = this.#choices.nearlyAlways(this.#choices.of([0, 1, 4, 5]), 2);
    const where = { iova: (iova + inPage) & LAST, length: some, flags };
    this.#test("ACCESS_RW", this.#ids.of("access"), where, bytes);
  }

  #pin(): void {
    const { iova, length } = this.#memory.range();
    const where = { iova, length, flags: this.#choices.mostly(this.#choices.below(2), 2) };
    this.#test("ACCESS_PAGES", this.#ids.of("access"), where);
  }

  #hwQueue(): void {
    const { iova } = this.#memory.range();
    // Whether two pages lie one after the other is not ours to know: a queue has one.
    const inPage = this.#choices.nearlyAlways(0n, 0x10n);
    const queueId = this.#iommufd.hwQueueAlloc({
      flags: this.#choices.nearlyAlways(0, 1),
      viommuId: this.#ids.of("viommu"),
      type: this.#choices.nearlyAlways(SELFTEST.HW_QUEUE_TYPE, 0, 1),
      index: this.#choices.nearlyAlways(this.#choices.below(2), 2),
      nestingParentIova: (iova & -PAGE) + inPage,
      length: this.#choices.nearlyAlways(PAGE - inPage, 0n, 1n << 41n, LAST - iova),
    });
    this.#ids.keep("queue", queueId);
  }
}

const { COMMON, THEMES } = MockSequence;
