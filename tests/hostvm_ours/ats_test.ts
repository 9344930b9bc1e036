/**
 * A device that translates for itself, with the real kernel between it and our own SMMU. Wants `hostvm --smmu ours`;
 * with `--append pci=noats` the kernel leaves that alone, and what is said here of devices without it holds for all.
 */
import { assertEquals } from "@std/assert";
import { KernelIommufd } from "../../vmm/iommufd/kernel.ts";
import { BY, DMA_TEST_CLASS, DmaTester, NOT_SENT, PATTERN } from "../support/dma_tester.ts";
import {
  CONTEXTS_VSTE,
  GUEST_IOVA,
  mapContext,
  PAGES,
  writeContexts,
} from "../support/guest_contexts.ts";
import { KernelGuest, vfioPath } from "../support/kernel_guest.ts";
import { KernelSpace, PAGE } from "../support/kernel_space.ts";
import { refusal } from "../support/mock_test.ts";
import { EXTENDED, RootConfig } from "../support/root_config.ts";
import { SharedPages } from "../support/shared_pages.ts";

/** The second device has the capability, the first has not. */
const [WITHOUT, WITH] = [0, 1];
const ENABLE = 0x8000;
const ATS_NOT_SUPPORTED = 8n;
const IOVA = 0x7_0000_0000;
const PASIDS = [1, 0xfff0];
const [SUCCESS, UNSUPPORTED_REQUEST] = [0, 1];

const STREAM = 0x321;
/** STE.EATS of a guest that switches ATS on. */
const EATS = 1n << 28n;
/** CMD_ATC_INV of the guest for all of one SubstreamID, or of all. */
const EVERYTHING = 52n;
const atcInv = (streamId: number, substreamId?: number): [bigint, bigint] => [
  0x40n | BigInt(streamId) << 32n |
  (substreamId === undefined ? 0n : 1n << 11n | BigInt(substreamId) << 12n),
  EVERYTHING,
];

const isOff = Deno.readTextFileSync("/proc/cmdline").includes("pci=noats");

/** A device with a page for each of two PASIDs, at one IOVA. */
class TwoSpaces implements Disposable {
  readonly tester: DmaTester;
  readonly spaces: KernelSpace[];
  /** What the kernel says of the device: flags of `iommufd_hw_capabilities`. */
  readonly capabilities: bigint;
  readonly #pages: SharedPages;
  readonly #stack: DisposableStack;

  constructor(index: number) {
    using stack = new DisposableStack();
    const iommufd = stack.use(KernelIommufd.open("/dev/iommu"));
    this.#pages = stack.use(new SharedPages(3 * PAGE));
    const device = stack.use(iommufd.bindVfio(vfioPath(DMA_TEST_CLASS, index)));
    this.tester = new DmaTester(device.vfio);
    this.capabilities = iommufd.getHwInfo(device.devId).capabilities;
    const [plain, ...spaces] = [0, 1, 2].map(() => new KernelSpace(iommufd, device.devId));
    this.spaces = spaces;
    device.attach(plain.hwptId);
    for (const [at, space] of spaces.entries()) {
      this.map(at);
      device.attach(space.hwptId, PASIDS[at]);
    }
    this.#stack = stack.move();
  }

  map(at: number): void {
    this.spaces[at].map(IOVA, this.#pages, at);
  }

  /** Which of the pages a write as each of the PASIDs reaches; -1 when it reaches none. */
  reached(): number[] {
    return PASIDS.map((pasid) => {
      this.#pages.bytes.fill(0);
      const isDone = this.tester.write(IOVA, 8, pasid);
      const words = [0, 1].map((page) => this.#pages.view.getUint32(page * PAGE, true));
      assertEquals(words.filter((word) => word === PATTERN).length, isDone ? 1 : 0);
      return words.indexOf(PATTERN);
    });
  }

  [Symbol.dispose](): void {
    this.#stack.dispose();
  }
}

Deno.test(
  "what iommufd unmaps leaves the ATC, of its PASID alone",
  { ignore: isOff },
  async (t) => {
    using made = new TwoSpaces(WITH);
    const { tester, spaces } = made;
    const config = new RootConfig(vfioPath(DMA_TEST_CLASS, WITH));
    await t.step("Linux has switched it on", () => {
      assertEquals(config.get16(config.find(EXTENDED.ATS) + 6) & ENABLE, ENABLE);
    });
    await t.step("the device asks, and keeps an answer for each PASID", () => {
      tester.addressing = BY.ATC;
      assertEquals([made.reached(), tester.atc.count], [[0, 1], 2]);
      assertEquals([made.reached(), tester.atc.count], [[0, 1], 2], "without asking again");
    });
    await t.step("an answer is an address that needs no translation", () => {
      const { status, read, write, address, log2size } = tester.translate(IOVA, true, PASIDS[1]);
      assertEquals([status, read, write, log2size], [SUCCESS, true, true, 12]);
      tester.addressing = BY.TRANSLATED;
      assertEquals(tester.write(address, 8), true);
      tester.addressing = BY.ATC;
    });
    await t.step("unmapped is one invalidation, after which the device is refused", () => {
      const before = tester.atc.invalidations;
      spaces[0].unmap(IOVA);
      assertEquals(tester.atc, { count: 1, invalidations: before + 1 });
      assertEquals([made.reached(), tester.atc.count], [[-1, 1], 1]);
      const { status, read, write } = tester.translate(IOVA, true, PASIDS[0]);
      assertEquals([status, read, write], [SUCCESS, false, false], "nothing is mapped there");
    });
    await t.step("mapped again is found by asking", () => {
      const before = tester.atc.invalidations;
      made.map(0);
      assertEquals([made.reached(), tester.atc], [[0, 1], { count: 2, invalidations: before }]);
    });
  },
);

for (const index of isOff ? [WITH, WITHOUT] : [WITHOUT]) {
  Deno.test(`without ATS the device ${index} asks for nothing, and nothing is invalidated there`, () => {
    using made = new TwoSpaces(index);
    const { tester, spaces } = made;
    assertEquals(made.capabilities & ATS_NOT_SUPPORTED, ATS_NOT_SUPPORTED);
    if (index === WITH) assertEquals(tester.translate(IOVA, true, PASIDS[0]).status, NOT_SENT);
    assertEquals(made.reached(), [0, 1]);
    spaces[0].unmap(IOVA);
    assertEquals(made.reached(), [-1, 1]);
    made.map(0);
    assertEquals(made.reached(), [0, 1]);
    assertEquals(tester.atc, { count: 0, invalidations: 0 });
  });
}

Deno.test("a guest has ATS as its STE says", { ignore: isOff }, async (t) => {
  const path = vfioPath(DMA_TEST_CLASS, WITH);
  using made = new KernelGuest(path, STREAM);
  const tester = new DmaTester(made.device.vfio);
  const config = new RootConfig(path);
  const control = config.find(EXTENDED.ATS) + 6;
  writeContexts(made);
  const [word0, word1] = CONTEXTS_VSTE;
  const reached = (): number[] =>
    [1, 2].map((pasid) => {
      made.ram.bytes.fill(0, PAGES[0], PAGES[0] + 2 * PAGE);
      tester.write(GUEST_IOVA, 8, pasid);
      return PAGES.map((at) => made.ram.view.getUint32(at, true)).indexOf(PATTERN);
    });
  await t.step("EATS 0: it is off, and transfers are translated by the SMMU", () => {
    made.device.attach(made.nested([word0, word1]));
    assertEquals(config.get16(control) & ENABLE, 0);
    assertEquals([tester.translate(GUEST_IOVA, true, 1).status, reached()], [NOT_SENT, [0, 1]]);
  });
  await t.step("EATS 0: a function that asks nevertheless is refused", () => {
    config.set16(control, ENABLE);
    assertEquals(tester.translate(GUEST_IOVA, true, 1).status, UNSUPPORTED_REQUEST);
    tester.addressing = BY.TRANSLATED;
    assertEquals(tester.write(0x8000_0000, 8), false, "an address that it made up");
    tester.addressing = BY.SMMU;
    config.set16(control, 0);
  });
  await t.step("EATS 1: it is on", () => {
    made.device.attach(made.nested([word0, word1 | EATS]));
    assertEquals(config.get16(control) & ENABLE, ENABLE);
    tester.addressing = BY.ATC;
    assertEquals([reached(), tester.atc.count], [[0, 1], 2]);
  });
  await t.step("EATS 1: an invalidation of the SMMU alone leaves what the device has", () => {
    const before = tester.atc.invalidations;
    mapContext(made, 0, 1);
    mapContext(made, 1, 0);
    assertEquals(made.command(0x10n, 0n), { errno: 0, handled: 1 });
    assertEquals([reached(), tester.atc], [[0, 1], { count: 2, invalidations: before }]);
  });
  await t.step("EATS 1: the guest's CMD_ATC_INV reaches it, for one substream", () => {
    const before = tester.atc.invalidations;
    assertEquals(made.command(...atcInv(STREAM, 2)), { errno: 0, handled: 1 });
    assertEquals(tester.atc, { count: 1, invalidations: before + 1 });
    assertEquals(reached(), [0, 0], "only the second asked again");
    assertEquals(made.command(...atcInv(STREAM)), { errno: 0, handled: 1 });
    assertEquals([tester.atc.count, reached()], [0, [1, 0]]);
  });
  await t.step("another STE with EATS 1: the kernel has it forget all", () => {
    assertEquals(tester.atc.count, 2);
    made.device.attach(made.nested([word0, word1 | EATS]));
    assertEquals([tester.atc.count, reached()], [0, [1, 0]]);
  });
  await t.step(
    "the kernel takes it for a stream of the guest alone, and EATS 0 and 1 alone",
    () => {
      const EIO = 5;
      assertEquals(made.command(...atcInv(STREAM + 1)), { errno: EIO, handled: 0 });
      const split = refusal(() => made.nested([word0, word1 | EATS << 1n]));
      assertEquals(split, "IOMMU_HWPT_ALLOC: EIO");
    },
  );
  await t.step("EATS 0 again: the device has nothing left", () => {
    made.device.attach(made.nested([word0, word1]));
    assertEquals([config.get16(control) & ENABLE, tester.atc.count], [0, 0]);
  });
});
