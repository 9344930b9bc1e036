/**
 * A driver changes an STE step by step, so that the device finds a whole one at each time: the old or the new. The steps
 * are those of any driver that counts on nothing but atomic 64-bit stores and on fields that are IGNORED being so:
 * first what the old STE does not use, then the one word that makes the difference, then what the new one does not use.
 * IHI 0070 §3.21.3, §5.2.
 * @module
 */
import { assert, assertEquals } from "@std/assert";
import { CDS, DATA, type Guest, STRTAB } from "../../support/guest.ts";
import { fc, type MakeGuest, type Property } from "./property.ts";

const STREAM = 1;
const STE = STRTAB + STREAM * 64;
const IOVA = 0x4080_3000n;
type Quads = readonly [bigint, bigint, bigint, bigint];

/** A field: its high and low bit in the STE. */
const bits = (high: number, low: number): Quads =>
  [0, 64, 128, 192].map((base) => {
    if (low < base || low >= base + 64) return 0n;
    return ((1n << BigInt(high - low + 1)) - 1n) << BigInt(low - base);
  }) as unknown as Quads;
const or = (...all: Quads[]): Quads =>
  [0, 1, 2, 3].map((i) => all.reduce((sum, quads) => sum | quads[i], 0n)) as unknown as Quads;

const V = bits(0, 0);
const CONFIG = bits(3, 1);
const STAGE1 = or(
  bits(5, 4), // S1Fmt
  bits(55, 6), // S1ContextPtr
  bits(63, 59), // S1CDMax
  bits(71, 64), // S1DSS, S1CIR, S1COR, S1CSH
  bits(91, 91), // S1STALLD
  bits(95, 94), // STRW
);
const STAGE2 = or(
  bits(89, 89), // S2FWB
  bits(143, 128), // S2VMID
  bits(178, 160), // S2T0SZ to S2PS
  bits(186, 179), // S2AA64, S2ENDI, S2AFFD, S2PTW, S2HD, S2HA, S2S, S2R
  bits(243, 196), // S2TTB
);
const EATS = bits(93, 92);
const SHCFG = bits(109, 108);
const MEV = bits(83, 83);
const VMID = bits(143, 128);

/** The bits that a device may look at. */
function used(ste: Quads): Quads {
  if ((ste[0] & 1n) === 0n) return V;
  const config = Number((ste[0] >> 1n) & 7n);
  if (config < 4) return or(V, CONFIG);
  const parts = [V, CONFIG, SHCFG, MEV];
  if ((config & 1) !== 0) parts.push(STAGE1, EATS, VMID);
  if ((config & 2) !== 0) parts.push(STAGE2, EATS);
  return or(...parts);
}

/** The steps from one STE to another: what is stored in each, between which CMD_CFGI_STE and CMD_SYNC lie. */
function steps(from: Quads, to: Quads): { readonly stores: Quads[]; readonly isHitless: boolean } {
  const [before, after] = [used(from), used(to)];
  // As much of the new as the old does not use.
  const prepared = from.map((quad, i) =>
    (quad & before[i]) | (to[i] & after[i] & ~before[i])
  ) as unknown as Quads;
  const critical = [0, 1, 2, 3].filter((i) => (prepared[i] & after[i]) !== (to[i] & after[i]));
  if (critical.length > 1) {
    const invalid: Quads = [0n, from[1], from[2], from[3]];
    return { stores: [invalid, [0n, to[1], to[2], to[3]], to], isHitless: false };
  }
  const changed = prepared.map((quad, i) => critical.includes(i) ? to[i] : quad);
  return { stores: [prepared, changed as unknown as Quads, to], isHitless: true };
}

/** STEs as drivers write them, from a few choices. */
function variants(root: number): Quads[] {
  const valid = 1n;
  const stage2: Quads = [
    0n,
    0n,
    // S2VMID, 48 bits from level 0, 48 bits out, S2AA64, S2PTW, S2R
    7n | (16n << 32n) | (2n << 38n) | (5n << 48n) | (1n << 51n) | (1n << 54n) | (1n << 58n),
    BigInt(root),
  ];
  const stage1 = (index: number, word1: bigint, log2count = 0n): Quads => [
    BigInt(CDS + index * 0x1000) | (log2count << 59n),
    word1,
    7n,
    0n,
  ];
  const config = (value: bigint): Quads => [valid | (value << 1n), 0n, 0n, 0n];
  const eats: Quads = [0n, 1n << 28n, 0n, 0n];
  const found: Quads[] = [
    config(0n),
    or(config(0n), stage1(0, 0xffn), stage2, eats),
    config(4n),
    or(config(4n), [0n, 1n << 44n, 0n, 0n], stage1(1, 0x54n)),
    or(config(5n), stage1(0, 0x54n)),
    or(config(5n), stage1(0, 0xfen)),
    or(config(5n), stage1(0, 0x54n, 2n)),
    or(config(5n), stage1(0, 0x55n, 2n)),
    or(config(5n), stage1(0, 0x56n, 2n)),
    or(config(5n), stage1(1, 0x54n), eats),
    or(config(5n), stage1(1, 0x54n), [0n, 1n << 19n, 0n, 0n]),
    or(config(6n), stage2),
    or(config(6n), stage2, [0n, 1n << 25n, 0n, 0n]),
    or(config(6n), stage2, [0n, 2n << 30n, 0n, 0n], eats),
    or(config(7n), stage1(0, 0x54n), stage2),
    or(config(7n), stage1(1, 0x56n, 2n), stage2, eats),
  ];
  return [[0n, 0n, 0n, 0n], ...found];
}

const COUNT = 17;

class Scene {
  readonly guest: Guest;
  readonly variants: Quads[];

  constructor(make: MakeGuest) {
    const guest = this.guest = make({
      features: { stage2: true, ats: true },
      log2queue: 5,
    });
    const below = guest.root();
    for (let gpa = 0x4000_0000; gpa < DATA; gpa += 0x20_0000) {
      guest.map(below, BigInt(gpa), gpa, 0x4fcn, 2);
    }
    for (let page = 0; page < 8; page++) {
      guest.quad(DATA + page * 0x1000, BigInt(0xb0 + page));
      guest.map(below, BigInt(DATA + page * 0x1000), DATA + (page ^ 1) * 0x1000, 0x4fcn);
    }
    for (const index of [0, 1]) {
      for (const substream of [0, 1, 2, 3]) {
        const root = guest.root();
        guest.map(root, IOVA, DATA + (4 + index * 2) * 0x1000);
        const cd = CDS + index * 0x1000 + substream * 64;
        guest.cd(cd, { ttb0: root, asid: 1 + index * 4 + substream });
      }
    }
    this.variants = variants(below);
  }

  store(quads: Quads): void {
    for (const [i, quad] of quads.entries()) this.guest.quad(STE + i * 8, quad);
  }

  /** What becomes of a request while the STE reads so. */
  outcome(quads: Quads, substreamId: number): string {
    const { guest } = this;
    this.store(quads);
    guest.forget();
    return guest.probe(STREAM, IOVA, substreamId);
  }
}

function change(scene: Scene, from: number, to: number): void {
  const { guest, variants } = scene;
  const [old, wanted] = [variants[from], variants[to]];
  const { stores, isHitless } = steps(old, wanted);
  for (const substreamId of [-1, 1]) {
    const allowed = [scene.outcome(old, substreamId), scene.outcome(wanted, substreamId)];
    if (!isHitless) allowed.push("event 4");
    let current = old;
    for (const next of stores) {
      // Of the words of a step some are there already, and some are not yet: whichever the device reads first.
      for (let mask = 0; mask < 16; mask++) {
        const mixed = current.map((quad, i) => (mask >> i & 1) === 1 ? next[i] : quad);
        const found = scene.outcome(mixed as unknown as Quads, substreamId);
        assert(allowed.includes(found), `${found} is none of ${allowed}, ${mixed.map(hex)}`);
      }
      // What was cached of the words before counts until CMD_CFGI_STE.
      scene.outcome(current, substreamId);
      scene.store(next);
      assert(allowed.includes(guest.probe(STREAM, IOVA, substreamId)));
      current = next;
    }
    guest.queue(0x03n | (BigInt(STREAM) << 32n), 1n);
    guest.queue(0x46n);
    guest.ring();
    assertEquals(guest.probe(STREAM, IOVA, substreamId), allowed[1], "at the end");
  }
}

function hex(quad: bigint): string {
  return quad.toString(16);
}

/** Changes of STEs. */
export const hitless: Property = {
  name: "P12: while an STE is changed step by step the device finds the old one or the new one",
  runs: COUNT * COUNT,
  examples: Array.from({ length: COUNT * COUNT }, (_, i) => [[Math.floor(i / COUNT), i % COUNT]]),
  of: (make) => {
    let scene: Scene | undefined;
    return fc.property(fc.tuple(fc.nat(COUNT - 1), fc.nat(COUNT - 1)), ([from, to]) => {
      scene ??= new Scene(make);
      assertEquals(scene.variants.length, COUNT);
      change(scene, from, to);
    });
  },
};
