/** The carrier of registers: identity, BAR, interrupt, reset. @module */
import { assertEquals } from "@std/assert";
import { RegisterCarrier } from "../../hw/pci/register_carrier.ts";
import { FakeIrq } from "../support/fake_dma.ts";
import { peek, poke } from "../support/virtio_driver.ts";

Deno.test("a carrier shows a device in BAR 0 and passes on its interrupt and its reset", () => {
  const device = {
    read: (offset: number, into: Uint8Array): void => void into.fill(offset & 0xff),
    write: (): void => {},
  };
  const irq = new FakeIrq();
  let resets = 0;
  const carrier = new RegisterCarrier({ device, irq, resetDevice: () => void resets++ });
  assertEquals(carrier.bars.map(({ index, sizeBytes }) => [index, sizeBytes]), [[0, 0x2_0000]]);
  assertEquals(peek(carrier.bars[0].device, 0x12, 4), 0x1212_1212);
  assertEquals(peek(carrier.config, 0x00, 4), 0x5343_1234);
  assertEquals(peek(carrier.config, 0x08, 4), 0x0806_0000);
  assertEquals(peek(carrier.config, 0x34, 1), 0);
  assertEquals(peek(carrier.config, 0x3c, 4), 0x0000_0100);
  poke(carrier.config, 0x10, 4, 0xffff_ffff);
  assertEquals(peek(carrier.config, 0x10, 4), 0xfffe_0000);
  carrier.interrupt.set(true);
  carrier.interrupt.pulse();
  assertEquals([irq.level, irq.pulses, peek(carrier.config, 0x06, 2)], [true, 1, 0x0008]);
  carrier.reset();
  assertEquals([irq.level, resets, peek(carrier.config, 0x06, 2)], [false, 1, 0]);
  assertEquals(peek(carrier.config, 0x10, 4), 0);
});
