/**
 * Faults that a program answers while the device waits, on the real kernel and our own SMMU. Wants `hostvm --smmu ours`.
 *
 * With an SMMUv3 Linux 7.3 knows page faults by the stall model alone, for functions whose node says `dma-can-stall`. They
 * come to an iommufd fault queue, and the answer goes back as CMD_RESUME.
 */
import { assertEquals } from "@std/assert";
import { Poller } from "../../uapi/poll.ts";
import { KernelIommufd } from "../../vmm/iommufd/kernel.ts";
import type { RecordQueue } from "../../vmm/iommufd/iommufd.ts";
import { DMA_TEST_CLASS, DmaTester, PATTERN } from "../support/dma_tester.ts";
import {
  CONTEXTS_VSTE,
  GUEST_IOVA,
  mapContext,
  PAGES,
  setContextStalls,
  writeContexts,
} from "../support/guest_contexts.ts";
import { eventWords, KernelGuest, vfioPath } from "../support/kernel_guest.ts";
import { KernelSpace, PAGE } from "../support/kernel_space.ts";
import { SharedPages } from "../support/shared_pages.ts";

/** The first device can wait, the second cannot. */
const [PATIENT, PROMPT] = [0, 1];
const IOVA = 0x7_0000_0000;
const [SUCCESS, INVALID] = [0, 1];
const [PASID_VALID, LAST_PAGE] = [1, 2];
const WRITE = 2;
const STREAM = 0x321;
const ANSWER_MS = 5000;

/** What a fault queue tells of one fault. */
interface Told {
  readonly flags: number;
  readonly devId: number;
  readonly pasid: number;
  readonly perm: number;
  readonly address: number;
  readonly cookie: number;
}

/** A fault queue, read by a poll loop. */
class Faults implements Disposable {
  readonly queue: RecordQueue;
  readonly #poller: Poller;
  readonly #watch: Disposable;
  #told: Told[] = [];

  constructor(iommufd: KernelIommufd, poller: Poller) {
    this.queue = iommufd.faultQueueAlloc();
    this.#poller = poller;
    this.#watch = this.queue.watch(() => this.#read());
  }

  /** What was told until now, or is within five seconds. */
  next(): Omit<Told, "cookie"> & { cookie?: number } {
    if (this.#told.length === 0) this.#poller.step(ANSWER_MS);
    const told = this.#told.shift();
    if (told === undefined) throw new Error("The fault queue is silent");
    return told;
  }

  answer(cookie: number, code: number): void {
    this.queue.write(new Uint8Array(Uint32Array.of(cookie, code).buffer));
  }

  [Symbol.dispose](): void {
    this.#watch[Symbol.dispose]();
    this.queue[Symbol.dispose]();
  }

  #read(): void {
    const record = new Uint8Array(new ArrayBuffer(40));
    if (this.queue.read(record) === 0) return;
    const view = new DataView(record.buffer);
    const [flags, devId, pasid, , perm] = new Uint32Array(record.buffer);
    const address = Number(view.getBigUint64(24, true));
    this.#told.push({ flags, devId, pasid, perm, address, cookie: view.getUint32(36, true) });
  }
}

/** The device's outcome when the kernel had time to pass an answer on. */
function outcome(tester: DmaTester): boolean | undefined {
  for (let i = 0; i < 500 && tester.outcome === undefined; i++);
  return tester.outcome;
}

Deno.test("a program answers the faults of two PASIDs", async (t) => {
  const poller = new Poller();
  using iommufd = KernelIommufd.open("/dev/iommu", { poller });
  using pages = new SharedPages(2 * PAGE);
  using device = iommufd.bindVfio(vfioPath(DMA_TEST_CLASS, PATIENT));
  const { devId } = device;
  const tester = new DmaTester(device.vfio);
  using faults = new Faults(iommufd, poller);
  const [one, two] = [0, 1].map(() => new KernelSpace(iommufd, devId, faults.queue.id));
  device.attach(new KernelSpace(iommufd, devId).hwptId);
  device.attach(one.hwptId, 1);
  device.attach(two.hwptId, 0xfff0);
  const words = (): number[] => [0, 1].map((page) => pages.view.getUint32(page * PAGE, true));
  const told = (pasid: number): number => {
    const { cookie, ...rest } = faults.next();
    const flags = PASID_VALID | LAST_PAGE;
    assertEquals(rest, { flags, devId, pasid, perm: WRITE, address: IOVA });
    return cookie!;
  };
  await t.step("mapped and answered with success: the transfer goes on", () => {
    two.map(IOVA, pages, 1);
    tester.begin(IOVA, 8, 1);
    assertEquals([tester.outcome, words()], [undefined, [0, 0]]);
    const cookie = told(1);
    one.map(IOVA, pages, 0);
    assertEquals(tester.outcome, undefined, "nobody has answered");
    faults.answer(cookie, SUCCESS);
    assertEquals([outcome(tester), words()], [true, [PATTERN, 0]]);
  });
  await t.step("what is mapped waits for nobody", () => {
    assertEquals([tester.write(IOVA, 8, 0xfff0), words()], [true, [PATTERN, PATTERN]]);
  });
  await t.step("answered with success though nothing is there: it is told again", () => {
    one.unmap(IOVA);
    tester.begin(IOVA, 8, 1);
    faults.answer(told(1), SUCCESS);
    faults.answer(told(1), INVALID);
    assertEquals(outcome(tester), false);
  });
  await t.step("not for its PASID: the same address of another is one of its own", () => {
    two.unmap(IOVA);
    tester.begin(IOVA, 8, 0xfff0);
    const cookie = told(0xfff0);
    two.map(IOVA, pages, 1);
    faults.answer(cookie, SUCCESS);
    assertEquals(outcome(tester), true);
  });
  await t.step("what waits when its HWPT is detached is aborted", () => {
    tester.begin(IOVA, 8, 1);
    told(1);
    assertEquals(tester.outcome, undefined);
    device.detach(1);
    assertEquals(outcome(tester), false);
  });
});

Deno.test("without a fault queue the kernel aborts what is stalled", () => {
  using iommufd = KernelIommufd.open("/dev/iommu");
  using device = iommufd.bindVfio(vfioPath(DMA_TEST_CLASS, PATIENT));
  const tester = new DmaTester(device.vfio);
  device.attach(new KernelSpace(iommufd, device.devId).hwptId);
  tester.begin(IOVA, 8);
  assertEquals(outcome(tester), false);
});

Deno.test("a guest's faults that stall are told by its fault queue, the others by its events", async (t) => {
  const poller = new Poller();
  using made = new KernelGuest(vfioPath(DMA_TEST_CLASS, PATIENT), STREAM, poller);
  using _watch = made.events.watch(() => {});
  const { iommufd, device } = made;
  const tester = new DmaTester(device.vfio);
  using faults = new Faults(iommufd, poller);
  writeContexts(made);
  setContextStalls(made, 0);
  device.attach(made.nested(CONTEXTS_VSTE, faults.queue.id));
  const hole = GUEST_IOVA + PAGE;
  await t.step("CD.S 1: mended by the guest and answered, it goes where the guest says", () => {
    tester.begin(hole, 8, 1);
    assertEquals(tester.outcome, undefined);
    const { cookie, pasid, perm, address } = faults.next();
    assertEquals([pasid, perm, address], [1, WRITE, hole]);
    mapContext(made, 0, 1, hole);
    faults.answer(cookie!, SUCCESS);
    assertEquals(outcome(tester), true);
    assertEquals(PAGES.map((at) => made.ram.view.getUint32(at, true)), [0, PATTERN]);
    assertEquals(eventWords(made.events), []);
  });
  await t.step("CD.S 0: an event of the guest's stream and substream", () => {
    assertEquals(tester.write(hole, 4, 2), false);
    poller.step(ANSWER_MS);
    const [, word0, word1, address] = eventWords(made.events);
    assertEquals([word0 & 0xffn, word0 >> 32n], [0x10n, BigInt(STREAM)], "F_TRANSLATION");
    assertEquals([word0 >> 11n & 1n, word0 >> 12n & 0xf_ffffn, word1 >> 31n & 1n], [1n, 2n, 0n]);
    assertEquals(address, BigInt(hole));
  });
});

Deno.test("CD.S 1 for a function that cannot wait: an event that does not stall", () => {
  const poller = new Poller();
  using made = new KernelGuest(vfioPath(DMA_TEST_CLASS, PROMPT), STREAM, poller);
  using _watch = made.events.watch(() => {});
  const tester = new DmaTester(made.device.vfio);
  writeContexts(made);
  setContextStalls(made, 0);
  made.device.attach(made.nested(CONTEXTS_VSTE));
  tester.begin(GUEST_IOVA + PAGE, 4, 1);
  assertEquals(tester.outcome, false);
  poller.step(ANSWER_MS);
  const [, word0, word1] = eventWords(made.events);
  assertEquals([word0 & 0xffn, word0 >> 12n & 0xf_ffffn, word1 >> 31n & 1n], [0x10n, 1n, 0n]);
});
