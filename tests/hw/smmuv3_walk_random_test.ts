/**
 * Random tables with any number of defects at once, against a walk written for reading.
 * @module
 */
import { assertEquals } from "@std/assert";
import { Access as Bits } from "../../hw/smmuv3/fault.ts";
import { CDS, DATA, Guest, NOWHERE, split } from "../support/guest.ts";
import { Random } from "../support/random.ts";
import {
  type Access,
  type Half,
  referenceWalk,
  type Regime,
  type Result,
} from "../support/reference_walk.ts";

const SID = 1;
const TABLES = 0x4030_0000;
const TABLE_COUNT = 8;
const EVENTS: Record<string, number> = {
  EABT: 0x0b,
  TRANSLATION: 0x10,
  ADDR_SIZE: 0x11,
  ACCESS: 0x12,
  PERMISSION: 0x13,
};
const IPS_BITS = [32, 36, 40, 42, 44, 48];

/** The CD and its meaning. */
function configure(guest: Guest, random: Random): Regime {
  const ips = random.below(6);
  const half = (): Half => ({
    sizeField: random.of([16, 17, 24, 25, 26, 33, 34, 35, 43, 48]),
    table: BigInt(TABLES + random.below(TABLE_COUNT) * 0x1000),
    disabled: random.chance(0.05),
    tbi: random.chance(0.5),
    had: random.chance(0.3),
  });
  const regime: Regime = {
    halves: [half(), half()],
    outputBits: IPS_BITS[ips],
    affd: random.chance(0.3),
    wxn: random.chance(0.3),
    pan: random.chance(0.3),
  };
  const [lower, upper] = regime.halves;
  guest.cd(CDS, {
    t0sz: lower.sizeField,
    t1sz: upper.sizeField,
    ttb0: Number(lower.table),
    ttb1: Number(upper.table),
    epd0: lower.disabled,
    epd1: upper.disabled,
    ips,
    tbi: Number(lower.tbi) | (Number(upper.tbi) << 1),
    word1: (Number(regime.affd) << 3) | (Number(regime.wxn) << 4) | (Number(regime.pan) << 8),
  });
  guest.field(CDS, 65, 65, Number(lower.had));
  guest.field(CDS, 129, 129, Number(upper.had));
  guest.ste(SID, BigInt(CDS) | 0b1011n);
  return regime;
}

/** Mostly what walks further or ends well, with any other bits. */
function descriptor(random: Random): bigint {
  const page = BigInt(random.chance(0.9) ? TABLES + random.below(TABLE_COUNT) * 0x1000 : NOWHERE);
  let value = (random.quad() & ~0x0000_ffff_ffff_f003n) | page;
  value |= BigInt(random.of([3, 3, 3, 3, 3, 1, 1, 0, 2]));
  if (random.chance(0.8)) value |= 0x440n; // AF, unprivileged
  if (random.chance(0.6)) value &= ~(0xfn << 59n); // no attributes of tables
  if (random.chance(0.05)) value |= 1n << BigInt(32 + random.below(16));
  return value;
}

/** An address that tends to be in range. */
function address(random: Random, { halves }: Regime): bigint {
  const upper = random.chance(0.5);
  const half = halves[Number(upper)];
  const low = BigInt.asUintN(64 - half.sizeField, random.quad());
  let value = upper ? 2n ** 64n - 1n - low : low;
  if (random.chance(0.3)) value ^= BigInt(random.below(256)) << 56n;
  if (random.chance(0.1)) value ^= 1n << BigInt(random.below(64));
  return value;
}

Deno.test("random tables: address or fault are those of the reference", () => {
  const random = new Random();
  const guest = new Guest();
  const load = (gpa: bigint): bigint | undefined =>
    gpa >= 0x4000_0000n && gpa < BigInt(NOWHERE) ? guest.load(Number(gpa)) : undefined;
  const seen = new Map<string, number>();
  for (let round = 0; round < 60; round++) {
    for (let i = 0; i < TABLE_COUNT * 512; i++) guest.quad(TABLES + i * 8, descriptor(random));
    const regime = configure(guest, random);
    guest.forget();
    for (let i = 0; i < 60; i++) {
      const iova = address(random, regime);
      const access: Access = {
        kind: random.of(["read", "write", "execute"] as const),
        privileged: random.chance(0.5),
      };
      const expected = referenceWalk(regime, iova, access, load);
      const text = `${random}, round ${round}, IOVA ${iova.toString(16)}`;
      assertEquals(walk(guest, iova, access), expected, text);
      assertEquals(walk(guest, iova, access), expected, `${text}, again`);
      const name = typeof expected === "bigint" ? "address" : expected;
      seen.set(name, (seen.get(name) ?? 0) + 1);
    }
  }
  const names = ["ACCESS", "ADDR_SIZE", "EABT", "PERMISSION", "TRANSLATION", "address"];
  assertEquals([...seen.keys()].sort(), names, "everything has happened");
  assertEquals(guest.word(DATA), 0, "and nothing was written");
});

/** What the device makes of it. */
function walk(guest: Guest, iova: bigint, { kind, privileged }: Access): Result {
  const { translator } = guest.smmu;
  const bits = { read: Bits.Read, write: Bits.Write, execute: Bits.Execute }[kind];
  const access = bits | (privileged ? Bits.Privileged : 0);
  const how = translator.translate({ streamId: SID, substreamId: -1 }, ...split(iova), access);
  if (how === 0) return BigInt(translator.gpa);
  const [number] = guest.eventNumbers();
  return Object.keys(EVENTS).find((name) => EVENTS[name] === number) as Result;
}
