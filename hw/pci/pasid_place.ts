/**
 * Where in a function's configuration space a PASID capability can be put. PCI Express Base 5.0 §7.8.8.
 *
 * A virtual function has none, its physical function has one for both, and Linux's vfio shows neither. The capability is
 * best put right behind one whose length is known: a device's own registers tend to follow capabilities whose length is not,
 * and each other. Of such gaps the last one is taken, as a device would grow. Where there is none it goes into the middle of the
 * largest run of free bytes.
 * @module
 */
import {
  describeCapability,
  EXTENDED_END,
  EXTENDED_START,
  findExpress,
  type FoundCapability,
  portTypeAt,
  readExtendedChain,
  readStandardChain,
} from "./capability_chain.ts";
import { byteAt, dwordAt, hexOffset, hexRange, wordAt } from "./config_bytes.ts";
import { ExtendedCapabilityId } from "./extended_capability_kinds.ts";
import { type Gap, gaps, HIDDEN_MARGIN, type Occupant, occupants } from "./occupancy.ts";
import { PASID_QUIRKS, type PasidQuirk, quirksOf } from "./pasid_quirks.ts";
import { HEADER, PortType } from "./registers.ts";

/** Bytes of a PASID capability. §7.8.8. */
export const PASID_SIZE = 8;

/** A place for a PASID capability. */
export interface PasidPlace {
  /** Its first byte, a multiple of 4 from 0x100 on. */
  readonly offset: number;
  /**
   * The capability whose pointer is to lead to it; absent at 0x100. Where the list is empty and its place at 0x100 is not free,
   * 0x100 itself, with {@linkcode PasidPlace.anchor}.
   */
  readonly previous?: number;
  /** The list is to begin with a Null capability at 0x100. */
  readonly anchor?: true;
  /** The choice in words. */
  readonly why: string;
}

/** Why there is no place. */
export interface PasidRefusal {
  /** The reason in words. */
  readonly refusal: string;
  /** The PASID capability that the function has already. */
  readonly present?: number;
}

/** Which device a space belongs to. */
export interface DeviceIdentity {
  /** 16 bits. */
  readonly vendorId: number;
  /** 16 bits. */
  readonly deviceId: number;
}

/**
 * Finds a place for a PASID capability in the 256 or 4096 bytes of a function's configuration space as the host shows it,
 * before anything is hidden from the guest.
 *
 * A virtual function's own ID registers read 0xffff: `identity` is then what its driver goes by.
 */
export function findPasidPlace(
  space: Uint8Array,
  quirks: readonly PasidQuirk[] = PASID_QUIRKS,
  identity: DeviceIdentity = {
    vendorId: wordAt(space, HEADER.VendorID.offset),
    deviceId: wordAt(space, HEADER.DeviceID.offset),
  },
): PasidPlace | PasidRefusal {
  const standard = readStandardChain(space);
  const express = findExpress(standard);
  const unfit = unfitness(space, express, standard.broken);
  if (unfit !== undefined) return refuse(unfit);
  const { capabilities, broken } = readExtendedChain(space, express?.offset);
  const present = capabilities.find(({ id }) => id === ExtendedCapabilityId.ProcessAddressSpaceId);
  if (present !== undefined) {
    const { refusal } = refuse(`the function has one: ${describeCapability(present)}`);
    return { refusal, present: present.offset };
  }
  if (broken !== undefined) return refuse(`its list of extended capabilities is broken: ${broken}`);
  const rows = quirksOf(quirks, identity.vendorId, identity.deviceId);
  const survey = { space, capabilities, express: express?.offset ?? 0, rows };
  return capabilities.length === 0 ? beginList(survey) : extendList(survey);
}

/** What is known of the function when a place is looked for. */
interface Survey {
  readonly space: Uint8Array;
  readonly capabilities: readonly FoundCapability[];
  readonly express: number;
  readonly rows: readonly PasidQuirk[];
}

function refuse(reason: string): PasidRefusal {
  return { refusal: `Cannot insert a PASID capability: ${reason}` };
}

/** Why no function of this sort can have a PASID capability, or `undefined`. */
function unfitness(
  space: Uint8Array,
  express: FoundCapability | undefined,
  brokenStandard: string | undefined,
): string | undefined {
  if (space.length !== EXTENDED_START && space.length !== EXTENDED_END) {
    return `configuration space has 256 or 4096 bytes, and this has ${space.length}`;
  }
  const headerType = byteAt(space, HEADER.HeaderType.offset) & 0x7f;
  if (headerType !== 0) {
    return `it belongs to an endpoint, with header type 0, and this function has type ${headerType}`;
  }
  if (express === undefined) {
    const list = brokenStandard === undefined ? "" : ` (its list is broken: ${brokenStandard})`;
    return `it belongs to PCI Express, and this function has no PCI Express capability${list}`;
  }
  const type = portTypeAt(space, express.offset);
  if (!Object.values<number>(PortType).includes(type)) {
    return `it belongs to an endpoint, and this function is a port of type ${type}`;
  }
  if (space.length === EXTENDED_START) {
    return `it goes into extended space at 0x100-0xfff, and this function has 256 bytes`;
  }
  return undefined;
}

/** The list is empty, and has to begin at 0x100. §7.6.2. */
function beginList({ space, express, rows }: Survey): PasidPlace | PasidRefusal {
  const ones = space.subarray(EXTENDED_START).every((byte) => byte === 0xff);
  const options = {
    express,
    quirks: rows,
    empty: ones ? 0xffff_ffff : 0,
    from: EXTENDED_START + 4,
  };
  const taken = occupants(space, [], options);
  const header = dwordAt(space, EXTENDED_START);
  const reads = `0x100 reads 0x${header.toString(16).padStart(8, "0")}`;
  const anchor: Occupant = { kind: "open", name: "a Null capability", first: 0x100, end: 0x104 };
  for (const caution of [CAREFUL, TIGHT]) {
    if (gaps(caution.counted(taken), caution.margin).some((gap) => fits(gap, EXTENDED_START))) {
      const why = `PASID at 0x100: extended space has no capability (${reads}), ` +
        `and the first has to be there${caution.remark}`;
      return { offset: EXTENDED_START, why };
    }
    const place = choose([...taken, anchor], caution);
    if (place === undefined) continue;
    const first = taken.find(({ first }) => first < EXTENDED_START + PASID_SIZE + HIDDEN_MARGIN);
    const inTheWay = first === undefined ? "" : ` beside ${nameWithRange(first)}`;
    const why = `${place.why}; the list is empty (${reads}) and has to begin at 0x100, ` +
      `where only the four bytes of a Null capability go${inTheWay}`;
    return { offset: place.offset, previous: EXTENDED_START, anchor: true, why };
  }
  return refuse(fullness([...taken, anchor]));
}

/** The list has capabilities: the new one is appended, so that no pointer that the device set is bent. */
function extendList({ space, capabilities, express, rows }: Survey): PasidPlace | PasidRefusal {
  const taken = occupants(space, capabilities, { express, quirks: rows });
  const place = choose(taken, CAREFUL) ?? choose(taken, TIGHT);
  if (place === undefined) return refuse(fullness(taken));
  const last = capabilities[capabilities.length - 1];
  const dangling = last.next === 0
    ? ""
    : `, instead of its pointer to ${hexOffset(last.next)}, where nothing is`;
  const why = `${place.why}; linked behind ${describeCapability(last)}${dangling}`;
  return { offset: place.offset, previous: last.offset, why };
}

/** How much is left free besides what is certainly taken. */
interface Caution {
  /** What counts as taken. */
  counted(taken: readonly Occupant[]): readonly Occupant[];
  /** Bytes around hidden registers. */
  readonly margin: number;
  /** Words about it in the explanation. */
  readonly remark: string;
}

const CAREFUL: Caution = { counted: (taken) => taken, margin: HIDDEN_MARGIN, remark: "" };
const TIGHT: Caution = {
  counted: (taken) => taken.filter(({ kind }) => kind !== "likely"),
  margin: 0,
  remark: ", close to hidden registers, as nothing better is free",
};

function choose(
  taken: readonly Occupant[],
  { counted, margin, remark }: Caution,
): { offset: number; why: string } | undefined {
  const choice = best(gaps(counted(taken), margin));
  return choice && { offset: choice.offset, why: `${explain(choice)}${remark}` };
}

/** Why nothing fits. */
function fullness(taken: readonly Occupant[]): string {
  const free = gaps(TIGHT.counted(taken), TIGHT.margin);
  const largest = free.reduce((most, { first, end }) => Math.max(most, end - first), 0);
  return `it needs ${PASID_SIZE} free bytes in a row, and extended space has ${largest}: ` +
    `${taken.length} capabilities and runs of hidden registers take the rest`;
}

interface Choice {
  readonly gap: Gap;
  readonly offset: number;
}

/** The last gap behind a capability of known length, else the largest of all. */
function best(free: readonly Gap[]): Choice | undefined {
  const choices = free.map((gap) => ({ gap, offset: offsetIn(gap) }))
    .filter(({ gap, offset }) => fits(gap, offset));
  const behind = choices.filter(({ gap }) => followsMeasured(gap));
  if (behind.length > 0) return behind[behind.length - 1];
  const size = ({ gap }: Choice): number => gap.end - gap.first;
  return choices.reduce<Choice | undefined>(
    (most, choice) => most === undefined || size(choice) > size(most) ? choice : most,
    undefined,
  );
}

/** Whether a gap begins behind a capability of known length, even one that the host took out of the list. */
function followsMeasured({ before }: Gap): boolean {
  return before?.kind === "measured" || before?.kind === "unlinked";
}

/** A multiple of 16 where the capability fits, else the first word: near what is known, far from what is not. */
function offsetIn(gap: Gap): number {
  const wanted = followsMeasured(gap) ? gap.first : (gap.first + gap.end) / 2 - PASID_SIZE;
  const round = Math.ceil(wanted / 16) * 16;
  return fits(gap, round) ? round : gap.first;
}

function fits({ first, end }: Gap, offset: number): boolean {
  return offset >= first && offset + PASID_SIZE <= end;
}

function explain({ gap, offset }: Choice): string {
  const before = gap.before === undefined
    ? "the start of extended space"
    : nameWithRange(gap.before);
  const after = gap.after === undefined ? "the end of extended space" : nameWithRange(gap.after);
  return `PASID at ${hexOffset(offset)}: ${hexRange(offset, offset + PASID_SIZE)} ` +
    `is free between ${before} and ${after}`;
}

function nameWithRange({ name, first, end }: Occupant): string {
  return `${name} (${hexRange(first, end)})`;
}
