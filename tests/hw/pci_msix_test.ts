/** MSI-X: capability bytes, masks, pending bits, disguise. @module */
import { assertEquals } from "@std/assert";
import { ConfigSpace } from "../../hw/pci/config_space.ts";
import { Msix } from "../../hw/pci/msix.ts";
import { FakeDma } from "../support/fake_dma.ts";
import { peek, poke } from "../support/virtio_driver.ts";

interface Rig {
  readonly dma: FakeDma;
  readonly msix: Msix;
  readonly config: ConfigSpace;
  /** Data of the messages that were sent since the last call. */
  sent(): number[];
}

/** A function with MSI-X at 0x40, bus master on, MSI-X enabled, vector n programmed to data 0x100 + n, unmasked. */
function rig({ count = 3, disguised = false } = {}): Rig {
  const dma = new FakeDma(0, 0);
  const requester = { streamId: 0x28, substreamId: -1 };
  const msix = new Msix({ count, barIndex: 1, requester, dma, disguised });
  const config = new ConfigSpace({
    vendorId: 1,
    deviceId: 1,
    classCode: 0,
    capabilities: [msix.capability],
  });
  for (let vector = 0; vector < count; vector++) {
    poke(msix, 16 * vector, 4, 0x0802_0040);
    poke(msix, 16 * vector + 4, 4, 0x0000_0001);
    poke(msix, 16 * vector + 8, 4, 0x100 + vector);
    poke(msix, 16 * vector + 12, 4, 0);
  }
  poke(config, 0x04, 2, 0x0004);
  poke(config, 0x42, 2, 0x8000);
  return { dma, msix, config, sent: () => dma.messages.splice(0).map((message) => message.data) };
}

Deno.test("the capability says where table and pending bits are", () => {
  const { config } = rig();
  poke(config, 0x42, 2, 0x0000);
  const bytes = new Uint8Array(12);
  config.read(0x40, bytes);
  assertEquals([...bytes], [0x11, 0, 0x02, 0x00, 0x01, 0, 0, 0, 0x01, 0x08, 0, 0]);
  poke(config, 0x40, 4, 0xffff_ffff);
  assertEquals(peek(config, 0x40, 4), 0xc002_0011);
});

Deno.test("a table of 2048 vectors fits its BAR", () => {
  const { msix, sent } = rig({ count: 2048 });
  assertEquals([msix.sizeBytes, msix.pbaOffset], [0x1_0000, 0x8000]);
  msix.raise(2047);
  assertEquals(sent(), [0x100 + 2047]);
});

Deno.test("raise() sends the message of the vector to its address", () => {
  const { dma, msix } = rig();
  msix.raise(1);
  assertEquals(dma.messages, [{ streamId: 0x28, lo: 0x0802_0040, hi: 1, data: 0x101 }]);
});

Deno.test("an entry takes the bits it has", () => {
  const { msix } = rig();
  msix.write(16, new Uint8Array(16).fill(0xff));
  const bytes = new Uint8Array(16);
  msix.read(16, bytes);
  // deno-fmt-ignore
  assertEquals([...bytes], [0xfc, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1, 0, 0, 0]);
  msix.write(0x30, new Uint8Array(16).fill(0xff));
  assertEquals(peek(msix, 0x30, 4), 0);
});

Deno.test("what is held back is pending, and sent once when released", async (t) => {
  const cases: { name: string; hold: (r: Rig) => void; release: (r: Rig) => void }[] = [
    {
      name: "vector mask",
      hold: (r) => poke(r.msix, 0x1c, 4, 1),
      release: (r) => poke(r.msix, 0x1c, 4, 0),
    },
    {
      name: "vector mask, by a write of 8 bytes",
      hold: (r) => poke(r.msix, 0x18, 8, 0x1_0000_0101),
      release: (r) => poke(r.msix, 0x18, 8, 0x101),
    },
    {
      name: "function mask",
      hold: (r) => poke(r.config, 0x42, 2, 0xc000),
      release: (r) => poke(r.config, 0x42, 2, 0x8000),
    },
    {
      name: "bus master off",
      hold: (r) => poke(r.config, 0x04, 2, 0x0000),
      release: (r) => poke(r.config, 0x04, 2, 0x0004),
    },
  ];
  for (const { name, hold, release } of cases) {
    await t.step(name, () => {
      const r = rig();
      hold(r);
      r.msix.raise(1);
      r.msix.raise(1);
      assertEquals([r.sent(), peek(r.msix, 0x800, 4)], [[], 0b010]);
      poke(r.msix, 0x800, 4, 0);
      assertEquals(peek(r.msix, 0x800, 4), 0b010, "software cannot clear a pending bit");
      release(r);
      assertEquals([r.sent(), peek(r.msix, 0x800, 4)], [[0x101], 0]);
      release(r);
      assertEquals(r.sent(), []);
    });
  }
});

Deno.test("a masked vector does not hold back another", () => {
  const r = rig();
  poke(r.msix, 0x1c, 4, 1);
  r.msix.raise(1);
  r.msix.raise(2);
  r.msix.raise(0);
  assertEquals([r.sent(), peek(r.msix, 0x800, 4)], [[0x102, 0x100], 0b010]);
});

Deno.test("one write can release several vectors", () => {
  const r = rig();
  for (const vector of [0, 1, 2]) {
    poke(r.msix, 16 * vector + 12, 4, 1);
    r.msix.raise(vector);
  }
  const entries = new Uint8Array(48);
  r.msix.read(0, entries);
  for (const vector of [0, 1, 2]) entries[16 * vector + 12] = 0;
  r.msix.write(0, entries);
  assertEquals(r.sent(), [0x100, 0x101, 0x102]);
});

Deno.test("raise() does nothing while MSI-X is disabled, or for a vector that is not there", () => {
  const r = rig();
  r.msix.raise(3);
  r.msix.raise(0xffff);
  poke(r.config, 0x42, 2, 0x0000);
  r.msix.raise(0);
  assertEquals([r.msix.enabled, r.sent(), peek(r.msix, 0x800, 8)], [false, [], 0]);
});

Deno.test("reset() masks every vector and forgets what is pending", () => {
  const r = rig();
  poke(r.msix, 0x1c, 4, 1);
  r.msix.raise(1);
  r.msix.reset();
  r.config.reset();
  assertEquals([peek(r.msix, 0x800, 4), peek(r.msix, 0x00, 4), peek(r.msix, 0x0c, 4)], [0, 0, 1]);
  assertEquals(r.msix.enabled, false);
});

Deno.test("a disguised capability is vendor specific from a cold reset to the first reset", async (t) => {
  const cases = [
    { disguised: false, before: 0x11, after: 0x11 },
    { disguised: true, before: 0x09, after: 0x11 },
  ];
  for (const { disguised, before, after } of cases) {
    await t.step(`disguised: ${disguised}`, () => {
      const { msix, config } = rig({ disguised });
      assertEquals(peek(config, 0x40, 1), before);
      config.reset();
      assertEquals(peek(config, 0x40, 1), before, "configuration alone does not drop it");
      msix.reset();
      config.reset();
      assertEquals(peek(config, 0x40, 1), after);
      msix.reset();
      config.reset();
      assertEquals(peek(config, 0x40, 1), after);
      msix.coldReset();
      assertEquals(peek(config, 0x40, 1), before);
      config.reset();
      assertEquals(peek(config, 0x40, 1), before);
      msix.reset();
      assertEquals(peek(config, 0x40, 1), after);
    });
  }
});
