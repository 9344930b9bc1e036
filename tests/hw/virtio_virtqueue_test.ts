/** Split rings: order, indexes, indirect tables, notifications and interrupts. @module */
import { assertEquals } from "@std/assert";
import { blockRequest, type Buffer, type DiskRig, diskRig } from "../support/virtio_driver.ts";

/** Feature bit 29. */
const EVENT_IDX = 0x2000_0000;

/** A flush: the request without data. */
function flushRequest({ memory, driver }: DiskRig): readonly Buffer[] {
  return blockRequest(memory, driver.free, 4, 0).buffers;
}

Deno.test("requests are answered in order, across the end of the ring", () => {
  const rig = diskRig({ size: 4 });
  const heads: number[] = [];
  for (let round = 0; round < 5; round++) {
    heads.push(
      rig.driver.add(flushRequest(rig)),
      rig.driver.add(flushRequest(rig)),
      rig.driver.add(flushRequest(rig)),
    );
    rig.driver.kick();
  }
  assertEquals(rig.driver.writtenUsedIndex, 15);
  assertEquals(heads, [0, 2, 0, 2, 0, 2, 0, 2, 0, 2, 0, 2, 0, 2, 0]);
  rig.driver.usedIndex = 11;
  assertEquals(rig.driver.take().map(({ id }) => id), [2, 0, 2, 0]);
});

Deno.test("three at once across the end of the ring are all given back", () => {
  const rig = diskRig({ size: 4 });
  const add = (): number => rig.driver.add(flushRequest(rig));
  add();
  add();
  add();
  rig.driver.kick();
  rig.driver.take();
  rig.memory.bytes.fill(
    0xee,
    rig.driver.used + 4 - rig.memory.base,
    rig.driver.used + 36 - rig.memory.base,
  );
  const heads = [add(), add(), add()];
  rig.driver.kick();
  assertEquals(rig.driver.take(), heads.map((id) => ({ id, len: 1 })));
});

Deno.test("indexes wrap from 65535 to 0", async (t) => {
  for (const lo of [0, EVENT_IDX]) {
    await t.step(lo === 0 ? "flags" : "event index", () => {
      const rig = diskRig({ size: 256, lo });
      let answered = 0;
      for (let round = 0; round < 520; round++) {
        for (let i = 0; i < 127; i++) rig.driver.add(flushRequest(rig));
        rig.driver.usedEvent = rig.driver.availIndex - 1;
        rig.driver.kick();
        answered += rig.driver.take().filter(({ len }) => len === 1).length;
      }
      assertEquals([answered, rig.driver.writtenUsedIndex, rig.driver.status], [
        520 * 127,
        504,
        0x0f,
      ]);
    });
  }
});

Deno.test("rings may lie across 4 GiB", () => {
  // The available ring starts 256 bytes below, so that its entries from 126 on are above.
  const rig = diskRig({ base: 2 ** 32 - 0x1100, size: 256 });
  for (let i = 0; i < 300; i++) {
    rig.driver.add(flushRequest(rig));
    rig.driver.kick();
  }
  assertEquals([rig.driver.writtenUsedIndex, rig.driver.status], [300, 0x0f]);
});

Deno.test("a buffer may lie across 4 GiB", () => {
  const { driver, memory, contents } = diskRig({ base: 2 ** 32 - 0x8000 });
  const header = 2 ** 32 - 8;
  blockRequest(memory, header, 1, 2);
  memory.bytes.fill(0x77, 0x8008, 0x8208);
  driver.add([
    { iova: header, size: 16 + 512, writable: false },
    { iova: driver.free, size: 1, writable: true },
  ]);
  driver.kick();
  assertEquals(driver.take(), [{ id: 0, len: 1 }]);
  assertEquals(contents.subarray(1024, 1536), new Uint8Array(512).fill(0x77));
});

Deno.test("an indirect table is one request, alone or after descriptors", async (t) => {
  await t.step("alone", () => {
    const rig = diskRig({ size: 4 });
    const iova = rig.driver.free + 0x1000;
    const data = [{ iova, size: 300, writable: true }, {
      iova: iova + 0x1000,
      size: 212,
      writable: true,
    }];
    const head = rig.driver.addIndirect(
      blockRequest(rig.memory, rig.driver.free, 0, 9, data).buffers,
    );
    rig.driver.kick();
    assertEquals(rig.driver.take(), [{ id: head, len: 513 }]);
    assertEquals(rig.memory.bytes[iova - rig.memory.base], 9);
  });
  await t.step("after the header", () => {
    const rig = diskRig();
    const { driver, memory } = rig;
    const { buffers } = blockRequest(memory, driver.free, 4, 0);
    driver.writeDescriptor(driver.desc, buffers[0], 1, 5);
    driver.writeDescriptor(driver.desc + 5 * 16, { iova: driver.tables, size: 16 }, 4, 0);
    driver.writeDescriptor(driver.tables, buffers[1], 2, 0);
    driver.offer(0);
    driver.kick();
    assertEquals(driver.take(), [{ id: 0, len: 1 }]);
  });
  await t.step("its own WRITE flag means nothing", () => {
    const rig = diskRig();
    rig.driver.addIndirect(flushRequest(rig));
    const view = rig.memory.view;
    view.setUint16(12, view.getUint16(12, true) | 2, true);
    rig.driver.kick();
    assertEquals(rig.driver.take(), [{ id: 0, len: 1 }]);
  });
});

Deno.test("a chain as long as the queue is served, one longer is not", async (t) => {
  for (const { extra, served } of [{ extra: 0, served: 1 }, { extra: 1, served: 0 }]) {
    await t.step(`8 + ${extra}, indirect`, () => {
      const rig = diskRig({ size: 8 });
      const data = Array.from({ length: 6 + extra }, (_, i) => ({
        iova: rig.driver.free + 0x1000 + 64 * i,
        size: i === 0 ? 512 - 5 - extra : 1,
        writable: true,
      }));
      rig.driver.addIndirect(blockRequest(rig.memory, rig.driver.free, 0, 0, data).buffers);
      rig.driver.kick();
      assertEquals([rig.driver.take().length, rig.driver.status], [
        served,
        served === 1 ? 0x0f : 0x4f,
      ]);
    });
  }
});

Deno.test("interrupts without event index obey NO_INTERRUPT, and notifications are never suppressed", () => {
  const rig = diskRig({ lo: 0 });
  const go = (): boolean => {
    rig.driver.add(flushRequest(rig));
    rig.driver.kick();
    const { level } = rig.irq;
    rig.driver.bar.read(0x1000, new Uint8Array(1));
    return level;
  };
  assertEquals(go(), true);
  rig.driver.availFlags = 1;
  assertEquals(go(), false);
  rig.driver.availFlags = 0;
  assertEquals(go(), true);
  assertEquals(rig.memory.view.getUint16(rig.driver.used - rig.memory.base, true), 0);
});

Deno.test("interrupts with event index come exactly when the index is passed", async (t) => {
  // `batches` requests are answered by one notification each; the driver asks for an interrupt at `event`.
  const cases = [
    { name: "the next one", batches: [1, 1, 1], event: [0, 1, 2], interrupts: [1, 1, 1] },
    { name: "the third", batches: [1, 1, 1, 1], event: [2, 2, 2, 2], interrupts: [0, 0, 1, 0] },
    { name: "inside a batch", batches: [2, 3, 2], event: [3, 3, 3], interrupts: [0, 1, 0] },
    { name: "the first of a batch", batches: [2, 3], event: [2, 2], interrupts: [0, 1] },
    { name: "the last of a batch", batches: [2, 3], event: [4, 4], interrupts: [0, 1] },
    { name: "just after a batch", batches: [2, 3], event: [5, 5], interrupts: [0, 0] },
    { name: "long past", batches: [2, 3], event: [0xffff, 1], interrupts: [0, 0] },
  ];
  for (const { name, batches, event, interrupts } of cases) {
    await t.step(name, () => {
      const rig = diskRig({ lo: EVENT_IDX, size: 16 });
      const got = batches.map((count, i) => {
        for (let n = 0; n < count; n++) rig.driver.add(flushRequest(rig));
        rig.driver.usedEvent = event[i];
        rig.driver.kick();
        const { level } = rig.irq;
        rig.driver.bar.read(0x1000, new Uint8Array(1));
        return level ? 1 : 0;
      });
      assertEquals(got, interrupts);
    });
  }
});

Deno.test("the next notification is asked for before the last look at the ring", async (t) => {
  await t.step("what is added meanwhile is served", () => {
    const rig = diskRig({ lo: EVENT_IDX });
    const { driver } = rig;
    driver.add(flushRequest(rig));
    let later = 2;
    rig.memory.onRead = (address, size) => {
      // The driver adds one more each time the device is about to look at flags and index.
      if (address === driver.avail && size === 4 && later-- > 0) driver.add(flushRequest(rig));
    };
    driver.kick();
    assertEquals([driver.take().length, driver.availEvent], [3, 3]);
  });
  await t.step("after a device reset it is asked for again", () => {
    const rig = diskRig({ lo: EVENT_IDX });
    for (let round = 0; round < 2; round++) {
      rig.memory.bytes.fill(0);
      rig.driver.availIndex = 0;
      rig.driver.start({ lo: EVENT_IDX });
      rig.driver.add(flushRequest(rig));
      rig.driver.kick();
      assertEquals([rig.driver.availEvent, rig.driver.writtenUsedIndex], [1, 1]);
    }
  });
  await t.step("availEvent follows the index", () => {
    const rig = diskRig({ lo: EVENT_IDX });
    for (const expected of [1, 2, 3]) {
      rig.driver.add(flushRequest(rig));
      rig.driver.kick();
      assertEquals(rig.driver.availEvent, expected);
    }
  });
});

Deno.test("what was fetched is never looked at again", async (t) => {
  for (const kind of ["chained", "indirect"]) {
    await t.step(kind, () => {
      const rig = diskRig();
      const { driver, memory } = rig;
      const data = [{ iova: driver.free + 0x1000, size: 512, writable: true }];
      const { buffers, status } = blockRequest(memory, driver.free, 0, 0, data);
      if (kind === "chained") driver.add(buffers);
      else driver.addIndirect(buffers);
      const seen: number[] = [];
      // A guest that spoils whatever the device has read, except flags and index.
      memory.afterRead = (address, size) => {
        seen.push(address);
        if (address !== driver.avail) {
          memory.bytes.fill(0xff, address - memory.base, address - memory.base + size);
        }
      };
      driver.kick();
      assertEquals(driver.take(), [{ id: 0, len: 513 }]);
      assertEquals(memory.bytes[status - memory.base], 0);
      const records = seen.filter((address) => address !== driver.avail);
      assertEquals(new Set(records).size, records.length);
    });
  }
});
