/**
 * Translations and configuration after invalidations: sound, but lazy. A guest of two VMIDs, four address spaces and four
 * streams changes its tables and its mind. IHI 0070 §4.3, §4.4, §4.7.3.
 * @module
 */
import { assert } from "@std/assert";
import { CDS, DATA, type Guest, STRTAB } from "../../support/guest.ts";
import { CoherenceOracle, type Cover, type Space } from "./coherence_oracle.ts";
import { fc, type MakeGuest, type Property } from "./property.ts";

const SPACES: readonly Space[] = [
  { vmid: 1, asid: 0x101, nested: true },
  { vmid: 1, asid: 0x201, nested: true },
  { vmid: 2, asid: 0x101, nested: true },
  { vmid: 1, asid: 0x301, nested: false },
];
/** Which spaces the CD of each stream may name. */
const CHOICES = [[0, 1], [1, 0], [2], [3]];
/** Pages; the last two are parts of a block of 2 MiB. */
const PAGES = [0x1000n, 0x2000n, 0x8000_3000n, 0x4000_0000n, 0x401f_f000n];
const BLOCK = 3;
const BLOCKS = [3, 4];
/** Units of memory, intermediate or physical: four pages, and two blocks of which each has two parts. */
const UNITS = 8;
const PAGE_UNITS = [0, 1, 2, 3];
const BLOCK_UNITS = [4, 6];

function placeOf(unit: number): number {
  if (unit < 4) return DATA + unit * 0x1000;
  return DATA + 0x20_0000 * (unit >> 1 & 1) + 0x20_0000 + (unit & 1) * 0x1f_f000;
}

type Step =
  | {
    readonly op: "leaf";
    readonly stream: number;
    readonly choice: number;
    readonly page: number;
    readonly unit: number;
    readonly global: boolean;
  }
  | { readonly op: "below"; readonly vmid: number; readonly unit: number; readonly to: number }
  | { readonly op: "context"; readonly stream: number; readonly choice: number }
  | { readonly op: "access"; readonly stream: number; readonly page: number }
  | {
    readonly op: "tlbi";
    readonly kind: string;
    readonly vmid: number;
    readonly asid: number;
    readonly page: number;
    readonly count: number;
  }
  | { readonly op: "cfgi"; readonly kind: string; readonly stream: number };

const of = <T>(value: T): fc.Arbitrary<T> => fc.constant(value);
const step: fc.Arbitrary<Step> = fc.oneof(
  {
    weight: 8,
    arbitrary: fc.record({ op: of("access" as const), stream: fc.nat(3), page: fc.nat(4) }),
  },
  {
    weight: 4,
    arbitrary: fc.record({
      op: of("leaf" as const),
      stream: fc.nat(3),
      choice: fc.nat(1),
      page: fc.nat(4),
      // One more than there are: not mapped.
      unit: fc.nat(4),
      global: fc.boolean(),
    }),
  },
  {
    weight: 3,
    arbitrary: fc.record({
      op: of("below" as const),
      vmid: fc.integer({ min: 1, max: 2 }),
      unit: fc.nat(5),
      to: fc.nat(4),
    }),
  },
  {
    weight: 1,
    arbitrary: fc.record({ op: of("context" as const), stream: fc.nat(3), choice: fc.nat(2) }),
  },
  {
    weight: 4,
    arbitrary: fc.record({
      op: of("tlbi" as const),
      kind: fc.constantFrom(
        "NSNH_ALL",
        "NH_ALL",
        "NH_ASID",
        "NH_VA",
        "NH_VAA",
        "S12_VMALL",
        "S2_IPA",
      ),
      vmid: fc.integer({ min: 1, max: 2 }),
      asid: fc.constantFrom(0x101, 0x201, 0x301, 0x1),
      page: fc.nat(4),
      count: fc.nat(3),
    }),
  },
  {
    weight: 2,
    arbitrary: fc.record({
      op: of("cfgi" as const),
      kind: fc.constantFrom("STE", "RANGE", "ALL", "CD", "CD_ALL"),
      stream: fc.nat(3),
    }),
  },
);

/** The guest, and what its device may answer. */
class Scene {
  readonly guest: Guest;
  readonly oracle = new CoherenceOracle(SPACES, PAGES.length, UNITS, CHOICES.length);
  readonly #roots: number[] = [];
  readonly #below = new Map<number, number>();
  /** What reads as what. */
  readonly #units = new Map<number, number>();

  constructor(make: MakeGuest, log2tlbSets: number) {
    const guest = this.guest = make({
      log2queue: 5,
      log2tlbSets,
      features: { stage2: true, vmid16: true },
    });
    for (let unit = 0; unit < UNITS; unit++) {
      guest.quad(placeOf(unit), BigInt(0xa0 + unit));
      this.#units.set(0xa0 + unit, unit);
    }
    for (const vmid of [1, 2]) {
      const root = guest.root();
      this.#below.set(vmid, root);
      // Tables are where they are, by blocks; memory for data is not there yet.
      for (let gpa = 0x4000_0000; gpa < DATA; gpa += 0x20_0000) {
        guest.map(root, BigInt(gpa), gpa, 0x4fcn, 2);
      }
    }
    for (const [space] of SPACES.entries()) this.#roots[space] = guest.root();
    for (const [stream, [space]] of CHOICES.entries()) this.#context(stream, space);
    for (const [stream, choices] of CHOICES.entries()) this.#ste(stream, SPACES[choices[0]]);
    guest.forget();
    // At first everything is mapped: what is cached shows when it changes.
    for (const vmid of [1, 2]) {
      for (let unit = 0; unit < 6; unit++) this.#mapBelow(vmid, unit, unit < 4 ? unit : unit - 4);
    }
    for (const [space] of SPACES.entries()) {
      for (let page = 0; page <= BLOCK; page++) {
        this.#leaf(space, page, page === BLOCK ? space % 2 : (page + space) % 4, page === 2);
      }
    }
  }

  play(step: Step): void {
    const { guest, oracle } = this;
    switch (step.op) {
      case "leaf":
        return this.#leaf(
          CHOICES[step.stream][step.choice % CHOICES[step.stream].length],
          Math.min(step.page, BLOCK),
          step.unit,
          step.global,
        );
      case "below":
        return this.#mapBelow(step.vmid, step.unit, step.to);
      case "context":
        return this.#context(step.stream, CHOICES[step.stream][step.choice]);
      case "tlbi":
        return this.#tlbi(step.kind, step.vmid, step.asid, step.page, step.count);
      case "cfgi":
        return this.#cfgi(step.kind, step.stream);
      case "access": {
        const data = guest.dmaRead(step.stream, PAGES[step.page]);
        const output = data && this.#units.get(data[0]);
        assert(data === undefined || output !== undefined, "what was read is some unit");
        assert(
          oracle.permits(step.stream, step.page, output),
          `stream ${step.stream} finds ${output ?? "nothing"} at page ${step.page}`,
        );
      }
    }
  }

  #ste(stream: number, { vmid, nested }: Space): void {
    const { guest } = this;
    const at = STRTAB + stream * 64;
    guest.field(at, 3, 0, nested ? 0b1111 : 0b1011);
    guest.field(at, 55, 6, (CDS + stream * 64) >> 6);
    guest.stage2(at, this.#below.get(vmid)!, vmid);
  }

  /** A choice that there is none of makes the CD invalid. */
  #context(stream: number, space: number | undefined): void {
    const { guest, oracle } = this;
    const cd = CDS + stream * 64;
    if (space === undefined) guest.quad(cd, 0n);
    else guest.cd(cd, { ttb0: this.#roots[space], asid: SPACES[space].asid });
    oracle.configure(stream, space);
  }

  #leaf(space: number, page: number, choice: number, global: boolean): void {
    const { guest, oracle } = this;
    const isBlock = page === BLOCK;
    const unit = isBlock ? BLOCK_UNITS[choice] : PAGE_UNITS[choice];
    const leaf = guest.map(
      this.#roots[space],
      PAGES[page],
      placeOf(unit ?? 0),
      global ? 0x440n : 0xc40n,
      isBlock ? 2 : 3,
    );
    if (unit === undefined) guest.quad(leaf, 0n);
    for (const [part, at] of (isBlock ? BLOCKS : [page]).entries()) {
      oracle.setLeaf(space, at, unit === undefined ? undefined : { unit: unit + part, global });
    }
  }

  #mapBelow(vmid: number, choice: number, to: number): void {
    const { guest, oracle } = this;
    const isBlock = choice >= 4;
    const unit = isBlock ? BLOCK_UNITS[choice - 4] : choice;
    const output = isBlock ? BLOCK_UNITS[to] : PAGE_UNITS[to];
    const leaf = guest.map(
      this.#below.get(vmid)!,
      BigInt(placeOf(unit)),
      placeOf(output ?? 0),
      0x4fcn,
      isBlock ? 2 : 3,
    );
    if (output === undefined) guest.quad(leaf, 0n);
    for (const part of isBlock ? [0, 1] : [0]) {
      oracle.setBelow(vmid, unit + part, output === undefined ? undefined : output + part);
    }
  }

  #tlbi(kind: string, vmid: number, asid: number, page: number, count: number): void {
    const of = (space: Space): boolean => space.vmid === vmid;
    const same = (other: number): boolean => other === vmid;
    const own = (space: Space): boolean => of(space) && space.asid === asid;
    const tag = (BigInt(vmid) << 32n) | (BigInt(asid) << 48n);
    // `count` pages more than one, as a range.
    const range = count === 0 ? 0n : BigInt(count) << 12n;
    const tg = count === 0 ? 0n : 1n << 10n;
    const bytes = BigInt(count + 1) * 0x1000n;
    const inside = (address: bigint, size: bigint, from: bigint): boolean =>
      address < from + bytes && from < address + size;
    const at = PAGES[page];
    const ipa = BigInt(placeOf(page));
    // An address in a block stands for all of the block.
    const pages = (other: number): boolean =>
      BLOCKS.includes(other)
        ? inside(PAGES[BLOCK], 0x20_0000n, at)
        : inside(PAGES[other], 0x1000n, at);
    const units = (other: number): boolean =>
      other < 4
        ? inside(BigInt(placeOf(other)), 0x1000n, ipa)
        : inside(BigInt(placeOf(other & ~1)), 0x20_0000n, ipa);
    const commands: Record<string, [bigint, bigint, Cover]> = {
      NSNH_ALL: [0x30n, 0n, { spaces: () => true, shared: () => true, stage2: () => true }],
      NH_ALL: [0x10n | tag, 0n, { spaces: of, shared: same }],
      NH_ASID: [0x11n | tag, 0n, { spaces: own }],
      NH_VA: [0x12n | tag | range, at | tg | 1n, { spaces: own, shared: same, page: pages }],
      NH_VAA: [0x13n | tag | range, at | tg, { spaces: of, shared: same, page: pages }],
      S12_VMALL: [0x28n | tag, 0n, { spaces: of, shared: same, stage2: same }],
      S2_IPA: [0x2an | tag | range, ipa | tg, { stage2: same, unit: units }],
    };
    const [w0, w1, cover] = commands[kind];
    this.#run(w0, w1);
    this.oracle.invalidate(cover);
  }

  #cfgi(kind: string, stream: number): void {
    const sid = BigInt(stream) << 32n;
    const one = (other: number): boolean => other === stream;
    const commands: Record<string, [bigint, bigint, (stream: number) => boolean]> = {
      STE: [0x03n | sid, 1n, one],
      RANGE: [0x04n | sid, 0n, (other) => other >> 1 === stream >> 1],
      ALL: [0x04n, 31n, () => true],
      CD: [0x05n | sid, 1n, one],
      CD_ALL: [0x06n | sid, 0n, one],
    };
    const [w0, w1, streams] = commands[kind];
    this.#run(w0, w1);
    this.oracle.reconfigure(streams);
  }

  /** A command and a CMD_SYNC: then it is complete. */
  #run(w0: bigint, w1: bigint): void {
    const { guest } = this;
    guest.queue(w0, w1);
    guest.queue(0x46n);
    guest.ring();
    guest.events();
    assert(guest.smmu.read32(0x60) === 0, "the command is legal");
  }
}

/** Some of `count` things: a scenario that has few of them comes back to each more often. */
function some(count: number): fc.Arbitrary<number[]> {
  return fc.uniqueArray(fc.nat(count - 1), { minLength: 1, maxLength: count });
}

/** Caches and invalidations. */
export const coherence: Property = {
  name:
    "P7 P11 P18: after invalidations a translation is one that memory had since, and never an older one",
  runs: 150,
  of: (make) =>
    fc.property(
      fc.constantFrom(0, 10),
      some(CHOICES.length),
      some(PAGES.length),
      fc.array(step, { maxLength: 60, size: "max" }),
      (log2tlbSets, streams, pages, steps) => {
        const scene = new Scene(make, log2tlbSets);
        const stream = (at: number): number => streams[at % streams.length];
        const page = (at: number): number => pages[at % pages.length];
        for (const step of steps) {
          const named = {
            ...step,
            ...("stream" in step ? { stream: stream(step.stream) } : {}),
            ...("page" in step ? { page: page(step.page) } : {}),
          };
          scene.play(named);
        }
      },
    ),
};
