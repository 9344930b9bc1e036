/**
 * The embedded model with the operations that a kernel built for testing has, on devices of the mock driver.
 * As iommufd_test() in drivers/iommu/iommufd/selftest.c of Linux 7.3 has them.
 * @module
 */
import { GuestRam } from "../../hw/guest_memory.ts";
import { ERRNO } from "../../uapi/errno.ts";
import { getField, setField } from "../../uapi/struct.ts";
import { ModelIommufd } from "../../vmm/iommufd/model.ts";
import type { Source } from "../../vmm/iommufd/model/area.ts";
import { Attachments } from "../../vmm/iommufd/model/attachment.ts";
import { ModelDevice, NO_PASID } from "../../vmm/iommufd/model/device.ts";
import { ModelObject, ObjectTable, refuse } from "../../vmm/iommufd/model/objects.ts";
import { Ioas, NestedHwpt, PagingHwpt } from "../../vmm/iommufd/model/page_tables.ts";
import { iommu_test_cmd, MOCK, type TestOp } from "./iommufd_test_abi.ts";
import type { MockIommufd } from "./mock_device.ts";
import { MockDriver, MockIommu, MockNested, type MockPaging } from "./model_mock_driver.ts";
import { ModelTestAccess } from "./model_test_access.ts";

const LAST = 0xffff_ffff_ffff_ffffn;
const MOST_BITS = 0x800_0000n;
const FIRST_ACCESS = 1000;

/** Memory that can be mapped, at an address of the process and in a file. */
export interface TestMemory {
  /** Where it is, for who maps it. */
  readonly address: bigint;
  /** The descriptor that has the same bytes. */
  readonly fd: number;
  /** What devices and accesses of the model see of it. */
  readonly buffer: ArrayBuffer;
}

/** What stands for the driver of a mock device. */
class MockBinding extends ModelObject {
  device: ModelDevice | undefined;
  readonly #attachments: Attachments;

  constructor(attachments: Attachments) {
    super();
    this.#attachments = attachments;
  }

  override release(): void {
    const { device } = this;
    if (device !== undefined) this.#attachments.unbind(device);
  }
}

/** An operation's argument, by name of its fields. */
class Argument<O extends TestOp> {
  readonly id: number;
  readonly #view: DataView;
  readonly #fields: (typeof iommu_test_cmd)[O]["fields"];

  constructor(op: O, bytes: Uint8Array) {
    this.#view = new DataView(bytes.buffer, bytes.byteOffset);
    this.#fields = iommu_test_cmd[op].fields;
    this.id = this.#view.getUint32(8, true);
  }

  get(name: string): number {
    return Number(this.wide(name));
  }

  wide(name: string): bigint {
    const fields = this.#fields as unknown as typeof iommu_test_cmd.DIRTY.fields;
    return BigInt(getField(this.#view, fields[name as "iova"]));
  }

  set(name: string, value: number | bigint): void {
    const fields = this.#fields as unknown as typeof iommu_test_cmd.DIRTY.fields;
    setField(this.#view, fields[name as "iova"], value as bigint);
  }
}

/** The model. */
export class ModelTestIommufd extends ModelIommufd implements MockIommufd {
  readonly #objects: ObjectTable;
  readonly #attachments: Attachments;
  readonly #iommu = new MockIommu();
  readonly #ram = new GuestRam();
  readonly #memory: TestMemory;
  readonly #accesses = new Map<number, ModelTestAccess>();
  #nextAccess = FIRST_ACCESS;

  constructor(memory: TestMemory) {
    const objects = new ObjectTable();
    super({
      pin: (source, length) => placeIn(memory, source, length),
      isOpen: (fd) => fd === memory.fd,
      objects,
    });
    this.#objects = objects;
    this.#attachments = new Attachments(objects);
    this.#memory = memory;
    this.#ram.map(0, memory.buffer);
  }

  test(op: TestOp, bytes: Uint8Array, pointed?: Uint8Array): void {
    const call = `IOMMU_TEST ${op}`;
    const argument = new Argument(op, bytes);
    const run = this.#ops[op] ?? refuse(call, ERRNO.EOPNOTSUPP);
    run(argument, call, pointed);
  }

  /** Closes the descriptor of an access. */
  close(fd: number): void {
    this.#accesses.get(fd)?.[Symbol.dispose]();
    this.#accesses.delete(fd);
  }

  readonly #ops: Partial<
    Record<TestOp, (a: Argument<TestOp>, call: string, pointed?: Uint8Array) => void>
  > = {
    ADD_RESERVED: (a, call) => this.#reserve(a, call),
    MOCK_DOMAIN_FLAGS: (a, call) => this.#bind(a, call),
    MOCK_DOMAIN_REPLACE: (a, call) =>
      a.set("pt_id", this.#attachments.replace(this.#device(a, call), NO_PASID, a.get("pt_id"))),
    MD_CHECK_MAP: (a, call) => this.#checkMap(a, call),
    MD_CHECK_IOTLB: (a, call) => {
      const { domain } = this.#objects.get(a.id, NestedHwpt, call);
      const isThere = domain instanceof MockNested &&
        domain.iotlb[a.get("index")] === a.get("iotlb");
      if (!isThere) refuse(call, ERRNO.EINVAL);
    },
    DEV_CHECK_CACHE: (a, call) => {
      const { cache } = this.#iommu.of(this.#objects.get(a.id, ModelDevice, call));
      if (cache[a.get("index")] !== a.get("cache")) refuse(call, ERRNO.EINVAL);
    },
    DIRTY: (a, call, bits) => this.#dirty(a, call, bits),
    TRIGGER_IOPF: (a, call) =>
      void this.#objects.get(a.get("dev_id"), ModelDevice, call).requestPage({
        pasid: a.get("pasid"),
        group: a.get("grpid"),
        permission: a.get("perm"),
        address: a.wide("addr"),
      }),
    TRIGGER_VEVENT: (a, call) =>
      this.#iommu.triggerEvent(this.#objects.get(a.get("dev_id"), ModelDevice, call), call),
    PASID_ATTACH: (a, call) =>
      a.set(
        "pt_id",
        this.#attachments.attach(this.#device(a, call), a.get("pasid"), a.get("pt_id")),
      ),
    PASID_REPLACE: (a, call) =>
      a.set(
        "pt_id",
        this.#attachments.replace(this.#device(a, call), a.get("pasid"), a.get("pt_id")),
      ),
    PASID_DETACH: (a, call) => this.#attachments.detach(this.#device(a, call), a.get("pasid")),
    PASID_CHECK_HWPT: (a, call) => this.#checkPasid(a, call),
    CREATE_ACCESS: (a, call) => {
      const flags = a.get("flags");
      if ((flags & ~MOCK.FLAGS_ACCESS_CREATE_NEEDS_PIN_PAGES) !== 0) {
        refuse(call, ERRNO.EOPNOTSUPP);
      }
      const access = new ModelTestAccess(this.#objects, this.#ram, flags !== 0);
      access.begin(a.id);
      const fd = this.#nextAccess++;
      this.#accesses.set(fd, access);
      a.set("out_access_fd", fd);
    },
    ACCESS_REPLACE_IOAS: (a, call) => this.#access(a, call).replace(a.get("ioas_id")),
    ACCESS_PAGES: (a, call) => {
      const [length, flags] = [a.wide("length"), a.get("flags")];
      if (length > 0x100_0000n) refuse(call, ERRNO.ENOMEM);
      if ((flags & ~MOCK.FLAGS_ACCESS_WRITE) !== 0) refuse(call, ERRNO.EOPNOTSUPP);
      const item = this.#access(a, call).pin(a.wide("iova"), length, flags !== 0);
      a.set("out_access_pages_id", item);
    },
    DESTROY_ACCESS_PAGES: (a, call) => this.#access(a, call).unpin(a.get("access_pages_id")),
    ACCESS_RW: (a, call, pointed) => {
      const [length, flags] = [a.wide("length"), a.get("flags")];
      if (length > 0x100_0000n) refuse(call, ERRNO.ENOMEM);
      const known = MOCK.ACCESS_RW_WRITE | MOCK.ACCESS_RW_SLOW_PATH;
      if ((flags & ~known) !== 0) refuse(call, ERRNO.EOPNOTSUPP);
      const bytes = pointed?.subarray(0, Number(length)) ?? refuse(call, ERRNO.EFAULT);
      this.#access(a, call).transfer(a.wide("iova"), bytes, (flags & MOCK.ACCESS_RW_WRITE) !== 0);
    },
  };

  #device({ id }: Argument<TestOp>, call: string): ModelDevice {
    return this.#objects.get(id, MockBinding, call).device!;
  }

  #access({ id }: Argument<TestOp>, call: string): ModelTestAccess {
    return this.#accesses.get(id) ?? refuse(call, ERRNO.EBADFD);
  }

  #bind(a: Argument<TestOp>, call: string): void {
    const flags = a.get("dev_flags");
    const known = MOCK.FLAGS_DEVICE_NO_DIRTY | MOCK.FLAGS_DEVICE_PASID;
    if ((flags & ~known) !== 0) refuse(call, ERRNO.EINVAL);
    const binding = this.#objects.add(new MockBinding(this.#attachments));
    const device = this.#objects.add(new ModelDevice(new MockDriver(this.#iommu, flags), 0));
    binding.device = device;
    try {
      // What is not finished is not there yet.
      if (a.id === binding.id) refuse(call, ERRNO.ENOENT);
      a.set("out_hwpt_id", this.#attachments.attach(device, NO_PASID, a.id));
    } catch (error) {
      this.#objects.remove(binding);
      throw error;
    }
    a.set("out_stdev_id", binding.id);
    a.set("out_idev_id", device.id);
  }

  #reserve(a: Argument<TestOp>, call: string): void {
    const [start, length] = [a.wide("start"), a.wide("length")];
    if (length === 0n) refuse(call, ERRNO.EINVAL);
    const last = start + length - 1n;
    if (last > LAST) refuse(call, ERRNO.EOVERFLOW);
    this.#objects.get(a.id, Ioas, call).table.reserve({ start, last }, undefined, call);
  }

  #checkMap(a: Argument<TestOp>, call: string): void {
    const { domain, ioas } = this.#objects.get(a.id, PagingHwpt, call);
    const [iova, length, user] = [a.wide("iova"), a.wide("length"), a.wide("uptr")];
    const { pageSize } = domain;
    if ([iova, length, user].some((value) => value % pageSize !== 0n)) refuse(call, ERRNO.EINVAL);
    if (user + length > LAST) refuse(call, ERRNO.EINVAL);
    for (let at = 0n; at < length; at += pageSize) {
      const meant = placeIn(this.#memory, { kind: "user", userVa: user + at }, pageSize);
      if (meant < 0) refuse(call, -meant);
      const area = ioas.table.find(iova + at);
      const offset = area === undefined ? 0n : area.offset + iova + at - area.start;
      if ((area?.pages.physical ?? NaN) + Number(offset) !== meant) refuse(call, ERRNO.EINVAL);
    }
  }

  #checkPasid(a: Argument<TestOp>, call: string): void {
    const attached = this.#device(a, call).hwptOf(a.get("pasid"));
    const hwptId = a.get("hwpt_id");
    if (hwptId === 0) return attached === undefined ? undefined : refuse(call, ERRNO.EINVAL);
    const meant = this.#objects.find(hwptId) ?? refuse(call, ERRNO.ENOENT);
    if (meant !== attached) refuse(call, ERRNO.EINVAL);
  }

  #dirty(a: Argument<TestOp>, call: string, bits: Uint8Array | undefined): void {
    const [iova, length, pageSize] = [a.wide("iova"), a.wide("length"), a.wide("page_size")];
    const isWrong = pageSize === 0n || length === 0n || iova % pageSize !== 0n ||
      length % pageSize !== 0n || bits === undefined;
    if (isWrong) return refuse(call, ERRNO.EINVAL);
    if (length / pageSize > MOST_BITS) refuse(call, ERRNO.EOVERFLOW);
    const { domain, ioas } = this.#objects.get(a.id, PagingHwpt, call);
    const { dirty } = domain as MockPaging;
    if (dirty?.isTracking !== true) return refuse(call, ERRNO.EINVAL);
    let count = 0n;
    for (let i = 0; BigInt(i) < length / pageSize; i++) {
      if ((bits[i >> 3] & (1 << (i & 7))) === 0) continue;
      const at = iova + BigInt(i) * pageSize;
      if (ioas.table.find(at) !== undefined) dirty.mark(Number(at), 1);
      count++;
    }
    a.set("out_nr_dirty", count);
  }
}

/** Where memory is for the model, or minus the error number. */
function placeIn({ address, buffer }: TestMemory, source: Source, length: bigint): number {
  const size = BigInt(buffer.byteLength);
  const start = source.kind === "file" ? source.start : source.userVa - address;
  if (start >= 0n && start + length <= size) return Number(start);
  return source.kind === "file" ? -ERRNO.EINVAL : -ERRNO.EFAULT;
}
