/**
 * What a guest may be offered when hardware walks its tables: what the guest's ID registers say must be true of the
 * host's SMMU. IHI 0070 §6.3.1 to §6.3.6; which bits of a host count is said in linux/iommufd.h at
 * `struct iommu_hw_info_arm_smmuv3`.
 *
 * The stream table and the queues are ours, so their sizes and levels, and messages, do not depend on the host.
 * @module
 */
import { type Field, get } from "../../hw/bits.ts";
import {
  ADDRESS_SIZES,
  DEFAULT_FEATURES,
  type Features,
  features,
} from "../../hw/smmuv3/features.ts";
import { identify } from "../../hw/smmuv3/identify.ts";
import {
  IDR0,
  IDR1,
  IDR3,
  IDR5,
  REG,
  REGISTER_SPACE_SIZE,
} from "../../hw/smmuv3/spec/registers.ts";
import type { IovaRange } from "../iommufd/iommufd.ts";
import type { HostIdentity } from "./host_identity.ts";

/** Something that a guest would be told, and that is not true of the host. */
export interface Refusal {
  /** The feature when it can be chosen, otherwise the field of the ID register. */
  readonly feature: string;
  /** What the guest would see. */
  readonly guest: number;
  /** What the host has. */
  readonly host: number;
  /** Both in a sentence. */
  readonly message: string;
}

/** What came of a choice. */
export interface GuestFeatures {
  /** Everything that was asked for; where nothing was asked, what the host can do. */
  readonly features: Features;
  /** Why such a guest cannot run on this host; empty when it can. */
  readonly refusals: readonly Refusal[];
  /** What a guest is told beyond the host, and what Linux does not use: another guest may stumble over it. */
  readonly differences: readonly Refusal[];
}

interface Rule {
  readonly name: string;
  readonly register: number;
  readonly field: Field;
  /** The choice that the field shows. */
  readonly feature?: keyof Features;
  /** Whether a guest that sees `guest` can be served by hardware that has `host`. */
  readonly fits: (guest: number, host: number) => boolean;
  /** Why not, where no host would do. */
  readonly because?: string;
}

const isAtMost = (guest: number, host: number): boolean => guest <= host;
const hasBitsOf = (guest: number, host: number): boolean => (guest & ~host) === 0;
const isAbsent = (guest: number): boolean => guest === 0;
const isSame = (guest: number, host: number): boolean => guest === host;
/** TTENDIAN 0 is both, 2 little, 3 big. */
const isEndianOf = (guest: number, host: number): boolean => host === 0 || guest === host;
/** STALL_MODEL 0 is both, 1 terminates; 2 stalls always, and refuses a context that does not say so. */
const terminates = (_guest: number, host: number): boolean => host !== 2;
const neverStalls = (guest: number): boolean => guest === 1;

const STAGE2_IS_OURS = "stage 2 of hardware is the host's";
const NOT_FORWARDED = "Linux does not forward it for a guest";

const REQUIRED: readonly Rule[] = [
  { name: "IDR0.TTF", register: 0, field: IDR0.TTF, fits: hasBitsOf },
  { name: "IDR0.TTENDIAN", register: 0, field: IDR0.TTENDIAN, fits: isEndianOf },
  {
    name: "IDR0.S2P",
    register: 0,
    field: IDR0.S2P,
    feature: "stage2",
    fits: isAbsent,
    because: STAGE2_IS_OURS,
  },
  { name: "IDR0.HTTU", register: 0, field: IDR0.HTTU, feature: "httu", fits: isAtMost },
  {
    name: "IDR0.ATS",
    register: 0,
    field: IDR0.ATS,
    feature: "ats",
    fits: isAbsent,
    because: NOT_FORWARDED,
  },
  {
    name: "IDR0.STALL_MODEL",
    register: 0,
    field: IDR0.STALL_MODEL,
    feature: "stallModel",
    fits: neverStalls,
    because: NOT_FORWARDED,
  },
  { name: "IDR0.STALL_MODEL", register: 0, field: IDR0.STALL_MODEL, fits: terminates },
  {
    name: "IDR0.CD2L",
    register: 0,
    field: IDR0.CD2L,
    feature: "twoLevelContextTable",
    fits: isAtMost,
  },
  { name: "IDR0.ASID16", register: 0, field: IDR0.ASID16, feature: "asid16", fits: isAtMost },
  { name: "IDR1.SSIDSIZE", register: 1, field: IDR1.SSIDSIZE, feature: "ssidSize", fits: isAtMost },
  { name: "IDR3.RIL", register: 3, field: IDR3.RIL, feature: "rangeInvalidation", fits: isAtMost },
  { name: "IDR5.GRAN4K", register: 5, field: IDR5.GRAN4K, feature: "granule4K", fits: isAtMost },
  { name: "IDR5.GRAN16K", register: 5, field: IDR5.GRAN16K, feature: "granule16K", fits: isAtMost },
  { name: "IDR5.GRAN64K", register: 5, field: IDR5.GRAN64K, feature: "granule64K", fits: isAtMost },
  { name: "IDR5.DS", register: 5, field: IDR5.DS, fits: isAtMost },
  { name: "IDR5.VAX", register: 5, field: IDR5.VAX, feature: "vax", fits: isAtMost },
];

const TOLD_ALL_THE_SAME: readonly Rule[] = [
  { name: "IDR0.TERM_MODEL", register: 0, field: IDR0.TERM_MODEL, fits: isSame },
  { name: "IDR3.HAD", register: 3, field: IDR3.HAD, fits: isAtMost },
  { name: "IDR3.STT", register: 3, field: IDR3.STT, fits: isAtMost },
  { name: "IDR3.BBML", register: 3, field: IDR3.BBML, fits: isAtMost },
];

/**
 * The features of a guest on this host: what is asked for, and for the rest the defaults, lowered to what the host has.
 * `inputBits` is the width of what stage 2 takes, by {@linkcode addressBits}; without it the host's own output size
 * stands in. Throws `RangeError` for a choice that no device has.
 */
export function guestFeatures(
  host: HostIdentity,
  asked: Partial<Features> = {},
  inputBits?: number,
): GuestFeatures {
  const room = inputBits ?? hostOas(host);
  const chosen = features({ ...possible(host, room), ...asked });
  const words = new Uint32Array(REGISTER_SPACE_SIZE / 4);
  identify(words, chosen);
  const broken = (rules: readonly Rule[]): Refusal[] =>
    rules.flatMap((rule) => compare(rule, words, host, chosen));
  const refusals = broken(REQUIRED);
  if (chosen.oas > room) {
    const limit = inputBits === undefined ? "IDR5.OAS says" : "stage 2 takes";
    const message = `Feature oas is ${chosen.oas}, but the host's ${limit} ${room} bits`;
    refusals.push({ feature: "oas", guest: chosen.oas, host: room, message });
  }
  return { features: chosen, refusals, differences: broken(TOLD_ALL_THE_SAME) };
}

/** How many bits of address the ranges of an IOAS have room for: the width of stage 2, once a device is attached. */
export function addressBits(ranges: readonly IovaRange[]): number {
  const last = ranges.at(-1)?.last ?? 0n;
  // A range that ends below a power of two does not have all addresses of that width.
  return (last + 1n).toString(2).length - 1;
}

/** The defaults, as far as the host has them. */
function possible(host: HostIdentity, room: number): Partial<Features> {
  const all = DEFAULT_FEATURES;
  const sizes = ADDRESS_SIZES.filter((size) => size <= Math.min(all.oas, room));
  return {
    ssidSize: Math.min(all.ssidSize, value(host, 1, IDR1.SSIDSIZE)),
    asid16: all.asid16 && value(host, 0, IDR0.ASID16) === 1,
    rangeInvalidation: all.rangeInvalidation && value(host, 3, IDR3.RIL) === 1,
    oas: sizes.at(-1) ?? ADDRESS_SIZES[0],
  };
}

function compare(rule: Rule, words: Uint32Array, host: HostIdentity, chosen: Features): Refusal[] {
  const { name, register, field, feature, fits, because } = rule;
  const guestValue = get(words.subarray(REG.IDR0.offset / 4 + register), field);
  const hostValue = value(host, register, field);
  if (fits(guestValue, hostValue)) return [];
  const message = because !== undefined
    ? `Feature ${feature} is ${feature && chosen[feature]}, but ${because}`
    : feature === undefined
    ? `A guest's ${name} is ${guestValue}, but the host's is ${hostValue}`
    : `Feature ${feature} is ${chosen[feature]}, but the host's ${name} is ${hostValue}`;
  return [{ feature: feature ?? name, guest: guestValue, host: hostValue, message }];
}

function value(host: HostIdentity, register: number, field: Field): number {
  return get(Uint32Array.of(host.idr[register]), field);
}

/** Output address width of the host in bits. What is newer than 48 bits has more. */
function hostOas(host: HostIdentity): number {
  return ADDRESS_SIZES[value(host, 5, IDR5.OAS)] ?? 52;
}
