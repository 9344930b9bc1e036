/**
 * Access flag and dirty state, set by the device. IHI 0070 §3.13.
 * @module
 */
import { assertEquals } from "@std/assert";
import { Exchange, type GuestMemory } from "../../hw/guest_memory.ts";
import { altered, CDS, DATA, Guest, RAM, STRTAB } from "../support/guest.ts";

const SID = 1;
const CD = CDS + SID * 64;
const IOVA = 0x1000n;
const AF = 1n << 10n;
const READ_ONLY = 1n << 7n;
const DBM = 1n << 51n;
/** Valid page, unprivileged, nG. */
const PAGE = BigInt(DATA) | 0x843n;
const HD = 1 << 10;
const HA = 1 << 11;

interface Scene {
  guest: Guest;
  leaf: number;
}

function scene(flags: number, httu: number, wrap?: (ram: GuestMemory) => GuestMemory): Scene {
  const guest = new Guest({ features: { httu }, ...(wrap ? { wrap } : {}) });
  const { root } = guest.stage1(SID, { word1: flags });
  const leaf = guest.map(root, IOVA, DATA);
  return { guest, leaf };
}

Deno.test("what an access makes of AF, AP[2] and DBM, by CD.HA and CD.HD", async (t) => {
  for (const ha of [false, true]) {
    for (const hd of [false, true]) {
      for (const affd of [false, true]) {
        const flags = (ha ? HA : 0) | (hd ? HD : 0) | (affd ? 1 << 3 : 0);
        await t.step(`HA ${ha}, HD ${hd}, AFFD ${affd}`, () => {
          const { guest, leaf } = scene(flags, 2);
          for (const af of [0n, AF]) {
            for (const readOnly of [0n, READ_ONLY]) {
              for (const dbm of [0n, DBM]) {
                for (const write of [false, true]) {
                  const before = PAGE | af | readOnly | dbm;
                  const canSet = af !== 0n || ha;
                  const becomesDirty = ha && hd && write && readOnly !== 0n && dbm !== 0n;
                  const permitted = !write || readOnly === 0n || becomesDirty;
                  const after = !permitted || (!canSet && !affd)
                    ? before
                    : (before | (ha ? AF : 0n)) & ~(becomesDirty ? READ_ONLY : 0n);
                  guest.quad(leaf, before);
                  guest.forget();
                  const done = write
                    ? guest.dmaWrite(SID, IOVA, [1])
                    : guest.dmaRead(SID, IOVA) !== undefined;
                  const text = `${before.toString(16)}, ${write ? "write" : "read"}`;
                  assertEquals(done, permitted && (canSet || affd), text);
                  assertEquals(guest.load(leaf), after, text);
                  const events = done ? [] : [canSet || affd ? 0x13 : 0x12];
                  assertEquals(guest.eventNumbers(), events, text);
                }
              }
            }
          }
        });
      }
    }
  }
});

Deno.test("HA and HD are legal as IDR0.HTTU says", () => {
  for (const httu of [0, 1, 2]) {
    const results = [0, HA, HD, HA | HD].map((flags) => {
      const { guest } = scene(flags, httu);
      return guest.probe(SID, IOVA);
    });
    const illegal = "event a";
    const legal = "data 0";
    assertEquals(results, [
      legal,
      httu >= 1 ? legal : illegal,
      httu >= 2 ? legal : illegal,
      httu >= 2 ? legal : illegal,
    ]);
  }
});

Deno.test("APTable keeps a page from becoming dirty", () => {
  const { guest, leaf } = scene(HA | HD, 2);
  guest.quad(leaf, PAGE | AF | READ_ONLY | DBM);
  const root = Number(guest.load(CD + 8));
  guest.field(root, 62, 62, 1);
  assertEquals(guest.dmaWrite(SID, IOVA, [1]), false);
  assertEquals([guest.eventNumbers(), guest.load(leaf)], [[0x13], PAGE | AF | READ_ONLY | DBM]);
});

Deno.test("a page that was read is written later: what is cached does not hide that it is clean", () => {
  const { guest, leaf } = scene(HA | HD, 2);
  guest.quad(leaf, PAGE | AF | READ_ONLY | DBM);
  assertEquals(guest.dmaRead(SID, IOVA), [0]);
  assertEquals(guest.load(leaf) & READ_ONLY, READ_ONLY);
  assertEquals(guest.dmaWrite(SID, IOVA, [7]), true);
  assertEquals([guest.load(leaf) & READ_ONLY, guest.word(DATA)], [0n, 7]);
});

/** Memory in which something happens before each exchange. */
function racing(race: (gpa: number) => void): (ram: GuestMemory) => GuestMemory {
  return (ram) =>
    altered(ram, {
      compareExchange: (gpa, expected, desired) => {
        race(gpa);
        return ram.compareExchange(gpa, expected, desired);
      },
    });
}

Deno.test("P19: a descriptor that changes before it is updated is looked at again, and no change is lost", () => {
  const changes = [
    { name: "to another page", to: PAGE + 0x1000n, ok: true, after: (PAGE + 0x1000n) | AF },
    { name: "to invalid", to: 0n, ok: false, after: 0n },
    {
      name: "to one with AF",
      to: PAGE | AF | (1n << 55n),
      ok: true,
      after: PAGE | AF | (1n << 55n),
    },
  ];
  for (const { name, to, ok, after } of changes) {
    let races = 0;
    const { guest, leaf }: Scene = scene(
      HA,
      1,
      racing((gpa) => {
        if (races++ === 0) guest.quad(gpa, to);
      }),
    );
    guest.quad(leaf, PAGE);
    assertEquals(guest.dmaWrite(SID, IOVA, [9]), ok, name);
    assertEquals(guest.load(leaf), after, name);
    if (to === PAGE + 0x1000n) assertEquals(guest.word(DATA + 0x1000), 9, name);
  }
});

Deno.test("a guest that changes the descriptor each time gets an external abort in the end", () => {
  let races = 0;
  const { guest, leaf }: Scene = scene(
    HA,
    1,
    racing((gpa) => {
      races++;
      guest.quad(gpa, PAGE | (BigInt(races) << 55n));
    }),
  );
  guest.quad(leaf, PAGE);
  assertEquals(guest.dmaRead(SID, IOVA), undefined);
  const [[q0, q1, , q3]] = guest.events();
  assertEquals([q0 & 0xffn, (q1 >> 40n) & 3n, q3], [0x0bn, 1n, BigInt(leaf)], "CLASS=TT");
  assertEquals(races <= 100, true, `${races}`);
  // It is not held against the next one.
  guest.quad(leaf, PAGE | AF);
  assertEquals(guest.dmaRead(SID, IOVA), [0]);
});

Deno.test("a descriptor that cannot be written is F_WALK_EABT", () => {
  const { guest, leaf } = scene(
    HA,
    1,
    (ram) => altered(ram, { compareExchange: () => Exchange.Refused }),
  );
  guest.quad(leaf, PAGE);
  assertEquals(guest.probe(SID, IOVA), "event b");
});

/** A nested stream: guest RAM is where it is, in blocks, but for the page with tables. */
function nested(s2: { ha?: boolean; hd?: boolean; writable?: boolean }): Scene & { below: number } {
  const guest = new Guest({ features: { stage2: true, httu: 2 } });
  const { root } = guest.stage1(SID, { word1: HA | HD });
  const leaf = guest.map(root, IOVA, DATA);
  guest.quad(leaf, PAGE | READ_ONLY | DBM);
  const stage2 = guest.root();
  for (let at = 0; at < 0x100_0000; at += 0x20_0000) {
    if (at !== 0x20_0000) guest.map(stage2, BigInt(RAM + at), RAM + at, 0x4fcn, 2);
  }
  let below = 0;
  for (let at = 0x20_0000; at < 0x40_0000; at += 0x1000) {
    const entry = guest.map(stage2, BigInt(RAM + at), RAM + at, 0x4fcn);
    if (RAM + at === (leaf & ~0xfff)) below = entry;
  }
  guest.quad(below, (guest.load(below) & ~0x80n) | (s2.writable ? 0x80n : 0n) | DBM);
  const ste = STRTAB + SID * 64;
  guest.field(ste, 3, 1, 0b111);
  for (
    const [high, low, value] of [
      [165, 160, 16],
      [167, 166, 2],
      [178, 176, 5],
      [179, 179, 1],
      [183, 183, Number(s2.hd ?? false)],
      [184, 184, Number(s2.ha ?? false)],
      [186, 186, 1],
    ]
  ) guest.field(ste, high, low, value);
  guest.field(ste, 243, 196, BigInt(stage2) >> 4n);
  return { guest, leaf, below };
}

Deno.test("an update of stage 1 is a write through stage 2", () => {
  const dirty = PAGE | AF | DBM;
  const open = nested({ writable: true });
  assertEquals(open.guest.dmaWrite(SID, IOVA, [3]), true);
  assertEquals([open.guest.load(open.leaf), open.guest.word(DATA)], [dirty, 3]);

  const closed = nested({});
  assertEquals(closed.guest.dmaRead(SID, IOVA), undefined);
  const [[q0, q1, q2, q3]] = closed.guest.events();
  const page = BigInt(closed.leaf & ~0xfff);
  // S2, CLASS=TT, RnW of the read; TTRnW is 0, because the descriptor was to be written.
  assertEquals([q0 & 0xffn, q1, q2, q3], [
    0x13n,
    (1n << 40n) | (1n << 39n) | (1n << 35n),
    IOVA,
    page,
  ]);
  assertEquals(closed.guest.load(closed.leaf), PAGE | READ_ONLY | DBM, "unchanged");

  const dirtied = nested({ ha: true, hd: true });
  assertEquals(dirtied.guest.dmaWrite(SID, IOVA, [4]), true);
  assertEquals(dirtied.guest.load(dirtied.leaf), dirty);
  assertEquals(
    dirtied.guest.load(dirtied.below) & 0x80n,
    0x80n,
    "and the page of the table is dirty",
  );
});
