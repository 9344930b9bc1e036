/**
 * Which bytes of extended configuration space are taken, and by what.
 *
 * Besides the capabilities of the list three things count. Capabilities that a host has taken out of the list, as vfio does
 * with those it does not know, still answer where they are. A word that is not zero and belongs to no capability is a
 * hidden register, and has more of its kind around it. A quirk tells of registers that read as zero.
 * @module
 */
import { EXTENDED_END, EXTENDED_START, type FoundCapability } from "./capability_chain.ts";
import { CapabilityBytes, lengthOf } from "./capability_kind.ts";
import { dwordAt } from "./config_bytes.ts";
import { EXTENDED_CAPABILITY_KINDS } from "./extended_capability_kinds.ts";
import type { PasidQuirk } from "./pasid_quirks.ts";

/** Bytes kept free before and after hidden registers. */
export const HIDDEN_MARGIN = 16;

/** What takes bytes. */
export type OccupantKind = "measured" | "open" | "unlinked" | "hidden" | "quirk" | "likely";

/** Bytes that are taken. */
export interface Occupant {
  /** A capability of known length, one of unknown length, one out of the list, hidden registers, a quirk's, or a likely one's. */
  readonly kind: OccupantKind;
  /** What to call it. */
  readonly name: string;
  /** First byte, a multiple of 4. */
  readonly first: number;
  /** First byte after it, a multiple of 4. */
  readonly end: number;
}

/** Bytes that nothing takes, with what lies on both sides. */
export interface Gap {
  /** First byte, a multiple of 4. */
  readonly first: number;
  /** First byte after it, a multiple of 4. */
  readonly end: number;
  /** What ends where the gap begins; absent at the start of extended space. */
  readonly before?: Occupant;
  /** What begins where the gap ends; absent at the end of extended space. */
  readonly after?: Occupant;
}

/** What takes bytes besides the capabilities of the list. */
export interface OccupancyOptions {
  /** Where the function's PCI Express capability is, 0 for nowhere. */
  readonly express: number;
  /** Rows about this device. */
  readonly quirks: readonly PasidQuirk[];
  /** Value of words in which nothing is: 0, or 0xffffffff where extended space does not answer. */
  readonly empty?: number;
  /** Where to begin to look for what is in no list; the start of extended space when absent. */
  readonly from?: number;
}

/** Everything that takes bytes of extended space, in no order; some may overlap. */
export function occupants(
  space: Uint8Array,
  capabilities: readonly FoundCapability[],
  { express, quirks, empty = 0, from = EXTENDED_START }: OccupancyOptions,
): Occupant[] {
  const taken: Occupant[] = capabilities.map(({ offset, sizeBytes, measured, name }) => ({
    kind: measured ? "measured" : "open",
    name,
    first: offset,
    end: offset + sizeBytes,
  }));
  const words = new Uint8Array(EXTENDED_END / 4);
  for (const { first, end } of taken) words.fill(1, first / 4, end / 4);
  for (let offset = from; offset < EXTENDED_END; offset += 4) {
    if (words[offset / 4] !== 0 || dwordAt(space, offset) === empty) continue;
    const found = unlinked(space, offset, express) ??
      { kind: "hidden" as const, name: "hidden registers", first: offset, end: offset + 4 };
    words.fill(1, offset / 4, found.end / 4);
    const last = taken.at(-1);
    if (found.kind === "hidden" && last?.kind === "hidden" && last.end === offset) {
      taken[taken.length - 1] = { ...last, end: found.end };
    } else taken.push(found);
  }
  for (const { first, end, what, likely } of quirks) {
    const kind = likely ? "likely" : "quirk";
    taken.push({ kind, name: what, first: first & ~3, end: (end + 3) & ~3 });
  }
  return taken;
}

/** The runs of words that no occupant takes; `margin` bytes around hidden registers count as taken. */
export function gaps(taken: readonly Occupant[], margin: number): Gap[] {
  const around = ({ kind }: Occupant): number => kind === "hidden" ? margin : 0;
  const sorted = taken.map((occupant) => ({
    occupant,
    first: occupant.first - around(occupant),
    end: occupant.end + around(occupant),
  })).sort((a, b) => a.first - b.first);
  const free: Gap[] = [];
  let end = EXTENDED_START;
  let before: Occupant | undefined;
  for (const { occupant, first, end: last } of sorted) {
    if (first > end) free.push(gap(end, first, before, occupant));
    if (last > end || before === undefined) before = occupant;
    end = Math.max(end, last);
  }
  if (end < EXTENDED_END) free.push(gap(end, EXTENDED_END, before, undefined));
  return free;
}

function gap(
  first: number,
  end: number,
  before: Occupant | undefined,
  after: Occupant | undefined,
): Gap {
  return { first, end, ...before && { before }, ...after && { after } };
}

/** A word that has the looks of a capability's header: a known ID and version, a pointer that leads somewhere. */
function unlinked(space: Uint8Array, offset: number, express: number): Occupant | undefined {
  const header = dwordAt(space, offset);
  const kind = EXTENDED_CAPABILITY_KINDS[header & 0xffff];
  const version = (header >>> 16) & 0xf;
  const next = header >>> 20;
  const pointsWell = next === 0 || (next >= EXTENDED_START && next % 4 === 0 && next !== offset);
  if (kind === undefined || (header & 0xffff) === 0 || version === 0 || version > 3) return;
  if (!pointsWell) return;
  const size = lengthOf(kind, new CapabilityBytes(space, offset, express));
  if (size === undefined || size < 4) return;
  return {
    kind: "unlinked",
    name: `${kind.name}, out of the list`,
    first: offset,
    end: Math.min((offset + size + 3) & ~3, EXTENDED_END),
  };
}
