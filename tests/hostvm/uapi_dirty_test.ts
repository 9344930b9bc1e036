/** Dirty bitmaps of the kernel's mock driver. */
import { assertEquals } from "@std/assert";
import { addressOf } from "../../uapi/ioctl.ts";
import type { KernelIommufd } from "../../vmm/iommufd/kernel.ts";
import { iommuTest, MockDevice } from "../support/mock_device.ts";
import { mockTest, refusal } from "../support/mock_test.ts";
import type { SharedPages } from "../support/shared_pages.ts";

const DIRTY_TRACKING = 2;
const ENABLE = 1;
const NO_CLEAR = 1;
const SELFTEST = 0xdead;
const HUGE_TABLES = Uint8Array.of(0, 0, 0, 0, 1, 0, 0, 0);
const NO_DIRTY = 1;
const PAGE = 0x1000n;

/** Maps 64 pages at `iova` for a device whose HWPT tracks what is written. */
function tracked(iommufd: KernelIommufd, pages: SharedPages, iova: bigint): number {
  // A device begins with an address space of its own, whose table reaches less far.
  const device = new MockDevice(iommufd, iommufd.ioasAlloc());
  const ioasId = iommufd.ioasAlloc();
  const { devId } = device;
  iommufd.ioasMap({ flags: 7, ioasId, userVa: pages.address, length: 64n * PAGE, iova });
  const hwptId = iommufd.hwptAlloc({
    flags: DIRTY_TRACKING,
    devId,
    ptId: ioasId,
    dataType: SELFTEST,
    data: HUGE_TABLES,
  });
  device.attach(hwptId);
  iommufd.hwptSetDirtyTracking(hwptId, ENABLE);
  return hwptId;
}

/** Makes pages dirty, counted from `iova`. */
function write(iommufd: KernelIommufd, hwptId: number, iova: bigint, ...which: number[]): void {
  const bits = new Uint8Array(new ArrayBuffer(8));
  for (const page of which) bits[page >> 3] |= 1 << (page & 7);
  const made = iommuTest(iommufd, "DIRTY", hwptId, {
    iova,
    length: 64n * PAGE,
    page_size: PAGE,
    uptr: addressOf(bits),
  });
  assertEquals(made.get("out_nr_dirty"), BigInt(which.length));
}

const RANGES = [
  {
    name: "all",
    first: 0n,
    count: 64n,
    dirty: [0, 1, 13, 63],
    bytes: [3, 0x20, 0, 0, 0, 0, 0, 128],
  },
  { name: "from the third page", first: 3n, count: 8n, dirty: [2, 3, 10, 11], bytes: [0x81] },
  { name: "37 pages", first: 1n, count: 37n, dirty: [0, 1, 37, 38], bytes: [1, 0, 0, 0, 0x10] },
  { name: "one page", first: 5n, count: 1n, dirty: [4, 5, 6], bytes: [1] },
];

for (const iova of [0x200_0000n, 0x3f_ff00_0000n]) {
  mockTest(`what is written at 0x${iova.toString(16)} is told once`, async (iommufd, pages, t) => {
    const hwptId = tracked(iommufd, pages, iova);
    for (const { name, first, count, dirty, bytes } of RANGES) {
      await t.step(name, () => {
        const range = {
          hwptId,
          iova: iova + first * PAGE,
          length: count * PAGE,
          pageSize: PAGE,
        };
        // At an odd address, with a byte on each side that is not the bitmap's.
        const around = new Uint8Array(bytes.length + 2);
        const bitmap = around.subarray(1, -1);
        write(iommufd, hwptId, iova, ...dirty);
        iommufd.hwptGetDirtyBitmap({ ...range, flags: NO_CLEAR, bitmap });
        assertEquals([...around], [0, ...bytes, 0]);
        bitmap.fill(0);
        iommufd.hwptGetDirtyBitmap({ ...range, flags: 0, bitmap });
        assertEquals([...bitmap], bytes);
        bitmap.fill(0);
        iommufd.hwptGetDirtyBitmap({ ...range, flags: 0, bitmap });
        assertEquals([...bitmap], bytes.map(() => 0), "told once");
        const rest = new Uint8Array(8);
        const all = { hwptId, flags: 0, iova, length: 64n * PAGE, pageSize: PAGE, bitmap: rest };
        iommufd.hwptGetDirtyBitmap(all);
        const left = dirty.filter((page) => page < first || page >= first + count);
        assertEquals(left.every((page) => rest[page >> 3] & (1 << (page & 7))), true, "the others");
      });
    }
  });
}

mockTest("bits are only set, never cleared", (iommufd, pages) => {
  const iova = 0x200_0000n;
  const hwptId = tracked(iommufd, pages, iova);
  write(iommufd, hwptId, iova, 1);
  const bitmap = Uint8Array.of(0xf0);
  const range = { hwptId, flags: 0, iova, length: 8n * PAGE, pageSize: PAGE, bitmap };
  iommufd.hwptGetDirtyBitmap(range);
  assertEquals([...bitmap], [0xf2]);
});

mockTest("a wrong question about dirty pages is refused", async (iommufd, pages, t) => {
  const iova = 0x200_0000n;
  const hwptId = tracked(iommufd, pages, iova);
  const good = {
    hwptId,
    flags: 0,
    iova,
    length: 8n * PAGE,
    pageSize: PAGE,
    bitmap: new Uint8Array(8),
  };
  const cases = [
    { name: "no such HWPT", call: { ...good, hwptId: 99 }, errno: "ENOENT" },
    { name: "a flag", call: { ...good, flags: 2 }, errno: "EOPNOTSUPP" },
    { name: "no length", call: { ...good, length: 0n }, errno: "EINVAL" },
    { name: "no page", call: { ...good, pageSize: 0n }, errno: "EINVAL" },
    { name: "half a page", call: { ...good, iova: iova + 8n }, errno: "EINVAL" },
    {
      name: "beyond 64 bits",
      call: { ...good, iova: 0xffff_ffff_ffff_f000n, length: 2n * PAGE },
      errno: "EOVERFLOW",
    },
  ];
  for (const { name, call, errno } of cases) {
    await t.step(name, () => {
      const told = refusal(() => iommufd.hwptGetDirtyBitmap(call));
      assertEquals(told, `IOMMU_HWPT_GET_DIRTY_BITMAP: ${errno}`);
    });
  }
  await t.step("a device that cannot track", () => {
    const ptId = iommufd.ioasAlloc();
    const { devId } = new MockDevice(iommufd, ptId, NO_DIRTY);
    const call = { flags: DIRTY_TRACKING, devId, ptId, dataType: 0 };
    assertEquals(refusal(() => iommufd.hwptAlloc(call)), "IOMMU_HWPT_ALLOC: EOPNOTSUPP");
    assertEquals(iommufd.getHwInfo(devId).capabilities & 1n, 0n);
  });
  await t.step("a HWPT that does not track", () => {
    const device = new MockDevice(iommufd, iommufd.ioasAlloc());
    const told = refusal(() => iommufd.hwptSetDirtyTracking(device.hwptId, ENABLE));
    assertEquals(told, "IOMMU_HWPT_SET_DIRTY_TRACKING: EOPNOTSUPP");
  });
});
