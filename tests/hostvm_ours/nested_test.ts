/** A guest's tables used by our own SMMU through the real kernel's iommufd. Wants `hostvm --smmu ours`. */
import { assertEquals } from "@std/assert";
import { Poller } from "../../uapi/poll.ts";
import { DMA_TEST_CLASS, DmaTester, PATTERN } from "../support/dma_tester.ts";
import { AT, eventWords, KernelGuest, RAM_GPA, vfioPath, VSTE } from "../support/kernel_guest.ts";

const STREAM = 0x456;
const SID = BigInt(STREAM) << 32n;
/** Two pages of the guest's memory, and IOVAs. */
const [PAGE, OTHER] = [AT.FREE, AT.FREE + 0x1000];
const [IOVA, UNMAPPED] = [0x5000, 0x1_3000];

/** A guest that has the `index`-th device. */
function rig(index = 0, poller?: Poller): { made: KernelGuest; tester: DmaTester } & Disposable {
  const made = new KernelGuest(vfioPath(DMA_TEST_CLASS, index), STREAM, poller);
  const tester = new DmaTester(made.device.vfio);
  return { made, tester, [Symbol.dispose]: () => made[Symbol.dispose]() };
}

/** The first words of both pages, which are cleared. */
function take({ ram }: KernelGuest): number[] {
  return [PAGE, OTHER].map((at) => {
    const word = ram.view.getUint32(at, true);
    ram.view.setUint32(at, 0, true);
    return word;
  });
}

Deno.test("the kernel tells what our device offers", () => {
  using one = rig(1);
  const { iommufd, device } = one.made;
  const info = iommufd.getHwInfo(device.devId);
  assertEquals([info.dataType, info.data.length], [2, 40]);
  const [flags, , idr0, idr1, , idr3, , idr5] = new Uint32Array(info.data.buffer);
  assertEquals([flags, idr0 & 3, idr0 >>> 6 & 3], [0, 3, 2], "both stages, HTTU of dirty state");
  assertEquals(
    [idr1 >>> 6 & 31, idr3 >>> 8 & 1, idr5 & 0xc70],
    [20, 1, 0x470],
    "SSIDs, FWB, granules and VAX",
  );
  assertEquals([info.maxPasidLog2, info.capabilities & 7n], [16, 7n], "PASIDs; dirty pages, X, P");
});

Deno.test("DMA goes through the guest's tables, through none, and is stopped", async (t) => {
  using one = rig();
  const { made, tester } = one;
  made.map(IOVA, PAGE);
  await t.step("stage 1", () => {
    made.device.attach(made.nested(VSTE.STAGE1));
    assertEquals([tester.write(IOVA, 8), take(made)], [true, [PATTERN, 0]]);
  });
  await t.step("a table that changes is not seen before its invalidation", () => {
    made.map(IOVA, OTHER);
    assertEquals([tester.write(IOVA, 8), take(made)], [true, [PATTERN, 0]]);
  });
  const kinds: { name: string; command: [bigint, bigint] }[] = [
    { name: "CMD_TLBI_NH_ALL", command: [0x10n, 0n] },
    { name: "CMD_TLBI_NH_ASID", command: [0x11n | (5n << 48n), 0n] },
    { name: "CMD_TLBI_NH_VA", command: [0x12n | (5n << 48n), BigInt(IOVA) | 1n] },
    { name: "CMD_TLBI_NH_VAA", command: [0x13n, BigInt(IOVA)] },
    { name: "CMD_TLBI_NSNH_ALL", command: [0x30n, 0n] },
  ];
  for (const [index, { name, command }] of kinds.entries()) {
    await t.step(`it is after ${name}`, () => {
      const [old, next] = index % 2 === 0 ? [PAGE, OTHER] : [OTHER, PAGE];
      made.map(IOVA, old);
      assertEquals(made.command(0x10n, 0n).errno, 0);
      tester.write(IOVA, 8);
      take(made);
      made.map(IOVA, next);
      assertEquals(made.command(...command), { errno: 0, handled: 1 });
      const expected = next === OTHER ? [0, PATTERN] : [PATTERN, 0];
      assertEquals([tester.write(IOVA, 8), take(made)], [true, expected]);
    });
  }
  await t.step("nothing is done for another ASID", () => {
    tester.write(IOVA, 8);
    const [seen] = take(made);
    made.map(IOVA, seen === 0 ? PAGE : OTHER);
    assertEquals(made.command(0x11n | (6n << 48n), 0n).errno, 0);
    assertEquals([tester.write(IOVA, 8), take(made)[0]], [true, seen]);
  });
  await t.step("bypass", () => {
    made.device.attach(made.nested(VSTE.BYPASS));
    assertEquals([tester.write(RAM_GPA + OTHER, 8), take(made)], [true, [0, PATTERN]]);
  });
  await t.step("bypass ends where the guest's memory does", () => {
    assertEquals(tester.write(RAM_GPA + 0x20_0000, 8), false);
  });
  await t.step("abort", () => {
    made.device.attach(made.nested(VSTE.ABORT));
    assertEquals([tester.write(RAM_GPA + OTHER, 8), take(made)], [false, [0, 0]]);
  });
  await t.step("none of it is an event of stage 1", () => {
    assertEquals(eventWords(made.events), []);
  });
});

Deno.test("DMA to what stage 1 does not map is an event of the guest's stream", () => {
  const poller = new Poller();
  using one = rig(1, poller);
  const { made, tester } = one;
  made.device.attach(made.nested(VSTE.STAGE1));
  let isReady = false;
  using _watch = made.events.watch(() => isReady = true);
  assertEquals(poller.step(0), 0);
  assertEquals(tester.write(UNMAPPED + 8, 4), false);
  assertEquals([poller.step(5000), isReady], [1, true]);
  const [header, word0, word1, address, ipa] = eventWords(made.events);
  assertEquals(header, 0n, "flags, and sequence 0");
  assertEquals([word0 & 0xffn, word0 >> 11n & 1n, word0 >> 32n], [0x10n, 0n, BigInt(STREAM)]);
  assertEquals([word1 >> 35n & 1n, word1 >> 39n & 1n], [0n, 0n], "a write, at stage 1");
  assertEquals([address, ipa], [BigInt(UNMAPPED + 8), 0n]);
  assertEquals(eventWords(made.events), [], "one event");
});

Deno.test("a context descriptor that is not valid is an event too", () => {
  const poller = new Poller();
  using one = rig(0, poller);
  const { made, tester } = one;
  using _watch = made.events.watch(() => {});
  made.ram.view.setBigUint64(AT.CD, 0n, true);
  made.device.attach(made.nested(VSTE.STAGE1));
  assertEquals(made.command(0x05n | SID, 1n), { errno: 0, handled: 1 });
  assertEquals(tester.write(IOVA, 4), false);
  poller.step(5000);
  const [, word0] = eventWords(made.events);
  assertEquals([word0 & 0xffn, word0 >> 32n], [0x0an, BigInt(STREAM)], "C_BAD_CD");
});
