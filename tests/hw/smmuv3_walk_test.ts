/**
 * Stage 1 walks: levels, blocks, halves, ranges, faults in their order. DDI 0487 D8.2, D8.3, IHI 0070 §3.4, §7.3.22.
 * @module
 */
import { assertEquals } from "@std/assert";
import { type CdOptions, CDS, DATA, Guest, type GuestOptions, NOWHERE } from "../support/guest.ts";

const SID = 1;
const CD = CDS + SID * 64;
const IOVA = 0x12_3456_7000n;

interface Scene {
  guest: Guest;
  root: number;
  /** What becomes of a read, with nothing cached. */
  probe: (iova?: bigint) => string;
}

function scene(cd: CdOptions = {}, options?: GuestOptions): Scene {
  const guest = new Guest(options);
  const { root } = guest.stage1(SID, cd);
  guest.memory.setUint8(DATA - 0x4000_0000, 0x5a);
  return {
    guest,
    root,
    probe: (iova = IOVA): string => {
      guest.forget();
      return guest.probe(SID, iova);
    },
  };
}

/** Maps a page under a root whose walk starts at the level that `inputBits` needs; returns the leaf's address. */
function map(guest: Guest, root: number, inputBits: number, iova: bigint, gpa: number): number {
  const shifts = [39, 30, 21, 12].filter((shift, i) => i === 3 || shift < inputBits);
  let table = root;
  for (const [i, shift] of shifts.entries()) {
    const bits = i === 0 ? inputBits - shift : 9;
    const entry = table + Number(BigInt.asUintN(bits, iova >> BigInt(shift))) * 8;
    if (shift === 12) {
      guest.quad(entry, BigInt(gpa) | 0xc43n);
      return entry;
    }
    if (guest.load(entry) === 0n) guest.quad(entry, BigInt(guest.root()) | 3n);
    table = Number(guest.load(entry) & 0xffff_ffff_f000n);
  }
  throw new Error("No level 3");
}

/** The descriptors that a walk of `iova` visits, from the root on. */
function path(guest: Guest, root: number, iova: bigint): number[] {
  const entries: number[] = [];
  for (let table = root, shift = 39n; shift >= 12n; shift -= 9n) {
    entries.push(table + Number((iova >> shift) & 0x1ffn) * 8);
    table = Number(guest.load(entries.at(-1)!) & 0xffff_ffff_f000n);
  }
  return entries;
}

Deno.test("for each T0SZ and T1SZ the first and last page of the range translate, the next ones fault", () => {
  for (let size = 16; size <= 48; size++) {
    const inputBits = 64 - size;
    const guest = new Guest();
    guest.memory.setUint8(DATA - 0x4000_0000, 0x5a);
    const ttb1 = guest.root();
    const { root } = guest.stage1(SID, { t0sz: size, t1sz: size, ttb1, epd1: false });
    const span = 1n << BigInt(inputBits);
    for (const [table, first] of [[root, 0n], [ttb1, 2n ** 64n - span]] as const) {
      const last = first + span - 0x1000n;
      map(guest, table, inputBits, first, DATA);
      map(guest, table, inputBits, last, DATA);
      assertEquals(guest.probe(SID, first), "data 5a", `size ${size}, first`);
      assertEquals(guest.probe(SID, last), "data 5a", `size ${size}, last`);
    }
    for (let bit = BigInt(inputBits); bit < 64n; bit++) {
      assertEquals(guest.probe(SID, 1n << bit), "event 10", `size ${size}, bit ${bit} set`);
      const cleared = 2n ** 64n - span - (1n << bit);
      assertEquals(
        guest.probe(SID, BigInt.asUintN(64, cleared)),
        "event 10",
        `size ${size}, ${bit}`,
      );
    }
    assertEquals(
      guest.probe(SID, 2n ** 64n - span - 1n),
      "event 10",
      `size ${size}, below the upper`,
    );
  }
});

Deno.test("bit 55 selects the half, and bits above the range must repeat it, but for an ignored top byte", async (t) => {
  const lower = 0x0000_8000_0000_1000n;
  const cases = [
    { name: "lower", tbi: 0, iova: IOVA, result: "data 5a" },
    { name: "upper", tbi: 0, iova: 0xffff_0012_3456_7000n, result: "data a5" },
    { name: "bit 48 alone", tbi: 0, iova: 1n << 48n, result: "event 10" },
    { name: "bit 55 alone", tbi: 0, iova: (1n << 55n) | IOVA, result: "event 10" },
    { name: "bit 56 alone", tbi: 0, iova: (1n << 56n) | IOVA, result: "event 10" },
    { name: "bit 63 alone", tbi: 0, iova: (1n << 63n) | IOVA, result: "event 10" },
    { name: "upper without bit 63", tbi: 0, iova: 0x7fff_0012_3456_7000n, result: "event 10" },
    { name: "lower tag, TBI0", tbi: 1, iova: 0xa500_0012_3456_7000n, result: "data 5a" },
    { name: "lower tag, TBI1 only", tbi: 2, iova: 0xa500_0012_3456_7000n, result: "event 10" },
    { name: "upper tag, TBI1", tbi: 2, iova: 0x5aff_0012_3456_7000n, result: "data a5" },
    { name: "upper tag, TBI0 only", tbi: 1, iova: 0x5aff_0012_3456_7000n, result: "event 10" },
    { name: "tag 0 in the upper half", tbi: 2, iova: 0x00ff_0012_3456_7000n, result: "data a5" },
    { name: "bit 54 is no tag", tbi: 3, iova: (1n << 54n) | IOVA, result: "event 10" },
    { name: "bit 48 is no tag", tbi: 3, iova: (1n << 48n) | IOVA, result: "event 10" },
    { name: "bit 54 missing above", tbi: 3, iova: 0xffbf_0012_3456_7000n, result: "event 10" },
    { name: "half of 48 bits", tbi: 0, iova: lower, result: "event 10" },
  ];
  for (const { name, tbi, iova, result } of cases) {
    await t.step(name, () => {
      const guest = new Guest();
      const ttb1 = guest.root();
      const { root } = guest.stage1(SID, { tbi, ttb1, epd1: false });
      guest.map(root, IOVA, DATA);
      guest.map(ttb1, IOVA, DATA + 0x1000);
      guest.memory.setUint8(DATA - 0x4000_0000, 0x5a);
      guest.memory.setUint8(DATA - 0x4000_0000 + 0x1000, 0xa5);
      assertEquals(guest.probe(SID, iova), result, "walk");
      assertEquals(guest.probe(SID, iova), result, "again");
    });
  }
});

Deno.test("descriptor types by level: tables, blocks of 1 GiB and 2 MiB, pages", async (t) => {
  for (let level = 0; level < 4; level++) {
    for (let type = 0; type < 4; type++) {
      await t.step(`level ${level}, type ${type.toString(2).padStart(2, "0")}`, () => {
        const { guest, root, probe } = scene();
        guest.map(root, IOVA, DATA);
        const entry = path(guest, root, IOVA)[level];
        if (level < 3 && type === 0b01) {
          // A block whose reserved low address bits are set; the IOVA must end up at DATA.
          const size = 1n << BigInt(39 - 9 * level);
          const base = BigInt(DATA) - BigInt(DATA) % size;
          guest.quad(entry, base | 0xc41n | (size - 0x1000n));
          const offset = BigInt(DATA) - base;
          const block = level === 0 ? "event 10" : "data 5a";
          assertEquals(probe(IOVA - IOVA % size + offset), block);
        } else {
          guest.field(entry, 1, 0, type);
          assertEquals(probe(), type === 0b11 ? "data 5a" : "event 10");
        }
      });
    }
  }
});

Deno.test("address bits 50:48 and other bits of descriptors that are not attributes are ignored", () => {
  const { guest, root, probe } = scene();
  guest.map(root, IOVA, DATA);
  for (const [level, entry] of path(guest, root, IOVA).entries()) {
    const before = guest.load(entry);
    for (let bit = 0; bit < 64; bit++) {
      const isAddress = bit >= 12 && bit <= 47;
      const matters = level < 3 ? [0, 1, 61] : [0, 1, 6, 10]; // type, APTable; AP, AF
      if (isAddress || matters.includes(bit)) continue;
      guest.quad(entry, before ^ (1n << BigInt(bit)));
      assertEquals(probe(), "data 5a", `level ${level}, bit ${bit}`);
    }
    guest.quad(entry, before);
  }
});

Deno.test("an output address beyond IPS or OAS is F_ADDR_SIZE at any level, before the next fetch", async (t) => {
  for (const [ips, bits] of [[0, 32], [1, 36], [2, 40], [3, 42], [4, 44]]) {
    for (const [oas, cdIps] of [[48, ips], [bits, 5]]) {
      await t.step(`IPS ${cdIps}, OAS ${oas}`, () => {
        const { guest, root, probe } = scene({ ips: cdIps }, { features: { oas } });
        guest.map(root, IOVA, DATA);
        for (const entry of path(guest, root, IOVA)) {
          for (let bit = bits; bit < 48; bit++) {
            guest.field(entry, bit, bit, 1);
            assertEquals(probe(), "event 11", `bit ${bit}`);
            guest.field(entry, bit, bit, 0);
          }
          guest.field(entry, bits - 1, bits - 1, bits === 32 ? 0 : 1);
          const inRange = probe();
          if (bits > 32) assertEquals(inRange === "event 11", false, `bit ${bits - 1} is in range`);
          guest.field(entry, bits - 1, bits - 1, 0);
        }
        assertEquals(probe(), "data 5a");
      });
    }
  }
});

Deno.test("with several defects the fault is that of the first check that fails", async (t) => {
  const invalid = (guest: Guest, entry: number): void => guest.field(entry, 0, 0, 0);
  const tooHigh = (guest: Guest, entry: number): void => guest.field(entry, 47, 47, 1);
  const oldPage = (guest: Guest, entry: number): void => guest.field(entry, 10, 10, 0);
  const forbidden = (guest: Guest, entry: number): void => guest.field(entry, 6, 6, 0);
  const nowhere = (guest: Guest, entry: number): void => guest.field(entry, 47, 12, NOWHERE >> 12);
  const all: Record<number, ((guest: Guest, entry: number) => void)[]> = {
    0: [tooHigh, invalid],
    1: [tooHigh],
    2: [nowhere],
    3: [invalid, tooHigh, oldPage, forbidden],
  };
  const cases = [
    { name: "disabled half before level 0", defects: all, disabled: true, result: "event 10" },
    { name: "level 0 invalid before its address", defects: all, result: "event 10" },
    { name: "level 1 address before level 2", defects: { ...all, 0: [] }, result: "event 11" },
    { name: "fetch before level 3", defects: { 2: all[2], 3: all[3] }, result: "event b" },
    { name: "leaf invalid before its address", defects: { 3: all[3] }, result: "event 10" },
    {
      name: "address before access flag",
      defects: { 3: [tooHigh, oldPage, forbidden] },
      result: "event 11",
    },
    {
      name: "access flag before permission",
      defects: { 3: [oldPage, forbidden] },
      result: "event 12",
    },
    { name: "permission", defects: { 3: [forbidden] }, result: "event 13" },
    { name: "none", defects: {}, result: "data 5a" },
  ];
  for (const { name, defects, disabled, result } of cases) {
    await t.step(name, () => {
      const { guest, root, probe } = scene({ ips: 4 });
      guest.map(root, IOVA, DATA);
      const entries = path(guest, root, IOVA);
      for (const [level, actions] of Object.entries(defects)) {
        for (const action of actions as typeof all[0]) action(guest, entries[Number(level)]);
      }
      if (disabled) guest.field(CD, 14, 14, 1);
      assertEquals(probe(), result);
    });
  }
  await t.step("out of range before all", () => {
    const { guest, root, probe } = scene({ ttb0: NOWHERE });
    assertEquals([probe(1n << 48n), probe(0n)], ["event 10", "event b"]);
    assertEquals(guest.load(CD + 8), BigInt(root));
  });
});

Deno.test("AFFD=1 takes the access flag as set", () => {
  const { guest, root, probe } = scene();
  const leaf = guest.map(root, IOVA, DATA, 0x840n);
  assertEquals(probe(), "event 12");
  guest.field(CD, 35, 35, 1);
  assertEquals(probe(), "data 5a");
  assertEquals(guest.load(leaf) & (1n << 10n), 0n, "and does not set it");
});

Deno.test("a descriptor outside RAM is F_WALK_EABT at any level, with CLASS=TT and its address", async (t) => {
  for (let level = 0; level < 4; level++) {
    await t.step(`level ${level}`, () => {
      const { guest, root } = scene(level === 0 ? { ttb0: NOWHERE } : {});
      if (level > 0) {
        guest.map(root, IOVA, DATA);
        guest.field(path(guest, root, IOVA)[level - 1], 47, 12, 0x1234_5000_0000 / 0x1000);
      }
      guest.forget();
      assertEquals(guest.dmaWrite(SID, IOVA + 5n, [1]), false);
      const index = (IOVA >> BigInt(39 - 9 * level)) & 0x1ffn;
      const table = level === 0 ? BigInt(NOWHERE) : 0x1234_5000_0000n;
      const clazz = 1n << 40n; // TT
      assertEquals(guest.events(), [
        [0x0bn | (BigInt(SID) << 32n), clazz, IOVA + 5n, table + index * 8n],
      ]);
    });
  }
});

Deno.test("faults are not cached: a repaired descriptor works without invalidation", async (t) => {
  const repairs = [
    { name: "invalid", attributes: 0xc40n, type: 0, event: "event 10" },
    { name: "access flag", attributes: 0x840n, type: 3, event: "event 12" },
    { name: "permission", attributes: 0xc00n, type: 3, event: "event 13" },
  ];
  for (const { name, attributes, type, event } of repairs) {
    await t.step(name, () => {
      const { guest, root } = scene();
      const leaf = guest.map(root, IOVA, DATA, attributes);
      guest.field(leaf, 1, 0, type);
      assertEquals(guest.probe(SID, IOVA), event);
      guest.quad(leaf, BigInt(DATA) | 0xc43n);
      assertEquals(guest.probe(SID, IOVA), "data 5a");
    });
  }
});

Deno.test("a cached read-only page faults on a write, and is writable as soon as its descriptor says so", () => {
  const { guest, root } = scene();
  const leaf = guest.map(root, IOVA, DATA, 0xcc0n);
  assertEquals(guest.probe(SID, IOVA), "data 5a");
  assertEquals([guest.dmaWrite(SID, IOVA, [1]), guest.eventNumbers()], [false, [0x13]]);
  guest.field(leaf, 7, 7, 0);
  assertEquals([guest.dmaWrite(SID, IOVA, [1]), guest.eventNumbers()], [true, []]);
  assertEquals(guest.smmu.translator.tlb.count, 1, "in the place of the old one");
});

Deno.test("a change of ASID alone does not find the other ASID's translations", () => {
  const { guest, root } = scene({ asid: 5 });
  const leaf = guest.map(root, IOVA, DATA);
  assertEquals(guest.probe(SID, IOVA), "data 5a");
  guest.quad(leaf, 0n);
  assertEquals(guest.probe(SID, IOVA), "data 5a", "cached");
  guest.field(CD, 63, 48, 6);
  guest.command(0x05n | (BigInt(SID) << 32n));
  assertEquals(guest.probe(SID, IOVA), "event 10");
});
