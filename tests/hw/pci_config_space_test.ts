/** Configuration space: header, masks, BAR sizing, capability lists. @module */
import { assertEquals, assertThrows } from "@std/assert";
import { ConfigSpace } from "../../hw/pci/config_space.ts";
import { expressCapability } from "../../hw/pci/express.ts";
import { IntxPin } from "../../hw/pci/intx.ts";
import { FakeIrq } from "../support/fake_dma.ts";
import { peek, poke } from "../support/virtio_driver.ts";

function example(): ConfigSpace {
  return new ConfigSpace({
    vendorId: 0x1af4,
    deviceId: 0x1042,
    classCode: 0x010000,
    revision: 1,
    subsystemVendorId: 0x1234,
    subsystemId: 0x5678,
    interruptPin: 1,
    bars: [{ index: 0, sizeBytes: 0x4000 }, { index: 2, sizeBytes: 2 ** 33, wide: true }],
    capabilities: [
      { id: 0x09, sizeBytes: 5, registers: [] },
      { id: 0x10, sizeBytes: 0x3c, registers: [] },
    ],
    extended: [
      { id: 0x0003, sizeBytes: 12, registers: [] },
      { id: 0x001b, version: 2, sizeBytes: 8, registers: [] },
    ],
  });
}

function dump(config: ConfigSpace, offset: number, size: number): number[] {
  const bytes = new Uint8Array(size);
  config.read(offset, bytes);
  return [...bytes];
}

Deno.test("a header has the bytes of its identity", () => {
  // deno-fmt-ignore
  assertEquals(dump(example(), 0, 0x40), [
    0xf4, 0x1a, 0x42, 0x10, 0x00, 0x00, 0x10, 0x00, 0x01, 0x00, 0x00, 0x01, 0x00, 0x00, 0x00, 0x00,
    0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x04, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00,
    0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x34, 0x12, 0x78, 0x56,
    0x00, 0x00, 0x00, 0x00, 0x40, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x01, 0x00, 0x00,
  ]);
});

Deno.test("capabilities are linked in order, aligned to four bytes", () => {
  const config = example();
  assertEquals(dump(config, 0x40, 2), [0x09, 0x48]);
  assertEquals(dump(config, 0x48, 2), [0x10, 0x00]);
  assertEquals(peek(config, 0x100, 4), 0x10c1_0003);
  assertEquals(peek(config, 0x10c, 4), 0x0002_001b);
});

Deno.test("all ones change exactly the writable bits", async (t) => {
  const cases = [
    { name: "VendorID and DeviceID", offset: 0x00, now: 0x1042_1af4 },
    { name: "Command: memory, master, parity, SERR, INTx disable", offset: 0x04, now: 0x0010_0546 },
    { name: "RevisionID and class", offset: 0x08, now: 0x0100_0001 },
    { name: "CacheLineSize, timers, type", offset: 0x0c, now: 0x0000_00ff },
    { name: "BAR 0 of 16 KiB", offset: 0x10, now: 0xffff_c000 },
    { name: "BAR 1, absent", offset: 0x14, now: 0 },
    { name: "BAR 2 of 8 GiB, low half", offset: 0x18, now: 0x0000_0004 },
    { name: "BAR 2 of 8 GiB, high half", offset: 0x1c, now: 0xffff_fffe },
    { name: "SubsystemID", offset: 0x2c, now: 0x5678_1234 },
    { name: "ROM, absent", offset: 0x30, now: 0 },
    { name: "CapabilitiesPointer", offset: 0x34, now: 0x40 },
    { name: "InterruptLine and InterruptPin", offset: 0x3c, now: 0x0000_01ff },
    { name: "a capability's ID and next pointer", offset: 0x40, now: 0x0000_4809 },
    { name: "an extended capability's header", offset: 0x100, now: 0x10c1_0003 },
  ];
  for (const { name, offset, now } of cases) {
    await t.step(name, () => {
      const config = example();
      poke(config, offset, 4, 0xffff_ffff);
      assertEquals(peek(config, offset, 4), now);
    });
  }
});

Deno.test("bytes are written one by one, and what lies outside is ignored", () => {
  const config = example();
  poke(config, 0x05, 1, 0xff);
  assertEquals(peek(config, 0x04, 2), 0x0500);
  poke(config, 0x13, 1, 0xe0);
  assertEquals(peek(config, 0x10, 4), 0xe000_0000);
  poke(config, 0xffe, 4, 0xffff_ffff);
  assertEquals(peek(config, 0xffe, 4), 0);
  poke(config, 0x5000, 4, 0xffff_ffff);
  assertEquals(peek(config, 0x5000, 4), 0);
});

Deno.test("Status errors are cleared by writing ones", () => {
  const config = example();
  config.put(0x06, Uint8Array.of(0x10, 0xf9));
  poke(config, 0x06, 2, 0x2000);
  assertEquals(peek(config, 0x06, 2), 0xd910);
  poke(config, 0x06, 2, 0x06ff);
  assertEquals(peek(config, 0x06, 2), 0xd910);
  poke(config, 0x06, 2, 0xffff);
  assertEquals(peek(config, 0x06, 2), 0x0010);
});

Deno.test("Command can be asked", () => {
  const config = example();
  const state = (): boolean[] => [config.memoryEnabled, config.busMaster, config.interruptDisabled];
  assertEquals(state(), [false, false, false]);
  poke(config, 0x04, 2, 0x0002);
  assertEquals(state(), [true, false, false]);
  poke(config, 0x04, 2, 0x0004);
  assertEquals(state(), [false, true, false]);
  poke(config, 0x04, 2, 0x0400);
  assertEquals(state(), [false, false, true]);
});

Deno.test("reset() returns every register to its initial value", () => {
  const config = example();
  const before = dump(config, 0, 4096);
  config.write(0, new Uint8Array(4096).fill(0xff));
  config.interruptStatus = true;
  config.reset();
  assertEquals(dump(config, 0, 4096), before);
});

Deno.test("a BAR that cannot be is refused", async (t) => {
  const cases = [
    { name: "not a power of two", bar: { index: 0, sizeBytes: 0x3000 } },
    { name: "smaller than 16", bar: { index: 0, sizeBytes: 8 } },
    { name: "beyond the last", bar: { index: 6, sizeBytes: 0x1000 } },
    { name: "64-bit in the last", bar: { index: 5, sizeBytes: 0x1000, wide: true } },
    { name: "4 GiB in 32 bits", bar: { index: 0, sizeBytes: 2 ** 32 } },
  ];
  for (const { name, bar } of cases) {
    await t.step(name, () => {
      assertThrows(
        () => new ConfigSpace({ vendorId: 1, deviceId: 1, classCode: 0, bars: [bar] }),
        RangeError,
      );
    });
  }
});

Deno.test("the PCI Express capability has the bytes of an endpoint with function level reset", () => {
  let resets = 0;
  const config = new ConfigSpace({
    vendorId: 1,
    deviceId: 1,
    classCode: 0,
    capabilities: [
      expressCapability({
        reset: () => {
          resets++;
          config.reset();
        },
      }),
    ],
  });
  // deno-fmt-ignore
  assertEquals(dump(config, 0x40, 0x3c), [
    0x10, 0x00, 0x02, 0x00, 0x00, 0x80, 0x00, 0x10, 0x10, 0x28, 0x00, 0x00, 0x11, 0x00, 0x40, 0x00,
    0x00, 0x00, 0x11, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00,
    0x00, 0x00, 0x00, 0x00, 0x10, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x02, 0x00, 0x00, 0x00,
    0x01, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00,
  ]);
  poke(config, 0x04, 2, 0x0006);
  poke(config, 0x48, 2, 0x2810);
  assertEquals([resets, peek(config, 0x04, 2)], [0, 0x0006]);
  poke(config, 0x48, 2, 0xa810);
  assertEquals([resets, peek(config, 0x04, 2), peek(config, 0x48, 2)], [1, 0x0000, 0x2810]);
});

Deno.test("an integrated endpoint has no link", () => {
  const config = new ConfigSpace({
    vendorId: 1,
    deviceId: 1,
    classCode: 0,
    capabilities: [expressCapability({ type: 9, reset: () => {} })],
  });
  assertEquals(peek(config, 0x42, 2), 0x0092);
  assertEquals(dump(config, 0x4c, 8), [0, 0, 0, 0, 0, 0, 0, 0]);
});

Deno.test("an INTx pin shows its level in Status and obeys Interrupt Disable", () => {
  const config = example();
  const line = new FakeIrq();
  const pin = new IntxPin(config, line);
  pin.set(true);
  pin.set(true);
  assertEquals([line.levels, peek(config, 0x06, 2)], [[true], 0x0018]);
  poke(config, 0x04, 2, 0x0400);
  pin.pulse();
  assertEquals([line.levels, peek(config, 0x06, 2), line.pulses], [[true, false], 0x0018, 0]);
  poke(config, 0x04, 2, 0x0000);
  pin.pulse();
  assertEquals([line.levels, line.pulses], [[true, false, true], 1]);
  pin.set(false);
  assertEquals([line.levels, peek(config, 0x06, 2)], [[true, false, true, false], 0x0010]);
  poke(config, 0x04, 2, 0x0400);
  pin.set(true);
  config.reset();
  assertEquals(
    [line.level, peek(config, 0x06, 2)],
    [true, 0x0018],
    "a reset clears Interrupt Disable",
  );
});
