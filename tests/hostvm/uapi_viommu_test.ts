/** vIOMMUs, vDEVICEs, event queues and hardware queues of the kernel's mock driver. */
import { assertEquals } from "@std/assert";
import { Mapping } from "../../uapi/mapping.ts";
import type { KernelIommufd } from "../../vmm/iommufd/kernel.ts";
import { iommuTest, MockDevice } from "../support/mock_device.ts";
import { mockTest, refusal } from "../support/mock_test.ts";

const NEST_PARENT = 1;
const HWPT_SELFTEST = 0xdead;
const SELFTEST = 0xdead_beef;
const VEVENTQ_SELFTEST = 0xbeef_beef;
const CACHE_DEFAULT = 0xba_ddad;

/** What a guest's IOMMU stands on. */
interface Bench {
  readonly iommufd: KernelIommufd;
  readonly ioasId: number;
  readonly device: MockDevice;
  readonly parent: number;
  readonly viommuId: number;
}

function bench(iommufd: KernelIommufd): Bench {
  const ioasId = iommufd.ioasAlloc();
  const device = new MockDevice(iommufd, ioasId);
  const { devId } = device;
  const parent = iommufd.hwptAlloc({ flags: NEST_PARENT, devId, ptId: ioasId, dataType: 0 });
  const viommuId = iommufd.viommuAlloc({ flags: 0, type: SELFTEST, devId, hwptId: parent });
  return { iommufd, ioasId, device, parent, viommuId };
}

/** A nested HWPT on the vIOMMU. */
function nested({ iommufd, device, viommuId }: Bench): number {
  return iommufd.hwptAlloc({
    flags: 0,
    devId: device.devId,
    ptId: viommuId,
    dataType: HWPT_SELFTEST,
    data: Uint8Array.of(0xef, 0xbe, 0xad, 0x0b),
  });
}

mockTest("a driver's data goes in and comes back, and its page is mapped", (iommufd) => {
  const { device, parent } = bench(iommufd);
  const data = new Uint8Array(24);
  const view = new DataView(data.buffer);
  view.setUint32(0, 0x1234_5678, true);
  const call = { flags: 0, type: SELFTEST, devId: device.devId, hwptId: parent, data };
  const viommuId = iommufd.viommuAlloc(call);
  assertEquals(view.getUint32(4, true), 0x1234_5678);
  const offset = Number(view.getBigUint64(8, true));
  const sizeBytes = Number(view.getBigUint64(16, true));
  assertEquals(sizeBytes, 0x2000);
  {
    using page = new Mapping(iommufd.fd, { offset, sizeBytes, writable: true });
    assertEquals(new Uint32Array(page.buffer)[0], 0x1234_5678);
    assertEquals(refusal(() => iommufd.destroy(viommuId)), "IOMMU_DESTROY: EBUSY");
  }
  const beside = { offset: offset + 0x1000, sizeBytes: 0x1000, writable: true };
  assertEquals(refusal(() => new Mapping(iommufd.fd, beside)), "map 4096 bytes: ENXIO");
  iommufd.destroy(viommuId);
  assertEquals(refusal(() => iommufd.viommuAlloc({ ...call, flags: 1 })).slice(-10), "EOPNOTSUPP");
  assertEquals(refusal(() => iommufd.viommuAlloc({ ...call, hwptId: 99 })).slice(-6), "ENOENT");
  assertEquals(
    refusal(() => iommufd.viommuAlloc({ ...call, hwptId: device.hwptId })),
    "IOMMU_VIOMMU_ALLOC: EINVAL",
  );
});

mockTest("a vDEVICE is there once, and goes with its device, whose id stays empty", (iommufd) => {
  const made = bench(iommufd);
  const { device, viommuId, parent } = made;
  const call = { viommuId, devId: device.devId, virtId: 0x99n };
  const vdevice = iommufd.vdeviceAlloc(call);
  assertEquals(refusal(() => iommufd.vdeviceAlloc(call)), "IOMMU_VDEVICE_ALLOC: EEXIST");
  assertEquals(refusal(() => iommufd.destroy(viommuId)), "IOMMU_DESTROY: EBUSY");
  assertEquals(refusal(() => iommufd.destroy(parent)), "IOMMU_DESTROY: EBUSY");
  iommufd.destroy(device.stdevId);
  assertEquals(refusal(() => iommufd.destroy(vdevice)), "IOMMU_DESTROY: ENOENT");
  iommufd.destroy(viommuId);
  iommufd.destroy(parent);
  const ids = Array.from({ length: 8 }, () => iommufd.ioasAlloc());
  assertEquals(ids.includes(vdevice), false, "a tombstone keeps its id");
});

mockTest("events are read with their numbers, and lost ones are told", (iommufd) => {
  const made = bench(iommufd);
  const { device, viommuId } = made;
  const queueCall = { flags: 0, viommuId, type: VEVENTQ_SELFTEST, depth: 2 };
  for (const depth of [0, 0x8_0001]) {
    const told = refusal(() => iommufd.veventqAlloc({ ...queueCall, depth }));
    assertEquals(told, "IOMMU_VEVENTQ_ALLOC: EINVAL");
  }
  using queue = iommufd.veventqAlloc(queueCall);
  assertEquals(refusal(() => iommufd.veventqAlloc(queueCall)), "IOMMU_VEVENTQ_ALLOC: EEXIST");
  const trigger = (): unknown => iommuTest(iommufd, "TRIGGER_VEVENT", 0, { dev_id: device.devId });
  assertEquals(refusal(trigger), "IOMMU_TEST TRIGGER_VEVENT: ENOENT");
  iommufd.vdeviceAlloc({ viommuId, devId: device.devId, virtId: 0x99n });
  device.attach(nested(made));

  const words = new Uint32Array(16);
  const read = (bytes = 64): number[] => {
    const count = queue.read(new Uint8Array(words.buffer, 0, bytes));
    return [...words.subarray(0, count / 4)];
  };
  assertEquals(read(), []);
  trigger();
  assertEquals(read(), [0, 0, 0x99]);
  trigger();
  trigger();
  assertEquals(read(12), [0, 1, 0x99], "as many records as there is room for");
  assertEquals(refusal(() => read(8)), "read an event queue: EINVAL");
  assertEquals(read(), [0, 2, 0x99]);
  for (let i = 0; i < 4; i++) {
    try {
      trigger();
    } catch { /* The third and the fourth do not fit. */ }
  }
  assertEquals(read(), [0, 3, 0x99, 0, 4, 0x99, 1, 6]);
  trigger();
  assertEquals(read(), [0, 7, 0x99]);
  assertEquals(refusal(() => iommufd.destroy(queue.id)), "IOMMU_DESTROY: EBUSY");
  queue[Symbol.dispose]();
  iommufd.destroy(queue.id);
});

mockTest(
  "a guest's invalidations reach its device's cache, up to the bad one",
  async (iommufd, _, t) => {
    const { device, viommuId } = bench(iommufd);
    iommufd.vdeviceAlloc({ viommuId, devId: device.devId, virtId: 0x99n });
    const cacheIs = (...values: number[]): void =>
      values.forEach((cache, index) =>
        void iommuTest(iommufd, "DEV_CHECK_CACHE", device.devId, { index, cache })
      );
    const fresh = CACHE_DEFAULT;
    cacheIs(fresh, fresh, fresh, fresh);
    const words = new Uint32Array(new ArrayBuffer(48));
    const entries = new Uint8Array(words.buffer);
    const good = { hwptId: viommuId, dataType: SELFTEST, entryLength: 12, count: 1, entries };
    // Flags, virtual device, cache entry: each.
    const cases = [
      {
        name: "two entries",
        words: [0, 0x99, 0, 0, 0x99, 2],
        call: { count: 2 },
        result: [0, 2],
        cache: [0, fresh, 0, fresh],
      },
      {
        name: "a bad flag in the second",
        words: [0, 0x99, 1, 8, 0x99, 3],
        call: { count: 2 },
        result: [95, 1],
        cache: [0, 0, 0, fresh],
      },
      {
        name: "an unknown device",
        words: [0, 0x98, 3],
        call: {},
        result: [22, 0],
        cache: [0, 0, 0, fresh],
      },
      {
        name: "entries that have a longer form",
        words: [0, 0x99, 3, 0],
        call: { entryLength: 16 },
        result: [0, 1],
        cache: [0, 0, 0, 0],
      },
      {
        name: "what is not zero there",
        words: [0, 0x99, 3, 1],
        call: { entryLength: 16 },
        result: [7, 0],
      },
      { name: "no length", words: [0, 0x99, 3], call: { entryLength: 0 }, result: [22, 0] },
      {
        name: "another type",
        words: [0, 0x99, 3],
        call: { dataType: 0xdad_beef },
        result: [22, 0],
      },
      { name: "no such object", words: [0, 0x99, 3], call: { hwptId: 99 }, result: [2, 0] },
      { name: "none", words: [], call: { count: 0 }, result: [0, 0] },
    ];
    for (const { name, words: written, call, result, cache } of cases) {
      await t.step(name, () => {
        words.fill(0);
        words.set(written);
        const { errno, handled } = iommufd.hwptInvalidate({ ...good, ...call });
        assertEquals([errno, handled], result);
        if (cache !== undefined) cacheIs(...cache);
      });
    }
  },
);

mockTest("entries are those of the array that is given, not of the last one", (iommufd) => {
  const { device, viommuId } = bench(iommufd);
  iommufd.vdeviceAlloc({ viommuId, devId: device.devId, virtId: 0x99n });
  const entry = (cache: number): Uint8Array<ArrayBuffer> =>
    new Uint8Array(Uint32Array.of(0, 0x99, cache).buffer);
  const call = { hwptId: viommuId, dataType: SELFTEST, entryLength: 12, count: 1 };
  for (const entries of [entry(0), entry(1), entry(2)]) {
    iommufd.hwptInvalidate({ ...call, entries });
  }
  [0, 0, 0, CACHE_DEFAULT].forEach((cache, index) =>
    iommuTest(iommufd, "DEV_CHECK_CACHE", device.devId, { index, cache })
  );
  const empty = new Uint8Array();
  assertEquals(iommufd.hwptInvalidate({ ...call, entries: empty }).errno, 22);
});

mockTest("hardware queues are made in order, and keep the memory mapped", (iommufd, pages) => {
  const { ioasId, viommuId } = bench(iommufd);
  const iova = 0x100_0000n;
  iommufd.ioasMap({ flags: 7, ioasId, userVa: pages.address, length: 0x1000n, iova });
  const call = {
    flags: 0,
    viommuId,
    type: SELFTEST,
    index: 0,
    nestingParentIova: iova,
    length: 0x1000n,
  };
  const wrong = [
    { call: { ...call, flags: 1 }, errno: "EOPNOTSUPP" },
    { call: { ...call, type: 0 }, errno: "EOPNOTSUPP" },
    { call: { ...call, length: 0n }, errno: "EINVAL" },
    { call: { ...call, nestingParentIova: 0xffff_ffff_ffff_ffffn }, errno: "EOVERFLOW" },
    { call: { ...call, nestingParentIova: iova + 0x1000n }, errno: "ENOENT" },
    { call: { ...call, index: 1 }, errno: "EIO" },
    { call: { ...call, index: 2 }, errno: "EINVAL" },
  ];
  for (const { call, errno } of wrong) {
    assertEquals(refusal(() => iommufd.hwQueueAlloc(call)), `IOMMU_HW_QUEUE_ALLOC: ${errno}`);
  }
  const first = iommufd.hwQueueAlloc(call);
  assertEquals(refusal(() => iommufd.hwQueueAlloc(call)), "IOMMU_HW_QUEUE_ALLOC: EEXIST");
  const second = iommufd.hwQueueAlloc({ ...call, index: 1 });
  const unmap = (): bigint => iommufd.ioasUnmap(ioasId, iova, 0x1000n);
  assertEquals(refusal(unmap), "IOMMU_IOAS_UNMAP: EBUSY");
  assertEquals(refusal(() => iommufd.destroy(first)), "IOMMU_DESTROY: EBUSY");
  iommufd.destroy(second);
  iommufd.destroy(first);
  assertEquals(unmap(), 0x1000n);
});

mockTest("a device tells what it is, as long as the driver says", (iommufd) => {
  const { device } = bench(iommufd);
  const info = iommufd.getHwInfo(device.devId);
  assertEquals([info.dataType, info.maxPasidLog2, info.capabilities], [0xfeed_beef, 0, 9n]);
  assertEquals([...new Uint32Array(info.data.buffer)], [0, 0xdead_beef]);
  assertEquals(iommufd.getHwInfo(device.devId, 0xfeed_beef).data, info.data);
  assertEquals(
    refusal(() => iommufd.getHwInfo(device.devId, 2)),
    "IOMMU_GET_HW_INFO: EOPNOTSUPP",
  );
  assertEquals(refusal(() => iommufd.getHwInfo(99)), "IOMMU_GET_HW_INFO: ENOENT");
});
