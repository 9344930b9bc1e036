/** PASIDs of the real kernel on our own SMMU. Wants `hostvm --smmu ours`. */
import { assertEquals } from "@std/assert";
import { Poller } from "../../uapi/poll.ts";
import { KernelIommufd } from "../../vmm/iommufd/kernel.ts";
import { DMA_TEST_CLASS, DmaTester, PATTERN } from "../support/dma_tester.ts";
import {
  CONTEXTS_VSTE,
  GUEST_IOVA,
  mapContext,
  PAGES,
  writeContexts,
} from "../support/guest_contexts.ts";
import { eventWords, KernelGuest, vfioPath } from "../support/kernel_guest.ts";
import { KernelSpace, PAGE } from "../support/kernel_space.ts";
import { refusal } from "../support/mock_test.ts";
import { SharedPages } from "../support/shared_pages.ts";

const IOVA = 0x7_0000_0000;

Deno.test("one IOVA is another page for each PASID", async (t) => {
  using iommufd = KernelIommufd.open("/dev/iommu");
  using pages = new SharedPages(3 * PAGE);
  using device = iommufd.bindVfio(vfioPath(DMA_TEST_CLASS));
  const tester = new DmaTester(device.vfio);
  const [plain, one, two] = [0, 1, 2].map((page) => {
    const space = new KernelSpace(iommufd, device.devId);
    space.map(IOVA, pages, page);
    return space.hwptId;
  });
  /** Which of the pages a write reaches; -1 when it reaches none. */
  const reached = (pasid?: number): number => {
    pages.bytes.fill(0);
    const isDone = tester.write(IOVA, 8, pasid);
    const words = [0, 1, 2].map((page) => pages.view.getUint32(page * PAGE, true));
    assertEquals(words.filter((word) => word === PATTERN).length, isDone ? 1 : 0);
    return words.indexOf(PATTERN);
  };
  await t.step("without and with", () => {
    device.attach(plain);
    device.attach(one, 1);
    device.attach(two, 0xfff0);
    assertEquals([undefined, 1, 0xfff0].map(reached), [0, 1, 2]);
  });
  await t.step("one that is attached to nothing reaches nothing", () => {
    assertEquals([2, 0xffff].map(reached), [-1, -1]);
  });
  await t.step("one that is attached is not attached again without being replaced", () => {
    assertEquals(device.attach(two, 1), two);
    assertEquals([undefined, 1, 0xfff0].map(reached), [0, 2, 2]);
  });
  await t.step("one that is detached reaches nothing, and the others what they did", () => {
    device.detach(0xfff0);
    assertEquals([undefined, 1, 0xfff0].map(reached), [0, 2, -1]);
    device.attach(one, 0xfff0);
    assertEquals([undefined, 1, 0xfff0].map(reached), [0, 2, 1]);
  });
  await t.step("a HWPT that is not for PASIDs is refused", () => {
    const ptId = iommufd.ioasAlloc();
    const other = iommufd.hwptAlloc({ flags: 0, devId: device.devId, ptId, dataType: 0 });
    const told = refusal(() => device.attach(other, 5));
    assertEquals(told, `VFIO_DEVICE_ATTACH_IOMMUFD_PT on ${device.vfio.path}: EINVAL`);
  });
});

const STREAM = 0x321;
Deno.test("a guest's own context table serves its PASIDs", async (t) => {
  const poller = new Poller();
  using made = new KernelGuest(vfioPath(DMA_TEST_CLASS), STREAM, poller);
  using _watch = made.events.watch(() => {});
  const tester = new DmaTester(made.device.vfio);
  writeContexts(made);
  made.device.attach(made.nested(CONTEXTS_VSTE));
  const reached = (pasid: number): number => {
    made.ram.bytes.fill(0, PAGES[0], PAGES[0] + 2 * PAGE);
    tester.write(GUEST_IOVA, 8, pasid);
    return PAGES.map((at) => made.ram.view.getUint32(at, true)).indexOf(PATTERN);
  };
  await t.step("each reaches its page", () => assertEquals([1, 2].map(reached), [0, 1]));
  await t.step("an invalidation for one's ASID is one's own", () => {
    mapContext(made, 0, 1);
    mapContext(made, 1, 0);
    assertEquals(made.command(0x11n | (7n << 48n), 0n), { errno: 0, handled: 1 });
    assertEquals([1, 2].map(reached), [0, 0], "only the second is seen to have changed");
    assertEquals(made.command(0x11n | (6n << 48n), 0n), { errno: 0, handled: 1 });
    assertEquals([1, 2].map(reached), [1, 0]);
  });
  await t.step("a fault names stream and substream", () => {
    assertEquals(tester.write(GUEST_IOVA + PAGE, 4, 2), false);
    poller.step(5000);
    const [, word0, word1, address] = eventWords(made.events);
    assertEquals([word0 & 0xffn, word0 >> 32n], [0x10n, BigInt(STREAM)], "F_TRANSLATION");
    assertEquals([word0 >> 11n & 1n, word0 >> 12n & 0xf_ffffn], [1n, 2n], "SSV, SubstreamID");
    assertEquals([word1 >> 35n & 1n, address], [0n, BigInt(GUEST_IOVA + PAGE)]);
  });
  await t.step("a substream without a context is an event", () => {
    assertEquals(tester.write(GUEST_IOVA, 4, 3), false);
    poller.step(5000);
    const [, word0] = eventWords(made.events);
    assertEquals([word0 & 0xffn, word0 >> 12n & 0xf_ffffn], [0x0an, 3n], "C_BAD_CD");
  });
});
