/** The common configuration structure: negotiation, status, queue registers. @module */
import { assertEquals } from "@std/assert";
import { diskRig, peek, poke } from "../support/virtio_driver.ts";

Deno.test("features offered are the transport's and the disk's", () => {
  const { driver } = diskRig({ started: false });
  const offered = [0, 1, 2, 0xffff_ffff].map((select) => {
    poke(driver.bar, 0x00, 4, select);
    return peek(driver.bar, 0x04, 4);
  });
  // SIZE_MAX 1, SEG_MAX 2, BLK_SIZE 6, FLUSH 9, DISCARD 13, WRITE_ZEROES 14, INDIRECT_DESC 28, EVENT_IDX 29;
  // VERSION_1 32, ACCESS_PLATFORM 33, RING_RESET 40.
  assertEquals(offered, [0x3000_6246, 0x0000_0103, 0, 0]);
});

Deno.test("FEATURES_OK sticks only for a subset with VERSION_1 and ACCESS_PLATFORM", async (t) => {
  const cases = [
    { name: "the two that must be", lo: 0, hi: 0x003, ok: true },
    { name: "everything", lo: 0x3000_6246, hi: 0x103, ok: true },
    { name: "without ACCESS_PLATFORM", lo: 0x3000_6246, hi: 0x101, ok: false },
    { name: "without VERSION_1", lo: 0, hi: 0x002, ok: false },
    { name: "nothing", lo: 0, hi: 0, ok: false },
    { name: "a low feature that is not offered", lo: 0x0000_0001, hi: 0x003, ok: false },
    { name: "a high feature that is not offered", lo: 0, hi: 0x007, ok: false },
  ];
  for (const { name, lo, hi, ok } of cases) {
    await t.step(name, () => {
      const { driver } = diskRig({ started: false });
      assertEquals(driver.start({ lo, hi }), ok);
      assertEquals(driver.status, ok ? 0x0f : 0x03);
    });
  }
});

Deno.test("DRIVER_OK without FEATURES_OK is refused, and so is a queue", () => {
  const { driver } = diskRig({ started: false });
  poke(driver.bar, 0x14, 1, 0x03);
  driver.setUpQueue();
  poke(driver.bar, 0x14, 1, 0x07);
  assertEquals([driver.status, peek(driver.bar, 0x1c, 2)], [0x03, 0]);
});

Deno.test("features are settled by FEATURES_OK", () => {
  const { driver } = diskRig();
  poke(driver.bar, 0x08, 4, 0);
  poke(driver.bar, 0x0c, 4, 0x0000_0200);
  assertEquals(peek(driver.bar, 0x0c, 4), 0x1000_0000);
});

Deno.test("status bits only come on, and the device's own cannot be set", () => {
  const { driver } = diskRig();
  poke(driver.bar, 0x14, 1, 0x01);
  assertEquals(driver.status, 0x0f);
  poke(driver.bar, 0x14, 1, 0xf0);
  assertEquals(driver.status, 0x8f);
});

Deno.test("a queue's registers", async (t) => {
  const { driver } = diskRig({ started: false });
  const { bar } = driver;
  await t.step("at reset", () => {
    assertEquals(peek(bar, 0x12, 2), 1, "num_queues");
    assertEquals(peek(bar, 0x18, 2), 256, "queue_size");
    assertEquals(peek(bar, 0x1a, 2), 0xffff, "queue_msix_vector");
    assertEquals(peek(bar, 0x1c, 2), 0, "queue_enable");
  });
  await t.step("a queue that is not there has size 0", () => {
    poke(bar, 0x16, 2, 1);
    assertEquals(peek(bar, 0x18, 2), 0);
    poke(bar, 0x18, 2, 8);
    poke(bar, 0x1c, 2, 1);
    poke(bar, 0x20, 4, 8);
    assertEquals([peek(bar, 0x18, 2), peek(bar, 0x1c, 2), peek(bar, 0x20, 4)], [0, 0, 0]);
    poke(bar, 0x16, 2, 0);
  });
  for (
    const { size, now } of [{ size: 3, now: 256 }, { size: 512, now: 256 }, { size: 0, now: 256 }, {
      size: 16,
      now: 16,
    }]
  ) {
    await t.step(`size ${size} becomes ${now}`, () => {
      poke(bar, 0x18, 2, size);
      assertEquals(peek(bar, 0x18, 2), now);
    });
  }
  await t.step("areas are written in halves or whole", () => {
    poke(bar, 0x20, 4, 0x1234_5670);
    poke(bar, 0x24, 4, 0x9abc_def0);
    poke(bar, 0x28, 8, 0x1_2345_6788);
    assertEquals([peek(bar, 0x20, 4), peek(bar, 0x24, 4)], [0x1234_5670, 0x9abc_def0]);
    assertEquals([peek(bar, 0x28, 4), peek(bar, 0x2c, 4)], [0x2345_6788, 1]);
  });
  await t.step("a vector that is not there becomes none", () => {
    poke(bar, 0x1a, 2, 1);
    assertEquals(peek(bar, 0x1a, 2), 1);
    poke(bar, 0x1a, 2, 2);
    assertEquals(peek(bar, 0x1a, 2), 0xffff);
    poke(bar, 0x10, 2, 7);
    assertEquals(peek(bar, 0x10, 2), 0xffff);
  });
  await t.step("a field is written whole or not at all", () => {
    poke(bar, 0x18, 1, 4);
    poke(bar, 0x16, 4, 0x0008_0001);
    poke(bar, 0x19, 2, 0x0400);
    assertEquals([peek(bar, 0x18, 2), peek(bar, 0x16, 2)], [16, 0]);
  });
  await t.step("nothing changes once it is enabled", () => {
    driver.negotiate(0, 3);
    driver.setUpQueue();
    poke(bar, 0x18, 2, 64);
    poke(bar, 0x20, 4, 0x40);
    poke(bar, 0x1c, 2, 0);
    assertEquals([peek(bar, 0x18, 2), peek(bar, 0x20, 4), peek(bar, 0x1c, 2)], [8, 0x4000_0000, 1]);
  });
});
