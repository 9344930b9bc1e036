/**
 * From StreamID to STE: linear and two-level tables. IHI 0070 §3.3.1, §5.1, §6.3.24, §6.3.25, §7.3.3, §7.3.4.
 * @module
 */
import { assertEquals } from "@std/assert";
import { DATA, Guest, type GuestOptions, NOWHERE, STRTAB } from "../support/guest.ts";

const L2 = 0x4018_0000;
const TWO_LEVEL = 1;
const BYPASS = 0b1001n;

interface Table {
  base?: number;
  high?: number;
  log2size: number;
  split?: number;
  fmt?: number;
  recinvsid?: boolean;
}

function guestWith(table: Table, options?: GuestOptions): Guest {
  const guest = new Guest(options);
  guest.memory.setUint8(DATA - 0x4000_0000, 0x5a);
  program(guest, table);
  return guest;
}

function program(guest: Guest, table: Table): void {
  const { base = STRTAB, high = 0, log2size, split = 0, fmt = 0, recinvsid = true } = table;
  const { smmu } = guest;
  smmu.write32(0x20, 0xc);
  smmu.write32(0x2c, recinvsid ? 2 : 0);
  smmu.write32(0x80, base);
  smmu.write32(0x84, high);
  smmu.write32(0x88, log2size | (split << 6) | (fmt << 16));
  smmu.write32(0x20, 0xd);
  guest.forget();
}

function probe(guest: Guest, streamId: number): string {
  return guest.probe(streamId, BigInt(DATA));
}

/** FetchAddr of the one event, which must be F_STE_FETCH of that stream with nothing else in it. */
function fetchAddress(guest: Guest, streamId: number): bigint {
  assertEquals(guest.dmaRead(streamId, BigInt(DATA)), undefined);
  const events = guest.events();
  assertEquals(events.length, 1);
  const [q0, q1, q2, q3] = events[0];
  assertEquals([q0, q1, q2], [0x03n | (BigInt(streamId) << 32n), 0n, 0n]);
  return q3;
}

Deno.test("linear: a StreamID below 2^LOG2SIZE has an STE, others are C_BAD_STREAMID", async (t) => {
  const cases = [
    { name: "64 entries", log2size: 6, last: 63 },
    { name: "one entry", log2size: 0, last: 0 },
    { name: "LOG2SIZE beyond SIDSIZE", log2size: 63, last: 15, sidSize: 4 },
    { name: "SIDSIZE 0", log2size: 63, last: 0, sidSize: 0 },
    { name: "FMT 2 behaves as linear", log2size: 6, last: 63, fmt: 2 },
    { name: "FMT 3 behaves as linear", log2size: 6, last: 63, fmt: 3 },
  ];
  for (const { name, log2size, last, sidSize = 16, fmt = 0 } of cases) {
    await t.step(name, () => {
      const guest = guestWith({ log2size, fmt }, { features: { sidSize } });
      for (const streamId of [0, last, last + 1]) guest.ste(streamId, BYPASS);
      assertEquals(probe(guest, 0), "data 5a");
      assertEquals(probe(guest, last), "data 5a");
      for (const beyond of [last + 1, 0xffff, 0xffff_ffff]) {
        assertEquals(probe(guest, beyond), "event 2", `StreamID ${beyond}`);
      }
    });
  }
});

Deno.test("without ST_LEVEL the table is linear whatever FMT says", () => {
  const features = { sidSize: 6, twoLevelStreamTable: false };
  const guest = guestWith({ log2size: 6, fmt: TWO_LEVEL, split: 6 }, { features });
  guest.ste(9, BYPASS);
  assertEquals(probe(guest, 9), "data 5a");
});

Deno.test("C_BAD_STREAMID is recorded only with CR2.RECINVSID", async (t) => {
  for (const fmt of [0, TWO_LEVEL]) {
    await t.step(`FMT ${fmt}`, () => {
      const guest = guestWith({ log2size: 6, fmt, split: 6, recinvsid: false });
      assertEquals(probe(guest, 64), "abort");
      if (fmt === TWO_LEVEL) assertEquals(probe(guest, 1), "abort", "Span 0");
    });
  }
});

Deno.test("the base is aligned down to the table's size, two-level to at least 64 bytes", async (t) => {
  const cases = [
    { name: "linear of 4 KiB", offset: 0xfc0, log2size: 6, fmt: 0, at: 0 },
    { name: "linear of one entry", offset: 0x40, log2size: 0, fmt: 0, at: 0x40 },
    { name: "two-level, L1 of 8 bytes", offset: 0x40, log2size: 6, fmt: TWO_LEVEL, at: 0x40 },
    { name: "two-level, L1 of 128 bytes", offset: 0x40, log2size: 10, fmt: TWO_LEVEL, at: 0 },
    { name: "two-level, smaller than SPLIT", offset: 0x40, log2size: 3, fmt: TWO_LEVEL, at: 0x40 },
  ];
  for (const { name, offset, log2size, fmt, at } of cases) {
    await t.step(name, () => {
      const guest = guestWith({ base: STRTAB + offset, log2size, fmt, split: 6 });
      guest.quad(STRTAB + at, fmt === 0 ? BYPASS : BigInt(L2) | 7n);
      if (fmt !== 0) guest.quad(L2, BYPASS);
      assertEquals(probe(guest, 0), "data 5a");
    });
  }
});

Deno.test("SPLIT is 6, 8 or 10; everything else behaves as 6", () => {
  const guest = new Guest();
  guest.memory.setUint8(DATA - 0x4000_0000, 0x5a);
  const streamId = 0x5c5;
  for (let split = 0; split < 32; split++) {
    const effective = split === 8 || split === 10 ? split : 6;
    program(guest, { log2size: 12, split, fmt: TWO_LEVEL });
    const index = streamId >> effective;
    for (let i = 0; i < 64; i++) guest.quad(STRTAB + i * 8, 0n);
    guest.quad(STRTAB + index * 8, BigInt(L2) | BigInt(effective + 1));
    const ste = L2 + (streamId & ((1 << effective) - 1)) * 64;
    guest.quad(ste, BYPASS);
    assertEquals(probe(guest, streamId), "data 5a", `SPLIT ${split}`);
    guest.quad(ste, 0n);
  }
});

Deno.test("Span is 1 to SPLIT+1 and bounds the index; L2Ptr is aligned down to its size", async (t) => {
  const guest = new Guest();
  guest.memory.setUint8(DATA - 0x4000_0000, 0x5a);
  for (let i = 0; i < 1024; i++) guest.quad(L2 + i * 64, BYPASS);
  for (const split of [6, 8, 10]) {
    await t.step(`SPLIT ${split}`, () => {
      program(guest, { log2size: 12, split, fmt: TWO_LEVEL });
      for (let span = 0; span < 32; span++) {
        const valid = span >= 1 && span <= split + 1;
        const count = valid ? 2 ** (span - 1) : 0;
        guest.quad(STRTAB, BigInt(L2 + Math.max(count - 1, 0) * 64) | BigInt(span));
        for (const index of [0, count - 1, count, 2 ** split - 1]) {
          if (index < 0 || index >= 2 ** split) continue;
          guest.forget();
          const expected = index < count ? "data 5a" : "event 2";
          assertEquals(probe(guest, index), expected, `Span ${span}, index ${index}`);
        }
      }
    });
  }
});

Deno.test("reserved bits of an L1STD are ignored", () => {
  const guest = guestWith({ log2size: 6, fmt: TWO_LEVEL, split: 6 });
  guest.quad(STRTAB, BigInt(L2) | 7n | (0xffn << 56n) | (1n << 5n));
  guest.quad(L2, BYPASS);
  assertEquals(probe(guest, 0), "data 5a");
});

Deno.test("what cannot be fetched is F_STE_FETCH with the address in FetchAddr", async (t) => {
  await t.step("linear", () => {
    const guest = guestWith({ base: NOWHERE, log2size: 6 });
    assertEquals(fetchAddress(guest, 5), BigInt(NOWHERE + 5 * 64));
  });
  await t.step("L1STD", () => {
    const guest = guestWith({ base: NOWHERE, log2size: 12, fmt: TWO_LEVEL, split: 8 });
    assertEquals(fetchAddress(guest, 0x305), BigInt(NOWHERE + 3 * 8));
  });
  await t.step("STE of the second level", () => {
    const guest = guestWith({ log2size: 12, fmt: TWO_LEVEL, split: 8 });
    guest.quad(STRTAB + 3 * 8, BigInt(NOWHERE) | 9n);
    assertEquals(fetchAddress(guest, 0x305), BigInt(NOWHERE + 5 * 64));
  });
  await t.step("above 4 GiB", () => {
    const guest = guestWith({ base: 0x1000, high: 0x1234, log2size: 6 });
    assertEquals(fetchAddress(guest, 1), 0x1234_0000_1040n);
  });
  await t.step("bits beyond the OAS are truncated", () => {
    const guest = guestWith({ high: 0x4000_0001, log2size: 6 }, { features: { oas: 32 } });
    guest.ste(1, BYPASS);
    assertEquals(probe(guest, 1), "data 5a");
  });
  await t.step("bits of L2Ptr beyond the OAS are truncated", () => {
    const guest = guestWith({ log2size: 6, fmt: TWO_LEVEL, split: 6 });
    guest.quad(STRTAB, BigInt(NOWHERE) | 7n | (0xffn << 48n));
    assertEquals(fetchAddress(guest, 2), BigInt(NOWHERE + 128));
  });
});
