/**
 * A guest that changes a descriptor while the device updates it: it is as if the last change had come first, and nothing
 * that the guest wrote is lost. IHI 0070 §3.13, DDI 0487 D8.5.
 * @module
 */
import { assertEquals } from "@std/assert";
import { altered, DATA, type Guest } from "../../support/guest.ts";
import { fc, type MakeGuest, type Property } from "./property.ts";

const STREAM = 1;
const IOVA = 0x1000n;
const [HD, HA] = [1 << 10, 1 << 11];
const AF = 1n << 10n;
const READ_ONLY = 1n << 7n;
const DBM = 1n << 51n;

/** A page's descriptor. */
interface Leaf {
  readonly valid: boolean;
  readonly page: number;
  readonly used: boolean;
  readonly readOnly: boolean;
  readonly dbm: boolean;
}

const leaf: fc.Arbitrary<Leaf> = fc.record({
  valid: fc.oneof({ weight: 4, arbitrary: fc.constant(true) }, fc.boolean()),
  page: fc.nat(3),
  used: fc.boolean(),
  readOnly: fc.boolean(),
  dbm: fc.boolean(),
});

function descriptor({ valid, page, used, readOnly, dbm }: Leaf): bigint {
  return BigInt(DATA + page * 0x1000) | 0x842n | (valid ? 1n : 0n) | (used ? AF : 0n) |
    (readOnly ? READ_ONLY : 0n) | (dbm ? DBM : 0n);
}

interface Updates {
  readonly ha: boolean;
  readonly hd: boolean;
}

/** What a descriptor is after an access, and whether that was allowed. */
function after(leaf: Leaf, isWrite: boolean, { ha, hd }: Updates): [bigint, boolean] {
  const { valid, used, readOnly, dbm } = leaf;
  const old = descriptor(leaf);
  if (!valid || (!used && !ha)) return [old, false];
  const dirties = isWrite && readOnly && dbm && ha && hd;
  if (isWrite && readOnly && !dirties) return [old, false];
  return [(old | AF) & (dirties ? ~READ_ONLY : ~0n), true];
}

/** Runs one access while the guest has these descriptors one after the other; how it ended, and the last descriptor. */
function run(
  make: MakeGuest,
  versions: readonly Leaf[],
  isWrite: boolean,
  { ha, hd }: Updates,
): [boolean, bigint, number] {
  let next = 1;
  const guest: Guest = make({
    features: { httu: 2 },
    log2tlbSets: 0,
    wrap: (ram) =>
      altered(ram, {
        compareExchange: (gpa, ...rest) => {
          if (next < versions.length) guest.quad(gpa, descriptor(versions[next++]));
          return ram.compareExchange(gpa, ...rest);
        },
      }),
  });
  const word1 = (ha ? HA : 0) | (hd ? HD : 0);
  const { root } = guest.stage1(STREAM, { word1 });
  const at = guest.map(root, IOVA, DATA);
  guest.quad(at, descriptor(versions[0]));
  const ok = isWrite
    ? guest.dmaWrite(STREAM, IOVA, [1])
    : guest.dmaRead(STREAM, IOVA) !== undefined;
  return [ok, guest.load(at), next - 1];
}

/** Updates of descriptors. */
export const race: Property = {
  name: "P19: an update of a descriptor that the guest changes meanwhile loses nothing",
  runs: 250,
  of: (make) =>
    fc.property(
      fc.array(leaf, { minLength: 1, maxLength: 4 }),
      fc.boolean(),
      fc.record({ ha: fc.constant(true), hd: fc.boolean() }),
      (versions, isWrite, updates) => {
        const [ok, found, last] = run(make, versions, isWrite, updates);
        const [expected, isAllowed] = after(versions[last], isWrite, updates);
        assertEquals([found, ok], [expected, isAllowed], `after version ${last}`);
      },
    ),
};
