/**
 * Which CD a request uses, in every combination of what decides it. IHI 0070 §5.2 STE.S1CDMax, S1DSS, S1Fmt, §5.3, §7.3.7, §7.3.9.
 * @module
 */
import { assertEquals } from "@std/assert";
import { CDS, DATA, type Guest, NOWHERE, STRTAB } from "../../support/guest.ts";
import { fc, type MakeGuest, type Property } from "./property.ts";

const STREAM = 1;
const STE = STRTAB + STREAM * 64;
const IOVA = 0x1000n;
/** Of the requests that bypass stage 1: they name memory. */
const BYPASSED = BigInt(DATA + 0x8000);
const L1 = CDS;
const LEAVES = CDS + 0x1_0000;
const SSIDSIZE = 12;

/** What the one level 1 descriptor that is not plainly good is. */
type Level1 = "good" | "invalid" | "far" | "nowhere";

interface Scenario {
  readonly nested: boolean;
  /** 0 linear, 1 with leaves of 64 CDs, 2 with leaves of 1024. */
  readonly format: number;
  readonly max: number;
  readonly dss: number;
  readonly substreamId: number;
  readonly level1: Level1;
  readonly isCdValid: boolean;
}

/** All of them. */
function* scenarios(): Generator<Scenario> {
  for (const nested of [false, true]) {
    for (const format of [0, 1, 2]) {
      for (const max of [0, 1, 6, 7, 11, 12]) {
        for (const dss of [0, 1, 2, 3]) {
          for (const substreamId of new Set([-1, 0, 1, 63, 64, 2 ** max - 1, 2 ** max, 0xf_ffff])) {
            for (const level1 of ["good", "invalid", "far", "nowhere"] as const) {
              if (level1 !== "good" && (format === 0 || max === 0)) continue;
              for (const isCdValid of [true, false]) {
                yield { nested, format, max, dss, substreamId, level1, isCdValid };
              }
            }
          }
        }
      }
    }
  }
}

/** What the manual says becomes of it. */
function expected({ format, max, dss, substreamId, level1, isCdValid }: Scenario): string {
  if (substreamId >= 0 && (max === 0 || substreamId >= 2 ** max)) return "event 8";
  if (substreamId === 0 && dss === 2) return "event 6";
  if (substreamId < 0 && max > 0) {
    if (dss === 1) return "data bb";
    if (dss !== 2) return "event 6";
  }
  if (max > 0 && format > 0 && level1 !== "good") {
    return level1 === "nowhere" ? "event 9" : "event 8";
  }
  return isCdValid ? "data d5" : "event a";
}

class Scene {
  readonly guest: Guest;
  readonly #root: number;

  constructor(make: MakeGuest) {
    const guest = this.guest = make({
      features: { stage2: true, ssidSize: SSIDSIZE, twoLevelContextTable: true },
      log2queue: 5,
    });
    this.#root = guest.root();
    guest.map(this.#root, IOVA, DATA);
    guest.map(this.#root, BYPASSED, DATA);
    guest.quad(DATA, 0xd5n);
    guest.quad(Number(BYPASSED), 0xbbn);
    const below = guest.root();
    // All of memory at itself, and one block of what is not there.
    for (let gpa = 0x4000_0000; gpa <= NOWHERE; gpa += 0x20_0000) {
      guest.map(below, BigInt(gpa), gpa, 0x4fcn, 2);
    }
    guest.stage2(STE, below, 3);
  }

  outcome(scenario: Scenario): string {
    const { guest } = this;
    const { nested, format, max, dss, substreamId, level1, isCdValid } = scenario;
    guest.field(STE, 3, 0, nested ? 0b1111 : 0b1011);
    guest.field(STE, 5, 4, format);
    guest.field(STE, 55, 6, L1 >> 6);
    guest.field(STE, 63, 59, max);
    guest.field(STE, 65, 64, dss);
    const index = Math.max(substreamId, 0) & (2 ** max - 1);
    const log2leaf = [12, 6, 10][format];
    const isTwoLevel = format > 0 && max > 0;
    const leaf = LEAVES + (index >> log2leaf) * 0x1_0000 % 0x8_0000;
    const pointer = level1 === "nowhere" ? NOWHERE : leaf;
    const quad = BigInt(pointer) | (level1 === "far" ? 1n << 48n : 0n) |
      (level1 === "invalid" ? 0n : 1n);
    const cd = isTwoLevel ? leaf + (index & ((1 << log2leaf) - 1)) * 64 : L1 + index * 64;
    guest.cd(cd, { ttb0: this.#root, asid: 9 });
    if (!isCdValid) guest.field(cd, 31, 31, 0);
    if (isTwoLevel) guest.quad(L1 + (index >> log2leaf) * 8, quad);
    guest.forget();
    const bypasses = substreamId < 0 && max > 0 && dss === 1;
    const found = guest.probe(STREAM, bypasses ? BYPASSED : IOVA, substreamId);
    for (let at = 0; at < 64; at += 8) guest.quad(cd + at, 0n);
    if (isTwoLevel) guest.quad(L1 + (index >> log2leaf) * 8, 0n);
    return found;
  }
}

const ALL = [...scenarios()];

/** Substreams. */
export const substreams: Property = {
  name:
    "P20: each request uses the CD that S1CDMax, S1DSS, S1Fmt and its SubstreamID name, or none",
  runs: ALL.length,
  examples: ALL.map((_, i) => [i]),
  of: (make) => {
    let scene: Scene | undefined;
    return fc.property(fc.nat(ALL.length - 1), (i) => {
      scene ??= new Scene(make);
      // Stage 2 leads to RAM for level 1 descriptors too: where it would be an intermediate address, there is none.
      assertEquals(scene.outcome(ALL[i]), expected(ALL[i]), JSON.stringify(ALL[i]));
    });
  },
};
