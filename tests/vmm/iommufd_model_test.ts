/** The model's rules, as drivers/iommu/iommufd of Linux 7.3 has them; the Host VM compares many more with the kernel. */
import { assertEquals } from "@std/assert";
import { GuestRam } from "../../hw/guest_memory.ts";
import { SystemError } from "../../uapi/errno.ts";
import type { BoundDevice } from "../../vmm/iommufd/iommufd.ts";
import { ModelIommufd } from "../../vmm/iommufd/model.ts";
import { ArmSmmuV3, goodHost } from "../../vmm/iommufd/model/arm_smmuv3.ts";
import { ModelFaultQueue } from "../../vmm/iommufd/model/fault_queue.ts";

const FIXED_RW = 7;
const RW = 6;

function made(): { model: ModelIommufd; device: BoundDevice } {
  const model = new ModelIommufd({
    pin: (source) => source.kind === "user" && source.userVa < 0x10_0000n ? 0 : -14,
  });
  const driver = new ArmSmmuV3({ memory: new GuestRam() });
  return { model, device: model.bind({ driver, streamId: 1 }) };
}

/** What a call gives, or the name of its error. */
function answer(call: () => unknown): unknown {
  try {
    return call();
  } catch (error) {
    if (error instanceof SystemError) return error.code;
    throw error;
  }
}

Deno.test("the lowest free id is given, and what is used is busy", () => {
  const { model, device } = made();
  assertEquals([device.devId, model.ioasAlloc(), model.ioasAlloc()], [1, 2, 3]);
  model.destroy(2);
  assertEquals(model.ioasAlloc(), 2);
  assertEquals(answer(() => model.destroy(1)), "EBUSY");
  assertEquals(answer(() => model.destroy(9)), "ENOENT");
  assertEquals(device.attach(2), 4);
  assertEquals(answer(() => model.destroy(2)), "EBUSY");
  assertEquals(device.attach(3), 5, "made before the one that it replaces goes");
  assertEquals(answer(() => model.destroy(4)), "ENOENT", "with its last device");
  device[Symbol.dispose]();
  assertEquals(answer(() => model.destroy(1)), "ENOENT");
});

Deno.test("PASIDs are attached to what was made for them, beside a device that is so too", async (t) => {
  const { model, device } = made();
  const ioasId = model.ioasAlloc();
  const alloc = { devId: device.devId, ptId: ioasId, dataType: 0 };
  const hwpt = (flags: number): number => model.hwptAlloc({ ...alloc, flags });
  const [plain, one, two] = [hwpt(0), hwpt(8), hwpt(8)];
  const attach = (ptId: number, pasid?: number) => (): unknown => device.attach(ptId, pasid);
  const detach = (pasid?: number) => (): unknown => device.detach(pasid);
  const cases: { name: string; is: () => unknown; gives: unknown }[] = [
    { name: "no flag", is: attach(plain, 5), gives: "EINVAL" },
    { name: "an IOAS", is: attach(ioasId, 5), gives: "EINVAL" },
    { name: "no such object", is: attach(99, 5), gives: "ENOENT" },
    { name: "more than VFIO remembers", is: attach(one, 2 ** 31), gives: "ENOSPC" },
    { name: "the flag", is: attach(one, 5), gives: one },
    { name: "another instead", is: attach(two, 5), gives: two },
    { name: "what was left goes", is: () => model.destroy(one), gives: undefined },
    { name: "the device to one without", is: attach(plain), gives: "EINVAL" },
    { name: "the device to one with", is: attach(two), gives: two },
    { name: "0, which is the device", is: attach(two, 0), gives: "EBUSY" },
    { name: "a busy one", is: () => model.destroy(two), gives: "EBUSY" },
    { name: "a PASID that is not attached", is: detach(6), gives: undefined },
    { name: "the PASID", is: detach(5), gives: undefined },
    { name: "the device to one without, alone", is: attach(plain), gives: plain },
    { name: "beside one without", is: attach(two, 5), gives: "EINVAL" },
  ];
  for (const { name, is, gives } of cases) {
    await t.step(name, () => assertEquals(answer(is), gives));
  }
});

Deno.test("maps and unmaps are refused as the kernel does", async (t) => {
  const { model, device } = made();
  const ioasId = model.ioasAlloc();
  device.attach(ioasId);
  const map = (change: object): unknown =>
    answer(() =>
      model.ioasMap({
        flags: FIXED_RW,
        ioasId,
        userVa: 0x1000n,
        length: 0x2000n,
        iova: 0x1_0000n,
        ...change,
      })
    );
  const unmap = (iova: bigint, length: bigint): unknown =>
    answer(() => model.ioasUnmap(ioasId, iova, length));
  const cases: { name: string; is: () => unknown; gives: unknown }[] = [
    { name: "a map", is: () => map({}), gives: 0x1_0000n },
    { name: "over another", is: () => map({ iova: 0x1_1000n }), gives: "EEXIST" },
    { name: "unknown flag", is: () => map({ flags: 15 }), gives: "EOPNOTSUPP" },
    { name: "neither read nor write", is: () => map({ flags: 1 }), gives: "EINVAL" },
    { name: "no IOAS", is: () => map({ ioasId: 9 }), gives: "ENOENT" },
    { name: "no length", is: () => map({ length: 0n }), gives: "EINVAL" },
    { name: "half a page", is: () => map({ iova: 0x2_0800n }), gives: "EINVAL" },
    { name: "over the MSI window", is: () => map({ iova: 0x0800_0000n }), gives: "EINVAL" },
    {
      name: "memory that is not there",
      is: () => map({ userVa: 1n << 40n, iova: 0n }),
      gives: "EFAULT",
    },
    { name: "anywhere", is: () => map({ flags: RW, userVa: 0x3000n }), gives: 0x1000n },
    { name: "a part", is: () => unmap(0x1_0000n, 0x1000n), gives: "ENOENT" },
    { name: "nothing there", is: () => unmap(0x5_0000n, 0x1000n), gives: "ENOENT" },
    { name: "everything and more", is: () => unmap(0n, 0x10_0000n), gives: 0x4000n },
    { name: "all of nothing", is: () => unmap(0n, 0xffff_ffff_ffff_ffffn), gives: 0n },
    {
      name: "beyond the end",
      is: () => unmap(0x1000n, 0xffff_ffff_ffff_ffffn),
      gives: "EOVERFLOW",
    },
  ];
  for (const { name, is, gives } of cases) await t.step(name, () => assertEquals(is(), gives));
});

Deno.test("a file is looked at when it is mapped, its content when it is shown", () => {
  const model = new ModelIommufd({ pin: () => -22, isOpen: (fd) => fd === 3 });
  const ioasId = model.ioasAlloc();
  const map = { flags: FIXED_RW, ioasId, fd: 3, start: 0n, length: 0x1000n, iova: 0x1_0000n };
  assertEquals(answer(() => model.ioasMapFile({ ...map, fd: -1 })), "EBADF");
  assertEquals(answer(() => model.ioasMapFile({ ...map, fd: -1, length: 0n })), "EINVAL");
  assertEquals(answer(() => model.ioasMapFile({ ...map, length: (1n << 64n) - 2n })), "EINVAL");
  assertEquals(model.ioasMapFile(map), 0x1_0000n);
  const device = model.bind({ driver: new ArmSmmuV3({ memory: new GuestRam() }), streamId: 1 });
  assertEquals(answer(() => device.attach(ioasId)), "EINVAL");
});

Deno.test("memory that two address spaces share is seen in one when the other is seen no longer", () => {
  const ram = new GuestRam();
  ram.map(0, new ArrayBuffer(0x10000));
  const model = new ModelIommufd({ pin: () => 0 });
  const driver = new ArmSmmuV3({ memory: ram });
  const [one, other] = [1, 2].map((streamId) => model.bind({ driver, streamId }));
  const [from, to] = [model.ioasAlloc(), model.ioasAlloc()];
  const range = { flags: FIXED_RW, length: 0x4000n };
  model.ioasMap({ ...range, ioasId: from, userVa: 0n, iova: 0x1_0000n });
  const copy = { ...range, dstIoasId: to, srcIoasId: from, dstIova: 0x2_0000n };
  model.ioasCopy({ ...copy, srcIova: 0x1_0000n });
  one.attach(from);
  other.attach(to);
  other.detach();
  model.ioasUnmap(to, 0n, 0xffff_ffff_ffff_ffffn);
  model.ioasMap({ ...range, ioasId: from, userVa: 0n, iova: 0x8_0000n });
  const port = model.port(one.devId);
  const read = (): boolean =>
    port.read({ streamId: 1, substreamId: -1 }, 0x1_0000, 0, new Uint8Array(4));
  assertEquals(read(), true);
  one.detach();
  assertEquals(read(), false);
});

Deno.test("a copy across areas is there as a whole, or not at all", () => {
  const { model, device } = made();
  const [from, to] = [model.ioasAlloc(), model.ioasAlloc()];
  device.attach(to);
  const map = { flags: FIXED_RW, ioasId: from, length: 0x1000n };
  model.ioasMap({ ...map, userVa: 0x1000n, iova: 0x1000n });
  model.ioasMap({ ...map, userVa: 1n << 40n, iova: 0x2000n });
  const copy = { flags: FIXED_RW, dstIoasId: to, srcIoasId: from, dstIova: 0x1_0000n };
  const whole = { ...copy, length: 0x2000n, srcIova: 0x1000n };
  assertEquals(answer(() => model.ioasCopy(whole)), "EFAULT");
  assertEquals(answer(() => model.ioasUnmap(to, 0x1_0000n, 0x2000n)), "ENOENT");
});

Deno.test("allowed ranges that touch are one, and only they are chosen from", () => {
  const { model } = made();
  const ioasId = model.ioasAlloc();
  const map = (length: bigint): unknown =>
    answer(() => model.ioasMap({ flags: RW, ioasId, userVa: 0x4000n, length, iova: 0n }));
  const [low, high] = [{ start: 0x8000n, last: 0x9000n }, { start: 0x9001n, last: 0xbfffn }];
  model.ioasAllowIovas(ioasId, [high, low]);
  assertEquals([map(0x3000n), map(0x1000n), map(0x1000n)], [0x8000n, 0xb000n, "ENOSPC"]);
});

Deno.test("a device whose name has more bits than a StreamID is not found by commands", () => {
  const { model, device } = made();
  const ioasId = model.ioasAlloc();
  const { devId } = device;
  const hwptId = model.hwptAlloc({ flags: 1, devId, ptId: ioasId, dataType: 0 });
  const viommuId = model.viommuAlloc({ flags: 0, type: 1, devId, hwptId });
  const entries = new Uint8Array(16);
  entries[0] = 6; // CMD_CFGI_CD_ALL of stream 0
  const call = { hwptId: viommuId, dataType: 1, entryLength: 16, count: 1, entries };
  const vdevice = model.vdeviceAlloc({ viommuId, devId, virtId: 0x1_0000_0000n });
  assertEquals(model.hwptInvalidate(call), { errno: 5, handled: 0 });
  model.destroy(vdevice);
  model.vdeviceAlloc({ viommuId, devId, virtId: 0n });
  assertEquals(model.hwptInvalidate(call), { errno: 0, handled: 1 });
});

Deno.test("options are refused, kept, and change what can be mapped", () => {
  const { model } = made();
  const ioasId = model.ioasAlloc();
  assertEquals(answer(() => model.option(0, 0, 0, 1n)), "EBUSY", "RLIMIT_MODE with objects");
  assertEquals(new ModelIommufd({ pin: () => 0 }).option(0, 0, 0, 1n), 1n);
  assertEquals(model.option(1, 1, ioasId, 0n), 1n);
  assertEquals(answer(() => model.option(1, 0, ioasId, 2n)), "EINVAL");
  assertEquals(answer(() => model.option(1, 0, 9, 0n)), "ENOENT");
  model.option(1, 0, ioasId, 0n);
  assertEquals(model.ioasIovaRanges(ioasId).alignment, 4096n);
  assertEquals(answer(() => model.vfioIoas(0, 0)), "ENODEV");
  model.vfioIoas(1, ioasId);
  assertEquals(model.vfioIoas(0, 0), ioasId);
});

Deno.test("page requests are read by groups, and answered once", () => {
  const queue = new ModelFaultQueue();
  const answers: number[] = [];
  const group = (count: number, from?: unknown): void =>
    queue.push({
      records: new Uint8Array(40 * count),
      from,
      answer: (code) => void answers.push(code),
    });
  group(1);
  group(2);
  const bytes = new Uint8Array(80);
  assertEquals(answer(() => queue.read(new Uint8Array(41))), "ESPIPE");
  assertEquals(queue.read(bytes), 40, "the second group does not fit");
  assertEquals(answer(() => queue.read(new Uint8Array(40))), "EINVAL");
  assertEquals([queue.read(bytes), queue.read(bytes)], [80, 0]);
  assertEquals([bytes[36], bytes[76]], [2, 2], "one cookie for the group");
  const response = (cookie: number, code: number): unknown =>
    answer(() => queue.write(new Uint8Array(Uint32Array.of(cookie, code).buffer)));
  assertEquals([response(2, 7), response(5, 0), response(2, 1)], ["EINVAL", "EINVAL", 8]);
  assertEquals([response(2, 1), response(1, 0), answers], ["EINVAL", 8, [1, 0]]);
  const gone = {};
  group(1, gone);
  assertEquals(queue.read(bytes), 40);
  group(1, gone);
  queue.drop(gone);
  assertEquals([queue.read(bytes), response(1, 0), answers], [0, "EINVAL", [1, 0, 1, 1]]);
});

Deno.test("dirty pages are those that a device wrote to while that was asked for", () => {
  const ram = new GuestRam();
  ram.map(0, new ArrayBuffer(0x10000));
  const idrs = goodHost();
  idrs[0] |= 2 << 6; // HTTU: access flag and dirty state
  const model = new ModelIommufd({ pin: () => 0 });
  const device = model.bind({ driver: new ArmSmmuV3({ memory: ram, idrs }), streamId: 1 });
  const ioasId = model.ioasAlloc();
  // The last pages that this SMMU reaches.
  const iova = 0xffff_ffff_0000n;
  model.ioasMap({ flags: FIXED_RW, ioasId, userVa: 0n, length: 0x10000n, iova });
  const alloc = { devId: device.devId, ptId: ioasId, dataType: 0 };
  assertEquals(answer(() => model.hwptAlloc({ ...alloc, flags: 3 })), "EOPNOTSUPP");
  const hwptId = model.hwptAlloc({ ...alloc, flags: 2 });
  device.attach(hwptId);
  const port = model.port(device.devId);
  const requester = { streamId: 1, substreamId: -1 };
  const write = (page: number, size: number): boolean =>
    port.write(requester, 0xffff_0000 + page * 0x1000 + 0xff8, 0xffff, new Uint8Array(size));
  const read = (flags: number, pageSize: bigint): number[] => {
    const bitmap = new Uint8Array(4);
    model.hwptGetDirtyBitmap({ hwptId, flags, iova, length: 0x10000n, pageSize, bitmap });
    return [...bitmap];
  };
  write(1, 4);
  assertEquals(read(0, 0x1000n), [0, 0, 0, 0], "not asked for");
  model.hwptSetDirtyTracking(hwptId, 1);
  assertEquals([write(2, 4), write(8, 16)], [true, true]);
  assertEquals(read(1, 0x1000n), [0b100, 0b11, 0, 0]);
  assertEquals(read(1, 0x800n), [0b11_0000, 0, 0b1111, 0], "half pages");
  assertEquals(read(0, 0x4000n), [0b101, 0, 0, 0], "four pages a bit");
  assertEquals(read(0, 0x1000n), [0, 0, 0, 0], "cleared");
  assertEquals(answer(() => read(4, 0x1000n)), "EOPNOTSUPP");
  assertEquals(answer(() => read(0, 0x20000n)), "EINVAL");
});
