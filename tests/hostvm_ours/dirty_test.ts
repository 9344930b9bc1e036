/** Dirty tracking of the real kernel, by what our own SMMU does to its tables. Wants `hostvm --smmu ours`. */
import { assertEquals } from "@std/assert";
import { KernelIommufd } from "../../vmm/iommufd/kernel.ts";
import type { KernelDevice } from "../../vmm/iommufd/kernel_device.ts";
import { DMA_TEST_CLASS, DmaTester, PATTERN } from "../support/dma_tester.ts";
import { vfioPath } from "../support/kernel_guest.ts";
import { SharedPages } from "../support/shared_pages.ts";

const DIRTY_TRACKING = 2;
const ENABLE = 1;
const NO_CLEAR = 1;
const HUGE_PAGES = 1;
const SET = 0;
const PAGE = 0x1000;
const COUNT = 64;
const IOVA = 0x3_4000_0000;

/** A device on memory of 64 pages whose HWPT tracks what is written. */
class Tracked implements Disposable {
  readonly pages: SharedPages;
  readonly tester: DmaTester;
  readonly #iommufd: KernelIommufd;
  readonly #device: KernelDevice;
  readonly #hwptId: number;
  readonly #stack: DisposableStack;

  constructor() {
    using stack = new DisposableStack();
    this.#iommufd = stack.use(KernelIommufd.open("/dev/iommu"));
    this.pages = stack.use(new SharedPages(COUNT * PAGE));
    this.#device = stack.use(this.#iommufd.bindVfio(vfioPath(DMA_TEST_CLASS)));
    const { devId } = this.#device;
    const ioasId = this.#iommufd.ioasAlloc();
    // Each page has a descriptor of its own, whatever memory Linux found.
    this.#iommufd.option(HUGE_PAGES, SET, ioasId, 0n);
    this.#iommufd.ioasMapFile({
      flags: 7,
      ioasId,
      fd: this.pages.fd.number,
      start: 0n,
      length: BigInt(COUNT * PAGE),
      iova: BigInt(IOVA),
    });
    const call = { flags: DIRTY_TRACKING, devId, ptId: ioasId, dataType: 0 };
    this.#hwptId = this.#iommufd.hwptAlloc(call);
    this.#device.attach(this.#hwptId);
    this.tester = new DmaTester(this.#device.vfio);
    this.#stack = stack.move();
  }

  track(flags: number): void {
    this.#iommufd.hwptSetDirtyTracking(this.#hwptId, flags);
  }

  /** Has the kernel invalidate all of it. */
  forget(): void {
    this.#device.detach();
    this.#device.attach(this.#hwptId);
  }

  /** Which pages are dirty; they are clean then, unless `flags` say otherwise. */
  dirty(flags = 0, first = 0, count = COUNT): number[] {
    const bitmap = new Uint8Array(COUNT / 8);
    this.#iommufd.hwptGetDirtyBitmap({
      hwptId: this.#hwptId,
      flags,
      iova: BigInt(IOVA + first * PAGE),
      length: BigInt(count * PAGE),
      pageSize: BigInt(PAGE),
      bitmap,
    });
    const all = Array.from({ length: count }, (_, i) => i);
    return all.filter((i) => (bitmap[i >> 3] & 1 << (i & 7)) !== 0).map((i) => first + i);
  }

  [Symbol.dispose](): void {
    this.#stack.dispose();
  }
}

Deno.test("the pages that the device wrote are the dirty ones", async (t) => {
  using made = new Tracked();
  const { tester } = made;
  await t.step("none before anything is written", () => {
    made.track(ENABLE);
    assertEquals(made.dirty(), []);
  });
  await t.step("those that were written, once", () => {
    for (const page of [63, 3, 40, 3]) assertEquals(tester.write(IOVA + page * PAGE, 8), true);
    assertEquals(made.dirty(NO_CLEAR), [3, 40, 63]);
    assertEquals(made.dirty(), [3, 40, 63]);
    assertEquals(made.dirty(), []);
    assertEquals(made.pages.view.getUint32(40 * PAGE, true), PATTERN);
  });
  // Linux 7.3 collects what became clean without a page size, and arm_smmu_iotlb_sync() then invalidates nothing.
  await t.step("a page that became clean stays dirty for a TLB that still has it", () => {
    assertEquals(tester.write(IOVA + 3 * PAGE, 8), true);
    assertEquals(made.dirty(), []);
  });
  await t.step("again, when the TLB has forgotten it", () => {
    made.forget();
    assertEquals(tester.write(IOVA + 3 * PAGE, 8), true);
    assertEquals(made.dirty(), [3]);
  });
  await t.step("all of a write that crosses pages", () => {
    assertEquals(tester.write(IOVA + 8 * PAGE - 4, 2 * PAGE), true);
    assertEquals(made.dirty(), [7, 8, 9]);
  });
  await t.step("only those that were asked for become clean", () => {
    for (const page of [10, 11, 12]) tester.write(IOVA + page * PAGE, 4);
    assertEquals(made.dirty(0, 11, 1), [11]);
    assertEquals(made.dirty(), [10, 12]);
  });
  await t.step("what was written before tracking began does not count", () => {
    tester.write(IOVA + 20 * PAGE, 4);
    made.track(0);
    tester.write(IOVA + 21 * PAGE, 4);
    made.track(ENABLE);
    tester.write(IOVA + 22 * PAGE, 4);
    assertEquals(made.dirty(), [22]);
  });
});
