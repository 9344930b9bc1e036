/**
 * Merging of events: only what STE.MEV allows, only what is equal, only what has not been read. IHI 0070 §7.3.1.
 * @module
 */
import { assertEquals } from "@std/assert";
import { CDS, Guest } from "../support/guest.ts";

const MEV = 1n << 19n;

/** Streams 1 (which allows it) and 2 (which does not), with nothing mapped. */
function scene(): Guest {
  const guest = new Guest();
  for (const streamId of [1, 2]) {
    const { cd } = guest.stage1(streamId);
    guest.ste(streamId, BigInt(cd) | 0b1011n, streamId === 1 ? MEV : 0n);
  }
  return guest;
}

Deno.test("an event that is equal to the last one is not recorded again", async (t) => {
  const cases: { name: string; act: (guest: Guest) => void; records: number }[] = [
    { name: "the same address", act: (guest) => guest.dmaRead(1, 0x1000n), records: 1 },
    { name: "the same page", act: (guest) => guest.dmaRead(1, 0x1fffn), records: 1 },
    { name: "another page", act: (guest) => guest.dmaRead(1, 0x2000n), records: 2 },
    { name: "a write", act: (guest) => guest.dmaWrite(1, 0x1000n, [1]), records: 2 },
    { name: "a substream", act: (guest) => guest.dmaRead(1, 0x1000n, 1, 1), records: 2 },
    {
      name: "another event between them",
      act: (guest) => {
        guest.dmaRead(1, 0x2000n);
        guest.dmaRead(1, 0x1000n);
      },
      records: 3,
    },
    {
      name: "after it was read",
      act: (guest) => {
        guest.smmu.write32(0x1_00ac, 1);
        guest.dmaRead(1, 0x1000n);
        guest.smmu.write32(0x1_00ac, 0);
      },
      records: 2,
    },
    {
      name: "when the queue is full",
      act: (guest) => {
        for (let i = 2; i <= 16; i++) guest.dmaRead(1, BigInt(i) * 0x1000n);
        guest.dmaRead(1, 0x1_0000n);
      },
      records: 16,
    },
  ];
  for (const { name, act, records } of cases) {
    await t.step(name, () => {
      const guest = scene();
      guest.dmaRead(1, 0x1000n);
      act(guest);
      assertEquals(guest.smmu.read32(0x1_00a8) >>> 31, 0, "no overflow");
      assertEquals(guest.events().length, records);
      assertEquals(guest.eventq.pulses <= 2, true);
    });
  }
});

Deno.test("without STE.MEV, and before there is an STE, nothing is merged", () => {
  const guest = scene();
  for (const streamId of [2, 2, 3, 3, 99, 99]) guest.dmaRead(streamId, 0x1000n);
  assertEquals(guest.eventNumbers(), [0x10, 0x10, 0x04, 0x04, 0x02, 0x02]);
});

Deno.test("configuration errors behind an STE with MEV are merged", () => {
  const guest = scene();
  guest.quad(CDS + 64, 0n);
  for (let i = 0; i < 3; i++) guest.dmaRead(1, BigInt(i) * 0x1000n);
  assertEquals(guest.eventNumbers(), [0x0a]);
});
