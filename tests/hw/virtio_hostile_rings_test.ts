/** Rings that a hostile driver makes: they end, and leave a device that needs a reset. @module */
import { assertEquals } from "@std/assert";
import { Random } from "../../vmm/random.ts";
import {
  blockRequest,
  type Buffer,
  type DiskRig,
  diskRig,
  poke,
} from "../support/virtio_driver.ts";

/** INDIRECT_DESC and EVENT_IDX. */
const INDIRECT = 0x1000_0000;
const EVENT_IDX = 0x2000_0000;

/** A flush: the request without data. */
function flushRequest({ memory, driver }: DiskRig): readonly Buffer[] {
  return blockRequest(memory, driver.free, 4, 0).buffers;
}

/** A way to break the ring; the driver is started, nothing is available yet. */
interface Hostile {
  readonly name: string;
  readonly lo?: number;
  readonly make: (rig: DiskRig) => void;
}

function single(rig: DiskRig, flags: number, next: number, size = 16): void {
  const { driver, memory } = rig;
  blockRequest(memory, driver.free, 4, 0);
  driver.writeDescriptor(driver.desc, { iova: driver.free, size }, flags, next);
  driver.offer(0);
}

const HOSTILE: readonly Hostile[] = [
  { name: "a descriptor that is its own next", make: (rig) => single(rig, 1, 0) },
  {
    name: "a chain that returns to its start",
    make: (rig) => {
      single(rig, 1, 1);
      rig.driver.writeDescriptor(rig.driver.desc + 16, { iova: rig.driver.free, size: 1 }, 3, 0);
    },
  },
  { name: "next out of range", make: (rig) => single(rig, 1, 8) },
  { name: "next far out of range", make: (rig) => single(rig, 1, 0xffff) },
  { name: "head out of range", make: (rig) => rig.driver.offer(8) },
  {
    name: "head out of range, after a request in order",
    make: (rig) => {
      rig.driver.addIndirect(flushRequest(rig));
      rig.driver.kick();
      rig.driver.offer(8);
    },
  },
  { name: "no status byte", make: (rig) => single(rig, 0, 0) },
  { name: "no header", make: (rig) => single(rig, 2, 0) },
  {
    name: "a header of 15 bytes",
    make: (rig) =>
      void rig.driver.add([
        { iova: rig.driver.free, size: 15, writable: false },
        { iova: rig.driver.free, size: 1, writable: true },
      ]),
  },
  {
    name: "a buffer without bytes",
    make: (rig) =>
      void rig.driver.add([
        { iova: rig.driver.free, size: 16, writable: false },
        { iova: rig.driver.free, size: 0, writable: true },
        { iova: rig.driver.free, size: 1, writable: true },
      ]),
  },
  {
    name: "a readable buffer after a writable one",
    make: (rig) =>
      void rig.driver.add([
        { iova: rig.driver.free, size: 16, writable: false },
        { iova: rig.driver.free, size: 1, writable: true },
        { iova: rig.driver.free, size: 16, writable: false },
      ]),
  },
  {
    name: "an index that jumps by more than the queue",
    make: ({ driver, memory }) => memory.view.setUint16(driver.avail - memory.base + 2, 9, true),
  },
  {
    name: "an index that goes back",
    make: ({ driver, memory }) =>
      memory.view.setUint16(driver.avail - memory.base + 2, 0xffff, true),
  },
  {
    name: "an index that goes back between two looks",
    lo: EVENT_IDX,
    make: (rig) => {
      const { driver, memory } = rig;
      driver.add(flushRequest(rig));
      driver.add(flushRequest(rig));
      let looks = 0;
      memory.onRead = (address, size) => {
        if (address === driver.avail && size === 4 && ++looks === 2) {
          memory.view.setUint16(driver.avail - memory.base + 2, 1, true);
        }
      };
    },
  },
  {
    name: "an index that jumps between two looks",
    lo: EVENT_IDX,
    make: (rig) => {
      const { driver, memory } = rig;
      driver.add(flushRequest(rig));
      let looks = 0;
      memory.onRead = (address, size) => {
        if (address === driver.avail && size === 4 && ++looks === 2) {
          memory.view.setUint16(driver.avail - memory.base + 2, 9, true);
        }
      };
    },
  },
  {
    name: "an indirect table that was not negotiated",
    lo: 0,
    make: (rig) => void rig.driver.addIndirect(flushRequest(rig)),
  },
  {
    name: "an indirect table inside another",
    make: (rig) => {
      rig.driver.addIndirect(flushRequest(rig));
      rig.memory.view.setUint16(rig.driver.tables - rig.memory.base + 16 + 12, 6, true);
    },
  },
  {
    name: "an indirect table with a next",
    make: (rig) => {
      rig.driver.addIndirect(flushRequest(rig));
      rig.memory.view.setUint16(12, 5, true);
    },
  },
  ...[0, 33, 9 * 16, 0xffff_fff0].map((sizeBytes) => ({
    name: `an indirect table of ${sizeBytes} bytes`,
    make: (rig: DiskRig): void => {
      rig.driver.addIndirect(flushRequest(rig));
      rig.memory.view.setUint32(8, sizeBytes, true);
    },
  })),
  {
    name: "a chain longer than the queue, in the ring and in a table together",
    make: (rig) => {
      const { driver, memory } = rig;
      const { buffers } = blockRequest(memory, driver.free, 4, 0);
      driver.writeDescriptor(driver.desc, buffers[0], 1, 1);
      driver.writeDescriptor(driver.desc + 16, { iova: driver.tables, size: 8 * 16 }, 4, 0);
      for (let i = 0; i < 8; i++) {
        driver.writeDescriptor(driver.tables + 16 * i, buffers[1], i < 7 ? 3 : 2, i + 1);
      }
      driver.offer(0);
    },
  },
  {
    name: "next outside the indirect table",
    make: (rig) => {
      // What the device has kept of a longer table would do.
      const { buffers } = blockRequest(rig.memory, rig.driver.free, 4, 0);
      rig.driver.addIndirect([buffers[0], buffers[0], buffers[1]]);
      rig.driver.kick();
      rig.driver.addIndirect(buffers);
      rig.memory.view.setUint16(rig.driver.tables - rig.memory.base + 48 + 14, 2, true);
    },
  },
  {
    name: "a loop in the indirect table",
    make: (rig) => {
      rig.driver.addIndirect(flushRequest(rig));
      rig.memory.view.setUint16(rig.driver.tables - rig.memory.base + 14, 0, true);
    },
  },
  {
    name: "an indirect table beyond memory",
    make: (rig) => {
      rig.driver.writeDescriptor(rig.driver.desc, { iova: 2 ** 63, size: 16 }, 4, 0);
      rig.driver.offer(0);
    },
  },
  {
    name: "a status byte beyond memory",
    make: (rig) =>
      void rig.driver.add([
        { iova: rig.driver.free, size: 16, writable: false },
        { iova: 2 ** 64 - 4096, size: 1, writable: true },
      ]),
  },
  ...(["descriptor table", "available ring", "used ring"] as const).map((name, i) => ({
    name: `${name} out of reach`,
    make: (rig: DiskRig): void => {
      rig.driver.add(flushRequest(rig));
      const first = [rig.driver.desc, rig.driver.avail, rig.driver.used + 4][i];
      rig.memory.faults = [{ first, end: first + 1, reads: true, writes: true }];
    },
  })),
  {
    name: "used index out of reach",
    make: (rig) => {
      rig.driver.add(flushRequest(rig));
      rig.memory.faults = [{ first: rig.driver.used + 2, end: rig.driver.used + 4, writes: true }];
    },
  },
  {
    name: "used_event out of reach",
    lo: EVENT_IDX,
    make: (rig) => {
      rig.driver.add(flushRequest(rig));
      const first = rig.driver.avail + 4 + 16;
      rig.memory.faults = [{ first, end: first + 2, reads: true }];
    },
  },
  {
    name: "avail_event out of reach",
    lo: EVENT_IDX,
    make: (rig) => {
      rig.driver.add(flushRequest(rig));
      const first = rig.driver.used + 4 + 64;
      rig.memory.faults = [{ first, end: first + 2, writes: true }];
    },
  },
];

Deno.test("a broken ring needs a reset, is told once, and works after it", async (t) => {
  for (const { name, lo = INDIRECT, make } of HOSTILE) {
    await t.step(name, () => {
      const rig = diskRig({ lo });
      const { driver, memory, irq } = rig;
      assertEquals(driver.status, 0x0f);
      make(rig);
      driver.kick();
      assertEquals(driver.status, 0x4f);
      assertEquals(irq.level, true);
      const isr = new Uint8Array(1);
      driver.bar.read(0x1000, isr);
      assertEquals(isr[0] & 2, 2, "a configuration change");
      const count = memory.count;
      driver.kick();
      assertEquals([memory.count, irq.level], [count, false], "the ring is left alone");
      memory.faults = [];
      memory.onRead = () => {};
      memory.bytes.fill(0);
      driver.availIndex = driver.usedIndex = 0;
      driver.start({ lo });
      const head = driver.add(flushRequest(rig));
      driver.kick();
      assertEquals(driver.take(), [{ id: head, len: 1 }]);
    });
  }
});

Deno.test("misaligned areas need a reset", async (t) => {
  const cases = [
    { name: "descriptors by 8", offset: 0x20, add: 8, status: 0x4b },
    { name: "available ring by 1", offset: 0x28, add: 1, status: 0x4b },
    { name: "used ring by 2", offset: 0x30, add: 2, status: 0x4b },
    { name: "available ring by 2 is aligned", offset: 0x28, add: 2, status: 0x0b },
  ];
  for (const { name, offset, add, status } of cases) {
    await t.step(name, () => {
      const { driver } = diskRig({ started: false });
      poke(driver.bar, 0x14, 1, 3);
      driver.negotiate(0, 3);
      [0x4000_0000, 0x4000_1000, 0x4000_2000].forEach((area, i) => {
        poke(driver.bar, 0x20 + 8 * i, 4, area + (0x20 + 8 * i === offset ? add : 0));
      });
      poke(driver.bar, 0x18, 2, 8);
      poke(driver.bar, 0x1c, 2, 1);
      assertEquals(driver.status, status);
    });
  }
});

/** Makes a few requests that are right, then overwrites up to five 16-bit halves of rings, tables and headers. */
function scribble(rig: DiskRig, random: Random): void {
  const { driver, memory } = rig;
  for (let i = random.below(4); i >= 0; i--) {
    const header = driver.free + 32 * random.below(4);
    const size = random.of([1, 16, 512, 1024, 4096]);
    const data = [{ iova: driver.free + 0x1000, size, writable: random.below(2) === 0 }];
    const request = blockRequest(
      memory,
      header,
      random.of([0, 0, 1, 4, 8, 11, 13, 2]),
      random.below(70),
      data,
    );
    if (random.below(2) === 0) driver.add(request.buffers);
    else driver.addIndirect(request.buffers);
  }
  const regions = [
    [driver.desc, driver.avail],
    [driver.avail, driver.used + 4],
    [driver.tables, driver.tables + 256],
    [driver.free, driver.free + 128],
  ];
  for (let i = random.below(6); i > 0; i--) {
    const [first, end] = random.of(regions);
    const at = first - memory.base + 2 * random.below((end - first) / 2);
    const value = random.of([
      0,
      1,
      2,
      3,
      4,
      5,
      7,
      8,
      16,
      0x4000,
      0x8000,
      0xffff,
      random.below(65536),
    ]);
    memory.view.setUint16(at, value, true);
  }
  if (random.below(8) === 0) {
    const first = memory.base + random.below(0x8000);
    memory.faults = [{ first, end: first + random.below(64), reads: true, writes: true }];
  }
}

Deno.test("scribbled rings end in bounded work, and never throw", () => {
  const seed = 0x5eed_0001;
  const random = new Random(seed);
  const outcomes = new Map<number, number>();
  for (let turn = 0; turn < 5000; turn++) {
    const size = random.of([8, 16]);
    const lo = random.of([INDIRECT, INDIRECT | EVENT_IDX]) | 0x6200;
    const rig = diskRig({ lo, size });
    scribble(rig, random);
    const before = rig.memory.count;
    rig.driver.kick();
    rig.driver.kick();
    // For each request: descriptors, a table, header, ranges, data of each buffer, status; for each kick the rings.
    const bound = 2 * (size * (2 * size + 4) + 12);
    const spent = rig.memory.count - before;
    if (spent > bound) throw new Error(`Seed ${seed}, turn ${turn}: ${spent} transactions`);
    outcomes.set(rig.driver.status, (outcomes.get(rig.driver.status) ?? 0) + 1);
  }
  // Both outcomes are common, or the test would say little.
  assertEquals([...outcomes.keys()].sort(), [0x0f, 0x4f]);
  assertEquals([...outcomes.values()].every((count) => count > 1000), true, `${[...outcomes]}`);
});

Deno.test("descriptors of pure noise end in bounded work, and never throw", () => {
  const seed = 0x5eed_0002;
  const random = new Random(seed);
  for (let turn = 0; turn < 1000; turn++) {
    const rig = diskRig({ lo: INDIRECT | EVENT_IDX, size: random.of([1, 2, 8, 16]) });
    const { bytes } = rig.memory;
    for (let i = 0; i < 0x7000; i++) bytes[i] = random.below(256) & random.of([0, 3, 7, 0xff]);
    const before = rig.memory.count;
    rig.driver.kick();
    if (rig.memory.count - before > 1000) throw new Error(`Seed ${seed}, turn ${turn}`);
    assertEquals([0x0f, 0x4f].includes(rig.driver.status), true);
  }
});
