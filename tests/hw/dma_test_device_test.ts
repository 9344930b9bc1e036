/** The DMA test device, register by register. @module */
import { assertEquals } from "@std/assert";
import type { DmaPort } from "../../hw/device.ts";
import { DmaTestDevice } from "../../hw/endpoints/dma_test_device.ts";
import { GuestRam } from "../../hw/guest_memory.ts";
import { FakeDma } from "../support/fake_dma.ts";
import { peek, poke } from "../support/virtio_driver.ts";

const BASE = 0x4000_0000;

function rig(): {
  device: DmaTestDevice;
  dma: FakeDma;
  bar: DmaTestDevice["bars"][number]["device"];
} {
  const dma = new FakeDma(BASE, 0x4_0000);
  const memory = new GuestRam();
  memory.map(BASE, dma.bytes.buffer);
  const device = new DmaTestDevice({ requester: { streamId: 0x30, substreamId: -1 }, dma, memory });
  return { device, dma, bar: device.bars[0].device };
}

/** Programs a transfer, arms it, runs it; returns RESULT. */
function run(
  bar: DmaTestDevice["bars"][number]["device"],
  { iova = BASE + 0x1567, gpa = iova, len = 4, attrs = 2, arm = 1 }: {
    iova?: number;
    gpa?: number;
    len?: number;
    attrs?: number;
    arm?: number;
  },
): number {
  poke(bar, 0x04, 4, iova % 2 ** 32);
  poke(bar, 0x08, 4, Math.floor(iova / 2 ** 32));
  poke(bar, 0x0c, 4, len);
  poke(bar, 0x1c, 4, gpa % 2 ** 32);
  poke(bar, 0x20, 4, Math.floor(gpa / 2 ** 32));
  poke(bar, 0x18, 4, attrs);
  poke(bar, 0x14, 4, arm);
  assertEquals(peek(bar, 0x00, 4), 0);
  return peek(bar, 0x10, 4);
}

Deno.test("the function is 1b36:0005 with one BAR of 4 KiB", () => {
  const { device } = rig();
  assertEquals([peek(device.config, 0x00, 4), peek(device.config, 0x08, 4)], [
    0x0005_1b36,
    0x00ff_0000,
  ]);
  assertEquals([peek(device.config, 0x3d, 1), peek(device.config, 0x34, 1)], [0, 0]);
  assertEquals(device.bars.map(({ index, sizeBytes }) => [index, sizeBytes]), [[0, 0x1000]]);
});

Deno.test("results", async (t) => {
  const cases = [
    { name: "one word", made: {}, result: 0 },
    { name: "one byte", made: { len: 1 }, result: 0 },
    { name: "seven bytes", made: { len: 7 }, result: 0 },
    { name: "64 KiB", made: { len: 0x1_0000 }, result: 0 },
    { name: "length 0", made: { len: 0 }, result: 0xdead_0001 },
    { name: "more than 64 KiB", made: { len: 0x1_0001 }, result: 0xdead_0001 },
    { name: "length 2^32 - 1", made: { len: 0xffff_ffff }, result: 0xdead_0001 },
    { name: "an IOVA that aborts", made: { iova: 0x1000, gpa: BASE }, result: 0xdead_0002 },
    {
      name: "an IOVA above 4 GiB that aborts",
      made: { iova: 2 ** 32 + BASE, gpa: BASE },
      result: 0xdead_0002,
    },
    { name: "a GPA that is not RAM", made: { gpa: 0x1000 }, result: 0xdead_0003 },
    { name: "a GPA of 64 bits", made: { gpa: 2 ** 63 }, result: 0xdead_0003 },
    { name: "a GPA where something else is", made: { gpa: BASE }, result: 0xdead_0004 },
    { name: "not armed", made: { arm: 0 }, result: 0xdead_0005 },
    { name: "attributes: not valid, secure", made: { attrs: 0b0001 }, result: 0 },
    { name: "attributes: valid, Non-secure", made: { attrs: 0b1010 }, result: 0 },
    {
      name: "attributes: valid, Non-secure space, secure",
      made: { attrs: 0b1011 },
      result: 0xdead_0006,
    },
    {
      name: "attributes: valid, Secure space, not secure",
      made: { attrs: 0b1000 },
      result: 0xdead_0006,
    },
    { name: "attributes: valid, Secure", made: { attrs: 0b1001 }, result: 0xdead_0002 },
    { name: "attributes: valid, Root", made: { attrs: 0b1100 }, result: 0xdead_0002 },
    { name: "attributes: valid, Realm", made: { attrs: 0b1111 }, result: 0xdead_0002 },
  ];
  for (const { name, made, result } of cases) {
    await t.step(name, () => assertEquals(run(rig().bar, made), result));
  }
});

Deno.test("the pattern is written, little-endian, for as long as asked", () => {
  const { dma, bar } = rig();
  dma.bytes.fill(0xee);
  run(bar, { len: 7 });
  assertEquals([...dma.bytes.subarray(0x1566, 0x1570)], [
    0xee,
    0x78,
    0x56,
    0x34,
    0x12,
    0x78,
    0x56,
    0x34,
    0xee,
    0xee,
  ]);
});

Deno.test("a failed request writes nothing and is consumed", async (t) => {
  for (const made of [{ len: 0 }, { attrs: 0b1000 }, { attrs: 0b1001 }, { arm: 0 }]) {
    await t.step(JSON.stringify(made), () => {
      const { dma, bar } = rig();
      run(bar, made);
      peek(bar, 0x00, 4);
      assertEquals([peek(bar, 0x10, 4), dma.count], [0xdead_0005, 0]);
    });
  }
});

Deno.test("the doorbell shows in RESULT", () => {
  const { bar } = rig();
  assertEquals(peek(bar, 0x10, 4), 0xffff_ffff);
  poke(bar, 0x14, 4, 1);
  assertEquals([peek(bar, 0x10, 4), peek(bar, 0x14, 4)], [0xffff_fffe, 0]);
  poke(bar, 0x14, 4, 2);
  assertEquals(peek(bar, 0x10, 4), 0xffff_ffff);
});

Deno.test("registers hold what is written, and reset() takes it back", () => {
  const { device, bar } = rig();
  const offsets = [0x04, 0x08, 0x0c, 0x10, 0x18, 0x1c, 0x20];
  for (const offset of offsets) poke(bar, offset, 4, 0xa000_0000 + offset);
  poke(bar, 0x24, 4, 0xffff_ffff);
  assertEquals(
    offsets.map((offset) => peek(bar, offset, 4)),
    offsets.map((offset) => 0xa000_0000 + offset),
  );
  assertEquals([peek(bar, 0x24, 4), peek(bar, 0x05, 2), peek(bar, 0xffc, 8)], [0, 0, 0]);
  device.reset();
  assertEquals(offsets.map((offset) => peek(bar, offset, 4)), [0, 0, 0, 0xffff_ffff, 2, 0, 0]);
});

Deno.test("a function with PASIDs sends one when it may and is told to", async (t) => {
  const fake = new FakeDma(BASE, 0x4_0000);
  const memory = new GuestRam();
  memory.map(BASE, fake.bytes.buffer);
  const asked: number[] = [];
  const dma: DmaPort = {
    read: (...request) => fake.read(...request),
    write(requester, ...request): boolean {
      asked.push(requester.substreamId);
      return fake.write(requester, ...request);
    },
    message: (...request) => fake.message(...request),
  };
  const requester = { streamId: 0x30, substreamId: -1 };
  const device = new DmaTestDevice({ requester, dma, memory, pasidWidth: 8 });
  const bar = device.bars[0].device;
  const { config } = device;
  await t.step("its capabilities", () => {
    assertEquals(device.bars[0].sizeBytes, 0x2000);
    assertEquals(peek(config, 0x34, 1), 0x40);
    assertEquals(peek(config, 0x40, 4), 0x0092_0010, "an integrated endpoint, version 2");
    assertEquals(peek(config, 0x64, 4) >>> 21 & 7, 0b011, "one prefix that goes end to end");
    assertEquals(peek(config, 0x100, 4), 0x0001_001b);
    assertEquals(peek(config, 0x104, 2), 8 << 8);
  });
  const cases = [
    { name: "none", enabled: 1, pasid: 5, result: 0, sent: [-1] },
    { name: "one, not enabled", enabled: 0, pasid: 0x8000_0005, result: 0xdead_0006, sent: [] },
    { name: "one", enabled: 1, pasid: 0x8000_0005, result: 0, sent: [5] },
    { name: "the last one", enabled: 1, pasid: 0x8000_00ff, result: 0, sent: [0xff] },
    { name: "too wide a one", enabled: 1, pasid: 0x8000_0100, result: 0xdead_0006, sent: [] },
  ];
  for (const { name, enabled, pasid, result, sent } of cases) {
    await t.step(name, () => {
      asked.length = 0;
      poke(config, 0x106, 2, enabled);
      poke(bar, 0x1000, 4, pasid);
      assertEquals(peek(bar, 0x1000, 4), pasid);
      assertEquals([run(bar, {}), asked], [result, sent]);
    });
  }
  await t.step("a Function Level Reset forgets it", () => {
    poke(config, 0x48, 2, 0x8000);
    assertEquals([peek(config, 0x106, 2), peek(bar, 0x1000, 4)], [0, 0]);
  });
});

Deno.test("without PASIDs there is no second page", () => {
  const { bar } = rig();
  poke(bar, 0x1000, 4, 0x8000_0005);
  assertEquals([peek(bar, 0x1000, 4), run(bar, {})], [0, 0]);
});

Deno.test("a transfer that is stalled has its result when that is answered, unless it was reset", async (t) => {
  const { dma } = rig();
  const memory = new GuestRam();
  memory.map(BASE, dma.bytes.buffer);
  const waiting: { streamId: number; bytes: number; done: (ok: boolean) => void }[] = [];
  const device = new DmaTestDevice({
    requester: { streamId: 0x30, substreamId: -1 },
    dma,
    memory,
    stallable: {
      read: () => {},
      write: ({ streamId }, lo, _hi, from, done) => {
        // What is nowhere waits for an answer; the rest is done at once.
        if (lo >= BASE) done(dma.write({ streamId, substreamId: -1 }, lo, 0, from));
        else waiting.push({ streamId, bytes: from.length, done });
      },
    },
  });
  const { device: bar } = device.bars[0];
  const result = (): number => peek(bar, 0x10, 4);
  const [hole, gpa] = [0x1000, BASE];
  await t.step("what is not stalled is done when TRIGGER is read", () => {
    assertEquals(run(bar, {}), 0);
  });
  await t.step("what is stalled waits, and nothing else begins", () => {
    assertEquals(run(bar, { iova: hole, gpa, len: 12 }), 0xffff_fffd);
    assertEquals(run(bar, { iova: hole, gpa }), 0xffff_fffd);
    assertEquals(waiting.map(({ streamId, bytes }) => [streamId, bytes]), [[0x30, 12]]);
  });
  await t.step("an abort is a failed write, once", () => {
    waiting[0].done(false);
    assertEquals(result(), 0xdead_0002);
    peek(bar, 0x00, 4);
    assertEquals(result(), 0xdead_0005);
  });
  await t.step("what was done is read back from where it was to be then", () => {
    assertEquals(run(bar, { iova: hole, gpa: BASE + 0x1567 }), 0xffff_fffd);
    poke(bar, 0x1c, 4, 0);
    waiting[1].done(true);
    assertEquals(result(), 0);
  });
  await t.step("after a reset nothing of it is told", () => {
    run(bar, { iova: hole, gpa });
    device.reset();
    assertEquals(run(bar, {}), 0);
    assertEquals(run(bar, { iova: hole, gpa }), 0xffff_fffd);
    waiting[2].done(true);
    assertEquals(result(), 0xffff_fffd);
    waiting[3].done(false);
    assertEquals(result(), 0xdead_0002);
  });
});
