/**
 * Random configurations and tables with any number of defects at once, for one stage, the other, and both, against a walk
 * written for reading: address, event record and updates of descriptors have to be the same.
 * @module
 */
import { assertEquals } from "@std/assert";
import { Access as Bits } from "../../hw/smmuv3/fault.ts";
import { eventRecord } from "../support/event_record.ts";
import { altered, Guest, NOWHERE, split, STRTAB } from "../support/guest.ts";
import { Random } from "../../vmm/random.ts";
import {
  type Access,
  type Failure,
  type Half,
  Reference,
  type Stage1,
  type Stage2,
} from "../support/reference_walk.ts";

const SID = 1;
const STE = STRTAB + SID * 64;
const POOL = 0x4040_0000;
const PAGES = 4;
/** As large and as aligned as the largest granule. */
const PAGE = 0x1_0000;
const CD_PAGE = POOL + PAGES * PAGE;
const SIZES = [32, 36, 40, 42, 44, 48, 52];
const TG0 = { 12: 0, 14: 2, 16: 1 };
const TG1 = { 12: 2, 14: 1, 16: 3 };
/** STE.S2SL0 by granule and level. */
const SL0: Record<number, (number | undefined)[]> = {
  12: [2, 1, 0, 3],
  14: [undefined, 2, 1, 0],
  16: [undefined, 2, 1, 0],
};

const SHAPES = ["stage 1", "stage 1", "stage 2", "nested", "nested", "nested", "nested"] as const;

/** A guest, and a log of what its device writes into tables. */
class Scene {
  readonly random: Random;
  readonly oas: number;
  readonly vax: boolean;
  readonly xnx: boolean;
  readonly updates: [address: bigint, value: bigint][] = [];
  readonly guest: Guest;
  readonly reference: Reference;
  /** What the reference writes, until the device has done so too. */
  readonly overlay = new Map<bigint, bigint>();

  constructor(random: Random) {
    this.random = random;
    this.oas = random.of([...SIZES, 52, 52, 52]);
    this.vax = random.chance(0.5);
    this.xnx = random.chance(0.5);
    this.guest = new Guest({
      features: {
        oas: this.oas,
        vax: this.vax,
        xnx: this.xnx,
        stage2: true,
        granule16K: true,
        granule64K: true,
        httu: 2,
      },
      wrap: (ram) =>
        altered(ram, {
          compareExchange: (gpa, expected, desired) => {
            this.updates.push([BigInt(gpa), desired.quads[0]]);
            return ram.compareExchange(gpa, expected, desired);
          },
        }),
    });
    const load = (at: bigint): bigint | undefined =>
      at >= 0x4000_0000n && at < BigInt(NOWHERE)
        ? this.overlay.get(at) ?? this.guest.load(Number(at))
        : undefined;
    const store = (at: bigint, value: bigint): void => void this.overlay.set(at, value);
    this.reference = new Reference({ load, store }, this.oas);
  }

  /** Tables: `defects` times as many defects as are good for a walk of one stage. */
  fill(defects: number): void {
    const { random, guest } = this;
    const rarely = (probability: number): boolean => random.chance(probability * defects);
    for (let i = 0; i < PAGES * PAGE / 8; i++) {
      const page = POOL + random.below(PAGES + 1) * PAGE;
      let value = random.quad() & ~0x0000_ffff_ffff_f003n;
      value |= BigInt(rarely(0.25) ? random.of([0, 1, 2]) : 3);
      value |= BigInt(rarely(0.1) ? random.of([NOWHERE, random.word()]) : page);
      // AF; what stage 1 knows as unprivileged is what stage 2 knows as readable.
      if (!rarely(0.15)) value |= 0x440n;
      if (!rarely(0.4)) value |= 0x30n; // no device memory
      if (random.chance(0.6)) value &= ~0x80n; // writable at stage 1, and not at stage 2
      if (!rarely(0.4)) value &= ~(0xfn << 59n); // no attributes of tables
      if (!rarely(0.5)) value &= ~(0b11n << 53n); // executable
      if (rarely(0.06)) value |= 1n << BigInt(32 + random.below(16));
      if (!rarely(0.1)) value &= ~0xf000n; // bits 51:48 with 64 KiB
      guest.quad(POOL + i * 8, value);
    }
  }

  tableAddress(): bigint {
    // Off the alignment of most tables: they are aligned down.
    return BigInt(POOL + this.random.below(PAGES) * PAGE + this.random.below(64) * 16);
  }

  stage1(below: Stage2 | undefined): Stage1 {
    const { random, oas } = this;
    const ips = random.below(8);
    const outputBits = Math.min(SIZES[ips] ?? oas, oas);
    const ha = random.chance(0.3);
    const tree = (): Half => {
      const log2granule = random.of([12, 14, 16] as const);
      const most = log2granule === 16 && this.vax ? 52 : 48;
      const least = log2granule === 16 ? 17 : 16;
      // Below stage 2, tables are wherever its input addresses lead.
      const room = Math.min(below?.tree.inputBits ?? 0, outputBits, 48);
      const far = BigInt.asUintN(room, random.quad()) & ~0xffn;
      return {
        log2granule,
        inputBits: random.chance(0.3) ? most : least + random.below(most - least + 1),
        table: below === undefined ? this.tableAddress() : far,
        disabled: random.chance(0.04),
        tbi: random.chance(0.5),
        had: random.chance(0.3),
      };
    };
    const stage1: Stage1 = {
      trees: [tree(), tree()],
      outputBits,
      affd: random.chance(0.3),
      ha,
      hd: ha && random.chance(0.6),
      wxn: random.chance(0.3),
      pan: random.chance(0.3),
    };
    this.cdFields = (at) => {
      const [lower, upper] = stage1.trees;
      for (let quad = 0; quad < 8; quad++) this.guest.quad(at + quad * 8, 0n);
      const set = (high: number, low: number, value: number | boolean | bigint): void =>
        this.guest.field(at, high, low, typeof value === "boolean" ? Number(value) : value);
      set(5, 0, 64 - lower.inputBits);
      set(7, 6, TG0[lower.log2granule]);
      set(14, 14, lower.disabled);
      set(21, 16, 64 - upper.inputBits);
      set(23, 22, TG1[upper.log2granule]);
      set(30, 30, upper.disabled);
      set(31, 31, 1);
      set(34, 32, ips);
      set(35, 35, stage1.affd);
      set(36, 36, stage1.wxn);
      set(38, 38, lower.tbi);
      set(39, 39, upper.tbi);
      set(40, 40, stage1.pan);
      set(41, 41, 1);
      set(42, 42, stage1.hd);
      set(43, 43, stage1.ha);
      set(46, 45, 0b11);
      set(63, 48, 5);
      set(65, 65, lower.had);
      set(115, 68, lower.table >> 4n);
      set(129, 129, upper.had);
      set(179, 132, upper.table >> 4n);
    };
    return stage1;
  }

  /** Writes the CD of the last stage 1. */
  cdFields: (at: number) => void = () => {};

  stage2(): Stage2 {
    const { random, oas, xnx } = this;
    const log2granule = random.of([12, 14, 16] as const);
    const stride = log2granule - 3;
    const starts: [level: number, inputBits: number][] = [];
    for (let level = 0; level < 4; level++) {
      const below = log2granule + (3 - level) * stride;
      const least: Record<string, number> = { "12.0": 44, "14.1": 42, "16.1": 44 };
      if (SL0[log2granule][level] === undefined) continue;
      if (oas < (least[`${log2granule}.${level}`] ?? 0)) continue;
      for (let bits = below + 1; bits <= below + stride + 4; bits++) {
        const most = Math.min(log2granule === 16 ? 52 : 48, oas);
        if (bits <= most && bits >= (log2granule === 16 ? 17 : 16)) starts.push([level, bits]);
      }
    }
    const [firstLevel, inputBits] = random.of(starts);
    const ps = random.below(8);
    const ha = random.chance(0.3);
    const stage2: Stage2 = {
      tree: { log2granule, inputBits, table: this.tableAddress(), firstLevel },
      outputBits: Math.min(SIZES[ps] ?? oas, oas),
      affd: random.chance(0.4),
      ha,
      hd: ha && random.chance(0.6),
      ptw: random.chance(0.4),
      fwb: random.chance(0.4),
      xnx,
    };
    const set = (high: number, low: number, value: number | boolean | bigint): void =>
      this.guest.field(STE, high, low, typeof value === "boolean" ? Number(value) : value);
    set(89, 89, stage2.fwb);
    set(143, 128, 7);
    set(165, 160, 64 - inputBits);
    set(167, 166, SL0[log2granule][firstLevel]!);
    set(175, 174, TG0[log2granule]);
    set(178, 176, ps);
    set(179, 179, 1);
    set(181, 181, stage2.affd);
    set(182, 182, stage2.ptw);
    set(183, 183, stage2.hd);
    set(184, 184, stage2.ha);
    set(186, 186, 1);
    set(243, 196, stage2.tree.table >> 4n);
    return stage2;
  }

  /** An address that tends to be in range. */
  address(stage1: Stage1 | undefined, stage2: Stage2 | undefined): bigint {
    const { random } = this;
    const upper = stage1 !== undefined && random.chance(0.5);
    const { inputBits } = stage1?.trees[Number(upper)] ?? stage2!.tree;
    const low = BigInt.asUintN(inputBits, random.quad());
    let value = upper ? 2n ** 64n - 1n - low : low;
    if (stage1 !== undefined && random.chance(0.3)) value ^= BigInt(random.below(256)) << 56n;
    if (random.chance(0.05)) value ^= 1n << BigInt(random.below(64));
    return value;
  }

  /** Where a CD can be, as an intermediate address: one that stage 2 leads to the page for it, else one that it does not. */
  cdAddress(stage2: Stage2): { ipa: bigint; gpa: number | Failure } | undefined {
    const read: Access = { kind: "read", privileged: false };
    const room = Math.min(stage2.tree.inputBits, this.oas);
    let failed: { ipa: bigint; gpa: Failure } | undefined;
    for (let i = 0; i < 500; i++) {
      const ipa = BigInt.asUintN(room, this.random.quad()) & ~0x3fn;
      const found = this.reference.below(stage2, ipa, read, "CD");
      this.overlay.clear();
      if (typeof found !== "bigint") failed = { ipa, gpa: found };
      else if (found >= BigInt(CD_PAGE) && found < BigInt(CD_PAGE + PAGE)) {
        return { ipa, gpa: Number(found) };
      }
    }
    return failed;
  }

  /** What the device makes of an access: an address, or the words of its event record. */
  walk(iova: bigint, { kind, privileged }: Access): bigint | string {
    const { translator } = this.guest.smmu;
    const bits = { read: Bits.Read, write: Bits.Write, execute: Bits.Execute }[kind];
    const access = bits | (privileged ? Bits.Privileged : 0);
    const how = translator.translate({ streamId: SID, substreamId: -1 }, ...split(iova), access);
    return how === 0 ? BigInt(translator.gpa) : this.guest.events().map((e) => hex(e)).join();
  }

  /** What the reference expects, and the updates that it made. */
  expect(
    stage1: Stage1 | undefined,
    stage2: Stage2 | undefined,
    iova: bigint,
    access: Access,
    cd: Failure | undefined,
  ): { result: bigint | string; name: string; updates: [bigint, bigint][] } {
    const found = cd ?? this.reference.translate(stage1, stage2, iova, access);
    const updates = [...this.overlay];
    this.overlay.clear();
    if (typeof found === "bigint") return { result: found, name: "address", updates };
    return { result: hex(eventRecord(SID, found, iova, access)), name: label(found), updates };
  }
}

function label({ name, stage, klass }: Failure): string {
  return `${name} ${stage} ${klass}`;
}

function hex(quads: bigint[]): string {
  return quads.map((quad) => quad.toString(16)).join(":");
}

/** One configuration; `shape` says which stages. */
function round(
  scene: Scene,
  shape: (typeof SHAPES)[number],
  seen: Map<string, number>,
): void {
  const { guest, random } = scene;
  scene.fill(random.of(shape === "nested" ? [0.05, 0.2, 1] : [0.3, 1]));
  for (let quad = 0; quad < 8; quad++) guest.quad(STE + quad * 8, 0n);
  const stage2 = shape === "stage 1" ? undefined : scene.stage2();
  const stage1 = shape === "stage 2" ? undefined : scene.stage1(stage2);
  guest.field(STE, 3, 0, { "stage 1": 0b1011, "stage 2": 0b1101, nested: 0b1111 }[shape]);
  let cd: Failure | undefined;
  if (stage1 !== undefined) {
    const place = stage2 === undefined
      ? { ipa: BigInt(CD_PAGE), gpa: CD_PAGE }
      : scene.cdAddress(stage2);
    if (place === undefined) return;
    const { ipa, gpa } = place;
    guest.field(STE, 55, 6, ipa >> 6n);
    if (typeof gpa === "number") scene.cdFields(gpa);
    else cd = gpa;
  }
  guest.forget();
  const isUpdated = (stage1?.ha ?? false) || (stage2?.ha ?? false);
  let iova = 0n;
  for (let i = 0; i < (cd === undefined ? 90 : 2); i++) {
    // What was cached for one access must not permit another.
    if (i % 3 === 0) iova = scene.address(stage1, stage2);
    const access: Access = {
      kind: random.of(["read", "write", "execute"] as const),
      privileged: random.chance(0.5),
    };
    const text = `${random}, ${shape}, OAS ${scene.oas}, IOVA ${iova.toString(16)}, ` +
      `${access.kind} ${access.privileged}`;
    // What one walk writes may be part of another's way, which is then cached as it was.
    if (isUpdated) guest.forget();
    scene.updates.length = 0;
    const expected = scene.expect(stage1, stage2, iova, access, cd);
    assertEquals(scene.walk(iova, access), expected.result, text);
    const written = new Map(scene.updates);
    for (const [at, value] of expected.updates) assertEquals(written.get(at), value, text);
    if (!isUpdated) {
      assertEquals(scene.updates, [], text);
      assertEquals(scene.walk(iova, access), expected.result, `${text}, again`);
    }
    const name = `${shape}: ${expected.name}`;
    seen.set(name, (seen.get(name) ?? 0) + 1);
    if (expected.updates.length > 0) seen.set("updates", (seen.get("updates") ?? 0) + 1);
  }
}

Deno.test("random tables: address, record and updates are those of the reference", () => {
  const random = new Random();
  const seen = new Map<string, number>();
  for (let i = 0; i < 20; i++) {
    const scene = new Scene(random);
    for (const shape of SHAPES) round(scene, shape, seen);
  }
  const missing = [
    ...["address", "EABT 1 TT", "TRANSLATION 1 IN", "PERMISSION 1 IN"].map((n) => `stage 1: ${n}`),
    ...["address", "EABT 2 IN", "TRANSLATION 2 IN", "PERMISSION 2 IN"].map((n) => `stage 2: ${n}`),
    ...["address", "TRANSLATION 1 IN", "TRANSLATION 2 TT", "TRANSLATION 2 IN"].map((name) =>
      `nested: ${name}`
    ),
    "updates",
  ].filter((name) => !seen.has(name));
  assertEquals(missing, [], `${random}: everything has happened: ${[...seen].join("; ")}`);
});
