/**
 * The kernel's mock driver for the embedded model: its domains, vIOMMUs, queues and caches, with its mistakes that are
 * on purpose. As drivers/iommu/iommufd/selftest.c of Linux 7.3 has it.
 * @module
 */
import { ERRNO } from "../../uapi/errno.ts";
import type { InvalidateResult } from "../../vmm/iommufd/iommufd.ts";
import { DirtyLog } from "../../vmm/iommufd/model/dirty_log.ts";
import type {
  Domain,
  Driver,
  DriverDevice,
  DriverHwQueue,
  DriverViommu,
  HwQueueDriver,
  Invalidation,
  PagingDomain,
  UserData,
} from "../../vmm/iommufd/model/driver.ts";
import type { IoPagetable } from "../../vmm/iommufd/model/io_pagetable.ts";
import { refuse } from "../../vmm/iommufd/model/objects.ts";
import {
  iommu_hwpt_selftest,
  iommu_viommu_event_selftest,
  iommu_viommu_selftest,
  MOCK,
  SELFTEST,
} from "./iommufd_test_abi.ts";

const [NEST_PARENT, DIRTY_TRACKING, PASID] = [1, 2, 8];
const [CAP_DIRTY, CAP_NO_ATS] = [1n, 8n];
const PAGE = 4096n;
/** A table of three levels with 2 KiB pages. */
const HUGE_LAST = (1n << 38n) - 1n;
const MMAP_SIZE = 0x2000;

/** What the mock driver knows about a device. */
interface MockState {
  viommu: MockViommu | undefined;
  virtId: bigint;
  readonly cache: number[];
  /** The next PASID 1024 fails. */
  failsNext: boolean;
}

/** The mock IOMMU, which all its devices have in common. */
export class MockIommu {
  readonly #states = new WeakMap<DriverDevice, MockState>();
  readonly #offsets = new Set<number>();

  /** What is known about a device. */
  of(device: DriverDevice): MockState {
    let state = this.#states.get(device);
    if (state === undefined) {
      const cache = new Array<number>(MOCK.DEV_CACHE_NUM).fill(SELFTEST.DEV_CACHE_DEFAULT);
      state = { viommu: undefined, virtId: 0n, cache, failsNext: false };
      this.#states.set(device, state);
    }
    return state;
  }

  /** The lowest free offset for a vIOMMU's pages. */
  takeOffset(): number {
    let offset = 0x1000;
    while (this.#offsets.has(offset)) offset += MMAP_SIZE;
    this.#offsets.add(offset);
    return offset;
  }

  /** Gives it back. */
  freeOffset(offset: number): void {
    this.#offsets.delete(offset);
  }

  /** IOMMU_TEST_OP_TRIGGER_VEVENT. */
  triggerEvent(device: DriverDevice, call: string): void {
    const { viommu, virtId } = this.of(device);
    if (viommu === undefined || virtId === 0n) refuse(call, ERRNO.ENOENT);
    const payload = new Uint8Array(iommu_viommu_event_selftest.size);
    new DataView(payload.buffer).setUint32(0, Number(virtId & 0xffff_ffffn), true);
    const isSent = viommu!.events?.(SELFTEST.VEVENTQ_TYPE, payload) ?? false;
    if (!isSent) refuse(call, ERRNO.EOPNOTSUPP);
  }
}

/** The driver, for devices with such flags. */
export class MockDriver implements Driver {
  readonly iommu: MockIommu;
  readonly hwInfoType = SELFTEST.HW_INFO_TYPE;
  readonly hwInfo = new Uint8Array(Uint32Array.of(0, SELFTEST.HW_INFO_REGVAL).buffer);
  readonly pasids: number;
  readonly capabilities: bigint;
  readonly hasDirtyTracking: boolean;
  readonly reserved = [];

  constructor(iommu: MockIommu, flags: number) {
    this.iommu = iommu;
    this.hasDirtyTracking = (flags & MOCK.FLAGS_DEVICE_NO_DIRTY) === 0;
    // One without is one with PASIDs of no bits, which is not the same as one that knows of none.
    this.pasids = flags & MOCK.FLAGS_DEVICE_PASID ? 2 ** MOCK.PASID_WIDTH : 1;
    this.capabilities = CAP_NO_ATS | (this.hasDirtyTracking ? CAP_DIRTY : 0n);
  }

  allocPaging(_table: IoPagetable, flags: number, data: UserData | undefined): PagingDomain {
    const call = "IOMMU_HWPT_ALLOC";
    const known = DIRTY_TRACKING | NEST_PARENT | PASID;
    if ((flags & ~known) !== 0) refuse(call, ERRNO.EOPNOTSUPP);
    const isDirty = (flags & DIRTY_TRACKING) !== 0;
    if (isDirty && !this.hasDirtyTracking) refuse(call, ERRNO.EOPNOTSUPP);
    if (data !== undefined && data.type !== SELFTEST.HWPT_DATA) refuse(call, ERRNO.EOPNOTSUPP);
    const type = data === undefined ? 0 : selftestData(data)[1];
    if (type !== MOCK.IOMMUPT_DEFAULT && type !== MOCK.IOMMUPT_HUGE) {
      refuse(call, ERRNO.EOPNOTSUPP);
    }
    return new MockPaging(this.iommu, type === MOCK.IOMMUPT_HUGE, isDirty);
  }

  allocNested(_parent: PagingDomain, flags: number, data: UserData): Domain {
    if ((flags & ~PASID) !== 0) refuse("IOMMU_HWPT_ALLOC", ERRNO.EOPNOTSUPP);
    return new MockNested(this.iommu, undefined, data);
  }

  blockPasid(device: DriverDevice, pasid: number): void {
    if (pasid === SELFTEST.PASID_RESERVED) this.iommu.of(device).failsNext = false;
  }

  hasViommu(type: number): boolean {
    return type === SELFTEST.VIOMMU_TYPE;
  }

  allocViommu(
    _type: number,
    _parent: PagingDomain,
    _table: IoPagetable,
    data: UserData | undefined,
  ): DriverViommu {
    return new MockViommu(this.iommu, data);
  }
}

/** What a device is attached to: it is all the same to the mock driver, but for vIOMMUs. */
abstract class MockDomain implements Domain {
  protected readonly iommu: MockIommu;

  constructor(iommu: MockIommu) {
    this.iommu = iommu;
  }

  abstract attach(device: DriverDevice): void;

  readonly attachPasid = (device: DriverDevice, pasid: number): void => {
    if (pasid !== SELFTEST.PASID_RESERVED) return;
    const state = this.iommu.of(device);
    state.failsNext = !state.failsNext;
    if (!state.failsNext) refuse("attach a PASID", ERRNO.ENOMEM);
  };
}

/** A paging domain. */
export class MockPaging extends MockDomain implements PagingDomain {
  readonly aperture: { readonly start: bigint; readonly last: bigint };
  readonly pageSize: bigint;
  readonly dirty: DirtyLog | undefined;

  constructor(iommu: MockIommu, isHuge: boolean, isDirty: boolean) {
    super(iommu);
    this.aperture = isHuge
      ? { start: 0n, last: HUGE_LAST }
      : { start: BigInt(MOCK.APERTURE_START), last: BigInt(MOCK.APERTURE_LAST) };
    this.pageSize = isHuge ? PAGE : BigInt(MOCK.PAGE_SIZE);
    this.dirty = isDirty ? new DirtyLog(PAGE) : undefined;
  }

  readonly unmapped = (start: bigint, last: bigint): void => this.dirty?.forget(start, last);

  attach(device: DriverDevice & { readonly driver?: Driver }): void {
    if (this.dirty !== undefined && device.driver?.hasDirtyTracking === false) {
      refuse("attach a device", ERRNO.EINVAL);
    }
    this.iommu.of(device).viommu = undefined;
  }
}

/** A nested domain, with a cache that only tests see. */
export class MockNested extends MockDomain {
  readonly iotlb: number[];
  readonly #viommu: MockViommu | undefined;

  constructor(iommu: MockIommu, viommu: MockViommu | undefined, data: UserData) {
    super(iommu);
    if (data.type !== SELFTEST.HWPT_DATA) refuse("IOMMU_HWPT_ALLOC", ERRNO.EOPNOTSUPP);
    this.iotlb = new Array(MOCK.NESTED_DOMAIN_IOTLB_NUM).fill(selftestData(data)[0]);
    this.#viommu = viommu;
  }

  attach(device: DriverDevice): void {
    const state = this.iommu.of(device);
    const viommu = this.#viommu;
    const virtId = viommu === undefined ? 0n : device.virtIdAt(viommu);
    if (virtId === undefined) return refuse("attach a device", ERRNO.ENOENT);
    // At the same vIOMMU it keeps the name that it had there.
    if (viommu !== state.viommu) [state.viommu, state.virtId] = [viommu, virtId];
    device.leave = (): void => void (state.viommu = undefined);
  }

  readonly invalidate = (invalidation: Invalidation): InvalidateResult => {
    const { type, entryLength, count, entries } = invalidation;
    if (type !== SELFTEST.HWPT_INVALIDATE_DATA) return { errno: ERRNO.EINVAL, handled: 0 };
    const view = new DataView(entries.buffer, entries.byteOffset);
    for (let i = 0; i < count; i++) {
      if (entryLength !== 8) return { errno: ERRNO.EINVAL, handled: i };
      const flags = view.getUint32(i * 8, true);
      const errno = clear(this.iotlb, flags, view.getUint32(i * 8 + 4, true));
      if (errno !== 0) return { errno, handled: i };
    }
    return { errno: 0, handled: count };
  };
}

/** A vIOMMU. */
class MockViommu implements DriverViommu {
  events: ((type: number, payload: Uint8Array) => boolean) | undefined;
  readonly #iommu: MockIommu;
  readonly #devices = new Map<bigint, DriverDevice>();
  readonly #queues = new MockHwQueues();
  readonly #offset: number | undefined;

  constructor(iommu: MockIommu, data: UserData | undefined) {
    this.#iommu = iommu;
    if (data === undefined) return;
    const { bytes } = data;
    const { out_data, out_mmap_length, out_mmap_offset } = iommu_viommu_selftest.fields;
    if (bytes.length < out_data.offset + 4 || bytes.length > iommu_viommu_selftest.size) {
      refuse("IOMMU_VIOMMU_ALLOC", ERRNO.EINVAL);
    }
    this.#offset = iommu.takeOffset();
    const whole = new DataView(new ArrayBuffer(iommu_viommu_selftest.size));
    new Uint8Array(whole.buffer).set(bytes);
    whole.setUint32(out_data.offset, whole.getUint32(0, true), true);
    whole.setBigUint64(out_mmap_length.offset, BigInt(MMAP_SIZE), true);
    whole.setBigUint64(out_mmap_offset.offset, BigInt(this.#offset), true);
    bytes.set(new Uint8Array(whole.buffer, 0, bytes.length));
  }

  allocNested(flags: number, data: UserData): Domain {
    if ((flags & ~PASID) !== 0) refuse("IOMMU_HWPT_ALLOC", ERRNO.EOPNOTSUPP);
    return new MockNested(this.#iommu, this, data);
  }

  invalidate({ type, entryLength, count, entries }: Invalidation): InvalidateResult {
    if (type !== SELFTEST.VIOMMU_INVALIDATE_DATA) return { errno: ERRNO.EINVAL, handled: 0 };
    const words = new Uint32Array(count * 3);
    const bytes = new Uint8Array(words.buffer);
    for (let i = 0; i < count; i++) {
      const entry = entries.subarray(i * entryLength, (i + 1) * entryLength);
      if (entry.subarray(12).some((byte) => byte !== 0)) return { errno: ERRNO.E2BIG, handled: 0 };
      bytes.set(entry.subarray(0, 12), i * 12);
    }
    for (let i = 0; i < count; i++) {
      const [flags, virtId, cacheId] = words.subarray(i * 3);
      const device = this.#devices.get(BigInt(virtId));
      const cache = device === undefined ? undefined : this.#iommu.of(device).cache;
      // What is wrong with the entry comes first.
      const errno = clear(cache ?? [], flags, cacheId) || (cache === undefined ? ERRNO.EINVAL : 0);
      if (errno !== 0) return { errno, handled: i };
    }
    return { errno: 0, handled: count };
  }

  adopt(device: DriverDevice, virtId: bigint): void {
    this.#devices.set(virtId, device);
  }

  forget(device: DriverDevice): void {
    for (const [virtId, other] of this.#devices) {
      if (other === device) this.#devices.delete(virtId);
    }
  }

  hwQueues(type: number): HwQueueDriver | undefined {
    return type === SELFTEST.HW_QUEUE_TYPE ? this.#queues : undefined;
  }

  release(): void {
    if (this.#offset !== undefined) this.#iommu.freeOffset(this.#offset);
  }
}

/** Two queues, of which the second stands on the first. */
class MockHwQueues implements HwQueueDriver {
  readonly #queues: (DriverHwQueue | undefined)[] = [];

  add(queue: DriverHwQueue): DriverHwQueue | undefined {
    const call = "IOMMU_HW_QUEUE_ALLOC";
    const { index } = queue;
    if (index >= SELFTEST.HW_QUEUE_MAX) refuse(call, ERRNO.EINVAL);
    if (this.#queues[index] !== undefined) refuse(call, ERRNO.EEXIST);
    const below = index === 0 ? undefined : this.#queues[index - 1] ?? refuse(call, ERRNO.EIO);
    this.#queues[index] = queue;
    return below;
  }

  delete(): void {
    // mock_hw_queue_init_phys() stores no index, so that mock_hw_queue_destroy() takes each queue for the first.
    this.#queues[0] = undefined;
  }
}

/** The words of `struct iommu_hwpt_selftest`. */
function selftestData({ bytes }: UserData): readonly [number, number] {
  const { size } = iommu_hwpt_selftest;
  if (bytes.length < 4 || bytes.length > size) refuse("IOMMU_HWPT_ALLOC", ERRNO.EINVAL);
  const whole = new Uint8Array(size);
  whole.set(bytes);
  const [iotlb, type] = new Uint32Array(whole.buffer);
  return [iotlb, type];
}

/** Clears an entry of a cache, or all; 0 or why not. */
function clear(cache: number[], flags: number, index: number): number {
  if ((flags & ~SELFTEST.INVALIDATE_FLAG_ALL) !== 0) return ERRNO.EOPNOTSUPP;
  if (index >= 4) return ERRNO.EINVAL;
  if (flags !== 0) cache.fill(0);
  else if (cache.length > 0) cache[index] = 0;
  return 0;
}
