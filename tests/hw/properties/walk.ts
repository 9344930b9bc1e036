/**
 * One page, mapped by tables of four levels at one stage or both, and any number of bits of it flipped: what comes of an
 * access, its record and its updates are those of a walk written for reading. IHI 0070 §3.4, §3.13, §7.3, §7.3.22.
 * @module
 */
import { assertEquals } from "@std/assert";
import { Access as Bits } from "../../../hw/smmuv3/fault.ts";
import { eventRecord } from "../../support/event_record.ts";
import { CDS, DATA, type Guest, NOWHERE, split, STRTAB } from "../../support/guest.ts";
import {
  type Access,
  type Failure,
  Reference,
  type Stage1,
  type Stage2,
} from "../../support/reference_walk.ts";
import { fc, type MakeGuest, type Property } from "./property.ts";

const STREAM = 1;
const STE = STRTAB + STREAM * 64;
const CD = CDS;
const IOVA = 0x12_3456_7abcn;
const SIZES = [32, 36, 40, 42, 44, 48];

/** A descriptor: of stage 1 at a level, or the one of stage 2 that leads to the CD, to such a table, or to the page. */
const PLACES = [
  ...["1.0", "1.1", "1.2", "1.3", "2 of the CD"],
  ...["2 of 1.0", "2 of 1.1", "2 of 1.2", "2 of 1.3", "2 of the page", "2.0", "2.1", "2.2"],
] as const;
type Place = typeof PLACES[number];

/** Bits that mean something: valid, type, attributes, addresses beyond 44 bits, tables' attributes. */
const MEANINGFUL = [
  0,
  1,
  2,
  3,
  4,
  5,
  6,
  7,
  10,
  11,
  12,
  21,
  44,
  46,
  47,
  51,
  52,
  53,
  54,
  59,
  60,
  61,
  62,
  63,
];

interface Scenario {
  readonly shape: "stage 1" | "stage 2" | "nested";
  readonly flips: readonly { readonly place: Place; readonly bit: number }[];
  /** Bits of the address to flip. */
  readonly address: readonly number[];
  readonly access: Access;
  readonly controls: Readonly<Record<string, boolean>>;
  readonly ips: number;
  readonly ps: number;
}

const CONTROLS = [
  ...["affd1", "ha1", "hd1", "wxn", "pan", "had", "tbi", "epd"],
  ...["affd2", "ha2", "hd2", "ptw", "fwb"],
];

const scenario: fc.Arbitrary<Scenario> = fc.record({
  shape: fc.constantFrom("stage 1", "stage 2", "nested", "nested"),
  flips: fc.array(
    fc.record({ place: fc.constantFrom(...PLACES), bit: fc.constantFrom(...MEANINGFUL) }),
    { maxLength: 5 },
  ),
  address: fc.array(fc.integer({ min: 12, max: 63 }), { maxLength: 1 }),
  access: fc.record({
    kind: fc.constantFrom("read", "write", "execute"),
    privileged: fc.boolean(),
  }),
  controls: fc.record(
    Object.fromEntries(
      CONTROLS.map((
        name,
      ) => [name, fc.oneof({ weight: 4, arbitrary: fc.constant(false) }, fc.boolean())]),
    ),
  ),
  ips: fc.constantFrom(5, 5, 4, 0, 7),
  ps: fc.constantFrom(5, 5, 4, 2, 7),
}) as fc.Arbitrary<Scenario>;

/** The tables, before anything is flipped. */
class Scene {
  readonly guest: Guest;
  readonly at = new Map<Place, number>();
  readonly overlay = new Map<bigint, bigint>();
  readonly reference: Reference;
  readonly root1: number;
  readonly root2: number;

  constructor(make: MakeGuest) {
    const guest = this.guest = make({
      features: { stage2: true, xnx: true, httu: 2, oas: 48 },
      log2queue: 5,
    });
    const load = (at: bigint): bigint | undefined =>
      at >= 0x4000_0000n && at < BigInt(NOWHERE)
        ? this.overlay.get(at) ?? guest.load(Number(at))
        : undefined;
    const store = (at: bigint, value: bigint): void => void this.overlay.set(at, value);
    this.reference = new Reference({ load, store }, 48);
    this.root1 = guest.root();
    this.root2 = guest.root();
    guest.map(this.root1, IOVA, DATA);
    const tables = follow(guest, this.root1, IOVA);
    tables.forEach((at, level) => this.at.set(`1.${level}` as Place, at));
    const below = (page: number): number => guest.map(this.root2, BigInt(page), page, 0x4fcn);
    this.at.set("2 of the CD", below(CD));
    tables.forEach((at, level) => this.at.set(`2 of 1.${level}` as Place, below(at & ~0xfff)));
    this.at.set("2 of the page", below(DATA));
    // Stage 2 alone translates the page's own address.
    follow(guest, this.root2, BigInt(DATA)).slice(0, 3).forEach((at, level) =>
      this.at.set(`2.${level}` as Place, at)
    );
  }

  /** Writes CD and STE; returns what they say. */
  configure({ shape, controls, ips, ps }: Scenario): [Stage1 | undefined, Stage2 | undefined] {
    const { guest, root1, root2 } = this;
    const { affd1, ha1, wxn, pan, had, tbi, epd, affd2, ha2, ptw, fwb } = controls;
    const [hd1, hd2] = [ha1 && controls.hd1, ha2 && controls.hd2];
    const outputBits = (size: number): number => SIZES[size] ?? 48;
    const lower = {
      log2granule: 12 as const,
      inputBits: 48,
      table: BigInt(root1),
      disabled: epd,
      tbi,
      had,
    };
    const upper = { ...lower, disabled: true };
    const stage1 = {
      trees: [lower, upper] as const,
      outputBits: outputBits(ips),
      affd: affd1,
      ha: ha1,
      hd: hd1,
      wxn,
      pan,
    };
    const stage2 = {
      tree: { log2granule: 12 as const, inputBits: 48, table: BigInt(root2), firstLevel: 0 },
      outputBits: outputBits(ps),
      affd: affd2,
      ha: ha2,
      hd: hd2,
      ptw,
      fwb,
      xnx: true,
    };
    const word1 = (Number(affd1) << 3) | (Number(wxn) << 4) | (Number(pan) << 8) |
      (Number(hd1) << 10) | (Number(ha1) << 11);
    guest.cd(CD, { ttb0: root1, ips, epd0: epd, tbi: tbi ? 3 : 0, word1, asid: 5 });
    guest.field(CD, 65, 65, Number(had));
    const config = { "stage 1": 0b1011, "stage 2": 0b1101, nested: 0b1111 }[shape];
    guest.stage2(STE, root2, 7);
    const fields: [number, number, number][] = [
      [3, 0, config],
      [55, 6, CD >> 6],
      [89, 89, Number(fwb)],
      [178, 176, ps],
      [181, 181, Number(affd2)],
      [182, 182, Number(ptw)],
      [183, 183, Number(hd2)],
      [184, 184, Number(ha2)],
    ];
    for (const [high, low, value] of fields) guest.field(STE, high, low, value);
    return [shape === "stage 2" ? undefined : stage1, shape === "stage 1" ? undefined : stage2];
  }

  /** What comes of an access: an address or a record, and the descriptors. */
  outcome(iova: bigint, { kind, privileged }: Access): string[] {
    const { guest } = this;
    const { translator } = guest.smmu;
    const bits = { read: Bits.Read, write: Bits.Write, execute: Bits.Execute }[kind] |
      (privileged ? Bits.Privileged : 0);
    const requester = { streamId: STREAM, substreamId: -1 };
    const how = translator.translate(requester, ...split(iova), bits);
    const result = how === 0 ? [translator.gpa.toString(16)] : guest.events().map(text);
    return [
      ...result,
      ...[...this.at].map(([place, at]) => `${place}: ${guest.load(at).toString(16)}`),
    ];
  }

  expected(
    [stage1, stage2]: [Stage1 | undefined, Stage2 | undefined],
    iova: bigint,
    access: Access,
  ): string[] {
    const { guest, reference, overlay } = this;
    overlay.clear();
    const fetch: Access = { kind: "read", privileged: false };
    const cd = stage1 && stage2 && reference.below(stage2, BigInt(CD), fetch, "CD");
    const isFound = cd === undefined || typeof cd === "bigint";
    // Elsewhere there is no CD, which is another property's matter.
    fc.pre(!isFound || cd === undefined || cd === BigInt(CD));
    const found: bigint | Failure = isFound
      ? reference.translate(stage1, stage2, iova, access)
      : cd;
    const result = typeof found === "bigint"
      ? found.toString(16)
      : text(eventRecord(STREAM, found, iova, access));
    const updated = [...this.at].map(([place, at]) =>
      `${place}: ${(overlay.get(BigInt(at)) ?? guest.load(at)).toString(16)}`
    );
    return [result, ...updated];
  }
}

function text(quads: bigint[]): string {
  return quads.map((quad) => quad.toString(16)).join(":");
}

/** Where the descriptors of an address are, by level. */
function follow(guest: Guest, root: number, address: bigint): number[] {
  let table = root;
  return [39n, 30n, 21n, 12n].map((shift) => {
    const at = table + Number((address >> shift) & 0x1ffn) * 8;
    table = Number(guest.load(at) & 0x0000_ffff_ffff_f000n);
    return at;
  });
}

/** Walks with any number of defects. */
export const walk: Property = {
  name: "P14 P15 P17 P19 P21 P22: whatever bits are flipped, a walk ends as the reference's does",
  runs: 2000,
  of: (make) => {
    // Only the page's own descriptors differ from one scenario to the next.
    let scene: Scene | undefined;
    let clean: [number, bigint][] = [];
    return fc.property(scenario, (scenario) => {
      if (scene === undefined) {
        const made = scene = new Scene(make);
        clean = [...scene.at.values()].map((at) => [at, made.guest.load(at)]);
      }
      const { guest, at } = scene;
      for (const [at, descriptor] of clean) guest.quad(at, descriptor);
      for (const { place, bit } of scenario.flips) {
        guest.quad(at.get(place)!, guest.load(at.get(place)!) ^ (1n << BigInt(bit)));
      }
      const stages = scene.configure(scenario);
      const { shape, access } = scenario;
      let iova = shape === "stage 2" ? BigInt(DATA) + 0xabcn : IOVA;
      for (const bit of scenario.address) iova ^= 1n << BigInt(bit);
      guest.forget();
      const expected = scene.expected(stages, iova, access);
      assertEquals(scene.outcome(iova, access), expected);
    });
  },
};
