/** The virtio PCI function: capabilities, notifications, interrupts, resets. @module */
import { assertEquals } from "@std/assert";
import type { Bar } from "../../hw/pci/function.ts";
import { blockRequest, type DiskRig, diskRig, peek, poke } from "../support/virtio_driver.ts";

function configBytes(rig: DiskRig, offset: number, size: number): number[] {
  const bytes = new Uint8Array(size);
  rig.disk.config.read(offset, bytes);
  return [...bytes];
}

/** Makes a flush request available and notifies the device. */
function flush({ driver, memory }: DiskRig): void {
  const request = blockRequest(memory, driver.free, 4, 0);
  driver.add(request.buffers);
  driver.kick();
}

Deno.test("the function is a modern virtio block device", () => {
  const rig = diskRig({ started: false });
  // deno-fmt-ignore
  assertEquals(configBytes(rig, 0, 16), [
    0xf4, 0x1a, 0x42, 0x10, 0x00, 0x00, 0x10, 0x00, 0x01, 0x00, 0x00, 0x01, 0x00, 0x00, 0x00, 0x00,
  ]);
  assertEquals(configBytes(rig, 0x2c, 4), [0xf4, 0x1a, 0x42, 0x10]);
  assertEquals(configBytes(rig, 0x3d, 1), [1]);
  assertEquals(rig.disk.bars.map(({ index, sizeBytes }: Bar) => [index, sizeBytes]), [[0, 0x4000], [
    1,
    0x1000,
  ]]);
});

Deno.test("the capability list has PCI Express, MSI-X and the five virtio structures", () => {
  const rig = diskRig({ started: false });
  const found: number[][] = [];
  for (let at = peek(rig.disk.config, 0x34, 1); at !== 0; at = peek(rig.disk.config, at + 1, 1)) {
    const [id] = configBytes(rig, at, 1);
    found.push(id === 0x09 ? configBytes(rig, at + 2, configBytes(rig, at + 2, 1)[0] - 2) : [id]);
  }
  // deno-fmt-ignore
  assertEquals(found, [
    [0x10],
    [0x11],
    [16, 1, 0, 0, 0, 0, 0x00, 0x00, 0, 0, 0x3c, 0, 0, 0],
    [20, 2, 0, 0, 0, 0, 0x00, 0x30, 0, 0, 0x04, 0, 0, 0, 4, 0, 0, 0],
    [16, 3, 0, 0, 0, 0, 0x00, 0x10, 0, 0, 0x01, 0, 0, 0],
    [16, 4, 0, 0, 0, 0, 0x00, 0x20, 0, 0, 0x3c, 0, 0, 0],
    [20, 5, 0, 0, 0, 0, 0x00, 0x00, 0, 0, 0x00, 0, 0, 0, 0, 0, 0, 0],
  ]);
});

Deno.test("without MSI-X there is neither capability nor BAR", () => {
  const rig = diskRig({ pci: { msix: "absent" } });
  assertEquals(rig.disk.bars.length, 1);
  assertEquals(configBytes(rig, 0x7c, 1), [0x09]);
  assertEquals(configBytes(rig, 0x7f, 1), [1]);
  poke(rig.driver.bar, 0x10, 2, 0);
  assertEquals(peek(rig.driver.bar, 0x10, 2), 0xffff);
  flush(rig);
  assertEquals(rig.irq.level, true);
});

Deno.test("MSI-X can look vendor specific until the first function reset", async (t) => {
  const cases = [
    { name: "shown", msix: "shown", before: 0x11 },
    { name: "disguised", msix: "disguised", before: 0x09 },
  ] as const;
  for (const { name, msix, before } of cases) {
    await t.step(name, () => {
      const rig = diskRig({ started: false, pci: { msix } });
      assertEquals(configBytes(rig, 0x7c, 1), [before]);
      rig.disk.reset();
      assertEquals(configBytes(rig, 0x7c, 1), [0x11]);
      rig.disk.coldReset();
      assertEquals(configBytes(rig, 0x7c, 1), [before], "another VMM comes");
    });
  }
});

Deno.test("device configuration has the disk's numbers and cannot be written", () => {
  const { driver } = diskRig({ sectors: 0x123, disk: { blockSizeBytes: 4096 } });
  const { bar } = driver;
  bar.write(0x2000, new Uint8Array(60).fill(0xff));
  const fields = [
    ["capacity", 0x00, 4, 0x123],
    ["capacity, high", 0x04, 4, 0],
    ["size_max", 0x08, 4, 0x40_0000],
    ["seg_max", 0x0c, 4, 254],
    ["blk_size", 0x14, 4, 4096],
    ["max_discard_sectors", 0x24, 4, 0x1_0000],
    ["max_discard_seg", 0x28, 4, 8],
    ["discard_sector_alignment", 0x2c, 4, 8],
    ["max_write_zeroes_sectors", 0x30, 4, 0x1_0000],
    ["max_write_zeroes_seg", 0x34, 4, 8],
    ["write_zeroes_may_unmap", 0x38, 1, 0],
    ["beyond the end", 0x3c, 8, 0],
  ] as const;
  for (const [name, offset, size, value] of fields) {
    assertEquals(peek(bar, 0x2000 + offset, size), value, name);
  }
});

Deno.test("INTx is asserted by a used buffer and taken away by reading the ISR", () => {
  const rig = diskRig();
  flush(rig);
  assertEquals([rig.irq.level, peek(rig.disk.config, 0x06, 2)], [true, 0x0018]);
  assertEquals(peek(rig.driver.bar, 0x1000, 1), 1);
  assertEquals([rig.irq.level, peek(rig.disk.config, 0x06, 2)], [false, 0x0010]);
  assertEquals(peek(rig.driver.bar, 0x1000, 1), 0);
  flush(rig);
  flush(rig);
  assertEquals(rig.irq.levels, [true, false, true]);
});

Deno.test("Interrupt Disable keeps INTx down but not Status", () => {
  const rig = diskRig();
  poke(rig.disk.config, 0x04, 2, 0x0406);
  flush(rig);
  assertEquals([rig.irq.level, peek(rig.disk.config, 0x06, 2)], [false, 0x0018]);
  poke(rig.disk.config, 0x04, 2, 0x0006);
  assertEquals(rig.irq.level, true);
});

Deno.test("with MSI-X enabled a used buffer sends the queue's message", async (t) => {
  const cases = [
    { name: "its vector", vectors: [1, 0], masked: false, sent: [0xa1] },
    { name: "no vector", vectors: [0xffff, 0], masked: false, sent: [] },
    { name: "masked, then unmasked", vectors: [1, 0], masked: true, sent: [0xa1] },
  ] as const;
  for (const { name, vectors, masked, sent } of cases) {
    await t.step(name, () => {
      const rig = diskRig({ started: false });
      const table = rig.disk.bars[1].device;
      for (const vector of [0, 1]) {
        poke(table, 16 * vector, 4, 0x0802_0040);
        poke(table, 16 * vector + 8, 4, 0xa0 + vector);
        poke(table, 16 * vector + 12, 4, masked ? 1 : 0);
      }
      poke(rig.disk.config, 0x7e, 2, 0x8000);
      rig.driver.start({ vectors });
      flush(rig);
      if (masked) {
        assertEquals([rig.memory.messages.length, peek(table, 0x800, 4)], [0, 0b10]);
        poke(table, 0x1c, 4, 0);
      }
      assertEquals(
        rig.memory.messages.map(({ streamId, data }) => [streamId, data]),
        sent.map((data) => [0x28, data]),
      );
      assertEquals(
        [rig.irq.levels, peek(rig.driver.bar, 0x1000, 1)],
        [[], 0],
        "neither INTx nor ISR",
      );
    });
  }
});

Deno.test("enabling MSI-X takes INTx away, disabling it brings it back", () => {
  const rig = diskRig();
  flush(rig);
  poke(rig.disk.config, 0x7e, 2, 0x8000);
  assertEquals(rig.irq.level, false);
  poke(rig.disk.config, 0x7e, 2, 0x0000);
  assertEquals(rig.irq.level, true);
});

Deno.test("a changed configuration advances the generation and interrupts", () => {
  const rig = diskRig();
  assertEquals(peek(rig.driver.bar, 0x15, 1), 0);
  rig.disk.configurationChanged();
  assertEquals([peek(rig.driver.bar, 0x15, 1), rig.irq.level], [1, true]);
  assertEquals(peek(rig.driver.bar, 0x1000, 1), 2);
});

Deno.test("a notification waits for DRIVER_OK and for bus mastering", async (t) => {
  await t.step("DRIVER_OK", () => {
    const rig = diskRig({ started: false });
    poke(rig.disk.config, 0x04, 2, 0x0006);
    poke(rig.driver.bar, 0x14, 1, 3);
    rig.driver.negotiate(0, 3);
    rig.driver.setUpQueue();
    flush(rig);
    assertEquals([rig.driver.writtenUsedIndex, rig.memory.count], [0, 0]);
    poke(rig.driver.bar, 0x14, 1, 0x0f);
    assertEquals([rig.driver.writtenUsedIndex, rig.irq.level], [1, true]);
  });
  await t.step("Bus Master Enable", () => {
    const rig = diskRig();
    poke(rig.disk.config, 0x04, 2, 0x0002);
    flush(rig);
    assertEquals([rig.driver.writtenUsedIndex, rig.memory.count], [0, 0]);
    poke(rig.disk.config, 0x04, 2, 0x0006);
    assertEquals([rig.driver.writtenUsedIndex, rig.irq.level], [1, true]);
  });
});

Deno.test("writing status 0 resets the device, not the function", () => {
  const rig = diskRig();
  flush(rig);
  poke(rig.driver.bar, 0x14, 1, 0);
  assertEquals([rig.driver.status, rig.irq.level, peek(rig.driver.bar, 0x1000, 1)], [0, false, 0]);
  assertEquals([
    peek(rig.driver.bar, 0x18, 2),
    peek(rig.driver.bar, 0x1c, 2),
    peek(rig.driver.bar, 0x20, 4),
  ], [256, 0, 0]);
  assertEquals(peek(rig.driver.bar, 0x0c, 4), 0);
  assertEquals(peek(rig.disk.config, 0x04, 2), 0x0006);
  const count = rig.memory.count;
  rig.driver.kick();
  assertEquals(rig.memory.count, count);
});

Deno.test("a reset forgets notifications that were not served", () => {
  const rig = diskRig();
  poke(rig.disk.config, 0x04, 2, 0x0002);
  flush(rig);
  poke(rig.driver.bar, 0x14, 1, 0);
  rig.driver.start();
  assertEquals([rig.memory.count, rig.driver.writtenUsedIndex], [0, 0]);
  rig.driver.kick();
  assertEquals(rig.driver.writtenUsedIndex, 1);
});

Deno.test("a driver is told once that the device needs a reset", () => {
  const rig = diskRig({ hi: 0x103 });
  for (const status of [0x0002, 0x0000]) {
    poke(rig.driver.bar, 0x3a, 2, 1);
    poke(rig.driver.bar, 0x20, 4, 0x4000_0001);
    poke(rig.driver.bar, 0x1c, 2, 1);
    assertEquals([rig.driver.status, peek(rig.driver.bar, 0x1000, 1)], [0x4f, status]);
  }
});

Deno.test("a function reset returns everything to its initial state", async (t) => {
  const resets: [string, (rig: DiskRig) => void][] = [
    ["reset()", (rig) => rig.disk.reset()],
    ["Initiate Function Level Reset", (rig) => poke(rig.disk.config, 0x48, 2, 0x8000)],
  ];
  for (const [name, reset] of resets) {
    await t.step(name, () => {
      const rig = diskRig();
      const initial = configBytes(diskRig({ started: false }), 0, 4096);
      poke(rig.disk.config, 0x10, 4, 0x1000_0000);
      poke(rig.disk.bars[1].device, 0, 4, 0x1000);
      flush(rig);
      reset(rig);
      assertEquals(configBytes(rig, 0, 4096), initial);
      assertEquals([rig.driver.status, rig.irq.level], [0, false]);
      assertEquals([peek(rig.disk.bars[1].device, 0, 4), peek(rig.disk.bars[1].device, 12, 4)], [
        0,
        1,
      ]);
    });
  }
});

Deno.test("a queue can be reset alone", () => {
  const rig = diskRig({ hi: 0x103 });
  flush(rig);
  poke(rig.driver.bar, 0x3a, 2, 1);
  assertEquals([peek(rig.driver.bar, 0x3a, 2), peek(rig.driver.bar, 0x1c, 2), rig.driver.status], [
    0,
    0,
    0x0f,
  ]);
  flush(rig);
  assertEquals(rig.driver.writtenUsedIndex, 1, "nothing is served while it is off");
  rig.memory.bytes.fill(0, 0, 0x1000);
  rig.driver.availIndex = 0;
  rig.driver.setUpQueue();
  flush(rig);
  assertEquals(rig.driver.writtenUsedIndex, 1);
});

Deno.test("a queue is reset alone only if that was negotiated", () => {
  const { driver } = diskRig();
  poke(driver.bar, 0x3a, 2, 1);
  assertEquals(peek(driver.bar, 0x1c, 2), 1);
});

Deno.test("only the register of a queue notifies it", () => {
  const rig = diskRig();
  rig.driver.add(blockRequest(rig.memory, rig.driver.free, 4, 0).buffers);
  for (const offset of [0x3002, 0x3004, 0x3ffc]) poke(rig.driver.bar, offset, 2, 0);
  assertEquals(rig.memory.count, 0);
  poke(rig.driver.bar, 0x3000, 4, 0);
  assertEquals(rig.driver.writtenUsedIndex, 1);
});

Deno.test("pci_cfg_data reaches the BARs", async (t) => {
  const rig = diskRig();
  const at = 0xcc;
  assertEquals(configBytes(rig, at + 2, 2), [20, 5]);
  const window = (bar: number, offset: number, length: number): void => {
    poke(rig.disk.config, at + 4, 1, bar);
    poke(rig.disk.config, at + 8, 4, offset);
    poke(rig.disk.config, at + 12, 4, length);
  };
  await t.step("reads one, two and four bytes", () => {
    window(0, 0x14, 1);
    assertEquals(peek(rig.disk.config, at + 16, 1), 0x0f);
    window(0, 0x18, 2);
    assertEquals(peek(rig.disk.config, at + 16, 2), 8);
    window(0, 0x2000, 4);
    assertEquals(peek(rig.disk.config, at + 16, 4), 64);
  });
  await t.step("writes", () => {
    window(1, 0, 4);
    poke(rig.disk.config, at + 16, 4, 0x0802_0040);
    assertEquals(peek(rig.disk.bars[1].device, 0, 4), 0x0802_0040);
  });
  const nothing: [string, number, number, number][] = [
    ["no such BAR", 2, 0, 4],
    ["beyond the BAR", 1, 0x1000, 4],
    ["misaligned", 1, 2, 4],
    ["length 0", 1, 0, 0],
    ["length 3", 1, 0, 3],
    ["a huge length", 1, 0, 0xffff_ffff],
  ];
  for (const [name, bar, offset, length] of nothing) {
    await t.step(`${name} does nothing`, () => {
      window(bar, offset, length);
      poke(rig.disk.config, at + 16, 4, 0x1111_1110);
      assertEquals(peek(rig.disk.config, at + 16, 4), 0x1111_1110);
      assertEquals(peek(rig.disk.bars[1].device, 0, 4), 0x0802_0040);
    });
  }
});

Deno.test("work beyond the budget is put off, once, and then done", () => {
  const work: (() => void)[] = [];
  const rig = diskRig({
    size: 16,
    sectors: 8192,
    memoryBytes: 0x44_0000,
    pci: { later: (run) => void work.push(run) },
  });
  const data = [{ iova: rig.driver.free + 0x1000, size: 0x40_0000, writable: true }];
  for (let i = 0; i < 5; i++) {
    rig.driver.add(blockRequest(rig.memory, rig.driver.free + 32 * i, 0, 0, data).buffers);
  }
  rig.driver.kick();
  assertEquals([rig.driver.take().length, work.length], [0, 1], "128 KiB of the first 4 MiB");
  rig.driver.kick();
  assertEquals([rig.driver.take().length, work.length], [0, 1], "asked again, put off once");
  let turns = 1;
  let answered = 0;
  for (; work.length > 0; turns++) {
    work.shift()?.();
    answered += rig.driver.take().length;
  }
  assertEquals([turns, answered, rig.driver.status], [160, 5, 0x0f]);
});

Deno.test("a device reset between two pieces of a request abandons it", () => {
  const work: (() => void)[] = [];
  const rig = diskRig({
    size: 16,
    sectors: 8192,
    memoryBytes: 0x44_0000,
    pci: { later: (run) => void work.push(run) },
  });
  const iova = rig.driver.free + 0x1000;
  const data = [{ iova, size: 0x40_0000, writable: true }];
  rig.driver.add(blockRequest(rig.memory, rig.driver.free, 0, 0, data).buffers);
  rig.driver.kick();
  rig.memory.bytes.fill(0xaa, iova, iova + 0x40_0000);
  poke(rig.disk.bars[0].device, 0x14, 1, 0);
  while (work.length > 0) work.shift()?.();
  assertEquals(
    rig.memory.bytes.subarray(iova, iova + 0x40_0000).every((byte: number) => byte === 0xaa),
    true,
  );
});
