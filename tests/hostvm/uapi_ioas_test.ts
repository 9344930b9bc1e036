/** Address spaces of the kernel's own iommufd, with a device of its mock driver. */
import { assertEquals } from "@std/assert";
import { KernelIommufd } from "../../vmm/iommufd/kernel.ts";
import { createAccess, iommuTest, MockDevice } from "../support/mock_device.ts";
import { mockTest, refsAre, refusal } from "../support/mock_test.ts";
import { SharedPages } from "../support/shared_pages.ts";

const FIXED = 1;
const WRITE = 2;
const READ = 4;
const ALL = FIXED | WRITE | READ;
const BASE = 0x100_0000n;
const PAGE = 0x1000n;

Deno.test("this kernel has every call, and ids begin with 1", () => {
  using iommufd = KernelIommufd.open();
  assertEquals(iommufd.missingCalls(), []);
  assertEquals([iommufd.ioasAlloc(), iommufd.ioasAlloc()], [1, 2]);
  iommufd.destroy(1);
  assertEquals(iommufd.ioasAlloc(), 1);
  assertEquals(refusal(() => iommufd.destroy(3)), "IOMMU_DESTROY: ENOENT");
  assertEquals(refusal(() => iommufd.ioasAlloc(1)), "IOMMU_IOAS_ALLOC: EOPNOTSUPP");
});

Deno.test("a path that is no iommufd is refused, and a closed one too", () => {
  assertEquals(refusal(() => KernelIommufd.open("/dev/none")), "open /dev/none: ENOENT");
  using stranger = KernelIommufd.open("/dev/null");
  assertEquals(
    refusal(() => stranger.ioasAlloc()),
    "IOMMU_IOAS_ALLOC: ENOTTY, this kernel has no such ioctl",
  );
  assertEquals(stranger.missingCalls().length, 22);
  const iommufd = KernelIommufd.open();
  iommufd[Symbol.dispose]();
  assertEquals(refusal(() => iommufd.ioasAlloc()), "IOMMU_IOAS_ALLOC: EBADF");
});

mockTest("memory is mapped where it was asked to be, and released", (iommufd, pages) => {
  const ioasId = iommufd.ioasAlloc();
  using device = new MockDevice(iommufd, ioasId);
  const map = { flags: ALL, ioasId, userVa: pages.address, length: 0x8000n, iova: BASE };
  assertEquals(iommufd.ioasMap(map), BASE);
  const seen = { iova: BASE, length: 0x8000n, uptr: pages.address };
  iommuTest(iommufd, "MD_CHECK_MAP", device.hwptId, seen);
  refsAre(iommufd, pages, 1);
  assertEquals(refusal(() => iommufd.ioasMap(map)), "IOMMU_IOAS_MAP: EEXIST");
  assertEquals(
    refusal(() => iommufd.ioasUnmap(ioasId, BASE, PAGE)),
    "IOMMU_IOAS_UNMAP: ENOENT",
  );
  assertEquals(iommufd.ioasUnmap(ioasId, BASE, 0x8000n), 0x8000n);
  refsAre(iommufd, pages, 0);
  assertEquals(
    refusal(() => iommuTest(iommufd, "MD_CHECK_MAP", device.hwptId, seen)),
    "IOMMU_TEST MD_CHECK_MAP: EINVAL",
  );
});

mockTest("a file is mapped, copied, and outlives its descriptor", (iommufd, pages) => {
  const [from, to] = [iommufd.ioasAlloc(), iommufd.ioasAlloc()];
  using device = new MockDevice(iommufd, to);
  const length = 0x4000n;
  const file = { flags: ALL, ioasId: from, fd: pages.fd.number, start: 0x2000n, length, iova: 0n };
  assertEquals(iommufd.ioasMapFile(file), 0n);
  const badFile = (fd: number): string =>
    refusal(() => iommufd.ioasMapFile({ ...file, ioasId: to, iova: BASE, fd }));
  assertEquals(badFile(-1), "IOMMU_IOAS_MAP_FILE: EBADF");
  assertEquals(badFile(iommufd.fd.number), "IOMMU_IOAS_MAP_FILE: EINVAL");
  const copy = {
    flags: ALL,
    dstIoasId: to,
    srcIoasId: from,
    length: 0x2000n,
    dstIova: BASE,
    srcIova: PAGE,
  };
  assertEquals(iommufd.ioasCopy(copy), BASE);
  iommuTest(iommufd, "MD_CHECK_MAP", device.hwptId, {
    iova: BASE,
    length: 0x2000n,
    uptr: pages.address + 0x3000n,
  });
  assertEquals(iommufd.ioasUnmap(from, 0n, 0xffff_ffff_ffff_ffffn), length);
  assertEquals(iommufd.ioasUnmap(to, 0n, 0xffff_ffff_ffff_ffffn), 0x2000n);
  refsAre(iommufd, pages, 0);
});

mockTest(
  "an IOVA is chosen among those that are allowed, outside those that are reserved",
  (iommufd, pages) => {
    const ioasId = iommufd.ioasAlloc();
    const all = { start: 0n, last: 0xffff_ffff_ffff_ffffn };
    assertEquals(iommufd.ioasIovaRanges(ioasId), { ranges: [all], alignment: 1n });
    // More ranges than fit the first question.
    for (let i = 1n; i <= 40n; i++) {
      iommuTest(iommufd, "ADD_RESERVED", ioasId, { start: i * 0x10_0000n, length: 0x8_0000n });
    }
    const { ranges } = iommufd.ioasIovaRanges(ioasId);
    assertEquals(ranges.length, 41);
    assertEquals(ranges[0], { start: 0n, last: 0xf_ffffn });
    assertEquals(ranges[1], { start: 0x18_0000n, last: 0x1f_ffffn });
    assertEquals(ranges[40], { start: 0x288_0000n, last: 0xffff_ffff_ffff_ffffn });

    const allowed = [{ start: 0x400_0000_0000n, last: 0x400_0000_ffffn }];
    iommufd.ioasAllowIovas(ioasId, allowed);
    const map = { flags: READ, ioasId, userVa: pages.address, length: 0x1_0000n, iova: 0n };
    assertEquals(iommufd.ioasMap(map), 0x400_0000_0000n);
    assertEquals(refusal(() => iommufd.ioasMap(map)), "IOMMU_IOAS_MAP: ENOSPC");
    iommufd.ioasAllowIovas(ioasId, []);
    assertEquals(
      refusal(() => iommufd.ioasAllowIovas(ioasId, [{ start: 0x10_0000n, last: 0x10_0fffn }])),
      "IOMMU_IOAS_ALLOW_IOVAS: EADDRINUSE",
    );
  },
);

mockTest("options are set and told", (iommufd) => {
  const [RLIMIT_MODE, HUGE_PAGES] = [0, 1];
  const [SET, GET] = [0, 1];
  assertEquals(iommufd.option(RLIMIT_MODE, GET, 0, 0n), 0n);
  iommufd.option(RLIMIT_MODE, SET, 0, 1n);
  assertEquals(iommufd.option(RLIMIT_MODE, GET, 0, 0n), 1n);
  const ioasId = iommufd.ioasAlloc();
  assertEquals(refusal(() => iommufd.option(RLIMIT_MODE, SET, 0, 0n)), "IOMMU_OPTION: EBUSY");
  assertEquals(iommufd.option(HUGE_PAGES, GET, ioasId, 0n), 1n);
  iommufd.option(HUGE_PAGES, SET, ioasId, 0n);
  assertEquals(iommufd.option(HUGE_PAGES, GET, ioasId, 0n), 0n);
  assertEquals(iommufd.ioasIovaRanges(ioasId).alignment, PAGE);
  assertEquals(refusal(() => iommufd.option(HUGE_PAGES, SET, ioasId, 2n)), "IOMMU_OPTION: EINVAL");
});

mockTest("the IOAS for VFIO's old interface is set, told and cleared", (iommufd) => {
  const [GET, SET, CLEAR] = [0, 1, 2];
  assertEquals(refusal(() => iommufd.vfioIoas(GET, 0)), "IOMMU_VFIO_IOAS: ENODEV");
  const ioasId = iommufd.ioasAlloc();
  iommufd.vfioIoas(SET, ioasId);
  assertEquals(iommufd.vfioIoas(GET, 0), ioasId);
  iommufd.vfioIoas(CLEAR, 0);
  assertEquals(refusal(() => iommufd.vfioIoas(GET, 0)), "IOMMU_VFIO_IOAS: ENODEV");
});

mockTest("the process can be changed when all memory is that of files", (iommufd, pages) => {
  const ioasId = iommufd.ioasAlloc();
  const range = { flags: ALL, ioasId, length: PAGE };
  iommufd.ioasMapFile({ ...range, fd: pages.fd.number, start: 0n, iova: 0n });
  iommufd.ioasChangeProcess();
  iommufd.ioasMap({ ...range, userVa: pages.address, iova: PAGE });
  assertEquals(refusal(() => iommufd.ioasChangeProcess()), "IOMMU_IOAS_CHANGE_PROCESS: EINVAL");
});

mockTest("a driver of the kernel reads and writes through an IOAS", (iommufd, pages) => {
  using words = new SharedPages(0x1000);
  const ioasId = iommufd.ioasAlloc();
  iommufd.ioasMap({ flags: ALL, ioasId, userVa: pages.address, length: 0x2000n, iova: BASE });
  using access = createAccess(iommufd, ioasId);
  pages.view.setUint32(0xffe, 0x1234_5678, true);
  const across = { iova: BASE + 0xffen, length: 4n, uptr: words.address, flags: 0 };
  iommuTest(iommufd, "ACCESS_RW", access.number, across);
  assertEquals(words.view.getUint32(0, true), 0x1234_5678);
  words.view.setUint32(0, 0x9abc_def0, true);
  iommuTest(iommufd, "ACCESS_RW", access.number, { ...across, flags: 1 });
  assertEquals(pages.view.getUint32(0xffe, true), 0x9abc_def0);
  assertEquals(
    refusal(() => iommuTest(iommufd, "ACCESS_RW", access.number, { ...across, iova: 0n })),
    "IOMMU_TEST ACCESS_RW: ENOENT",
  );
  const pinner = createAccess(iommufd, ioasId, 1);
  const pins = iommuTest(iommufd, "ACCESS_PAGES", pinner.number, {
    iova: BASE,
    length: PAGE,
    uptr: pages.address,
  });
  refsAre(iommufd, pages, 1, 0x1000);
  const item = pins.get("out_access_pages_id");
  iommuTest(iommufd, "DESTROY_ACCESS_PAGES", pinner.number, { access_pages_id: item });
  pinner[Symbol.dispose]();
  refsAre(iommufd, pages, 0);
});
