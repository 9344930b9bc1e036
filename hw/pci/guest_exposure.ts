/**
 * Which extended capabilities of an assigned function a guest does not get to see, and how they leave the list.
 *
 * A capability at 0x100 cannot leave, as the list begins there: a Null capability takes its place, whose pointer is kept.
 * Linux walks over it (`PCI_FIND_NEXT_EXT_CAP` stops at a header of zero only), and `lspci` prints `Null`.
 * @module
 */
import {
  describeCapability,
  EXTENDED_START,
  findExpress,
  type FoundCapability,
  readExtendedChain,
  readStandardChain,
} from "./capability_chain.ts";
import { ExtendedCapabilityId } from "./extended_capability_kinds.ts";
import { extendedHeader, linkTo } from "./extended_link.ts";
import { fixedRun, type SpacePatch } from "./space_patch.ts";

/** What nested translation can honour for a function. */
export interface GuestAbilities {
  /** The guest's STE.EATS reaches the hardware, so the function may translate ahead. IHI 0070 §3.9.1. */
  readonly ats: boolean;
  /** Page requests reach the guest. IHI 0070 §3.9.2. */
  readonly pri: boolean;
}

/** A capability to hide. */
export interface HiddenCapability {
  /** The capability. */
  readonly capability: FoundCapability;
  /** Why, in words. */
  readonly why: string;
}

/** Capabilities that are the host's to use, whatever the guest could do. */
const HOSTS_OWN: Readonly<Record<number, string>> = {
  [ExtendedCapabilityId.SingleRootIoVirtualization]: "virtual functions are the host's to make",
  [ExtendedCapabilityId.MultiRootIoVirtualization]: "virtual hierarchies are the host's to make",
  [ExtendedCapabilityId.VirtualFunctionResizableBar]: "BARs of virtual functions are the host's",
};

/** The capabilities of a function that its guest must not see. */
export function hiddenFromGuest(
  space: Uint8Array,
  { ats, pri }: GuestAbilities,
): HiddenCapability[] {
  const reasonFor = (id: number): string | undefined => {
    if (id === ExtendedCapabilityId.AddressTranslationServices && !ats) {
      return "nested translation cannot honour translation requests of this function";
    }
    if (id === ExtendedCapabilityId.PageRequestInterface && !(ats && pri)) {
      return ats
        ? "page requests of this function do not reach the guest"
        : "page requests are of no use without ATS";
    }
    return HOSTS_OWN[id];
  };
  return extendedCapabilities(space).flatMap((capability) => {
    const reason = reasonFor(capability.id);
    return reason === undefined
      ? []
      : [{ capability, why: `${describeCapability(capability)} is hidden: ${reason}` }];
  });
}

/**
 * The bytes that take capabilities out of the list: pointers lead past them, and their registers read as zero. Those that are
 * not in the list of `space` are ignored.
 *
 * To insert a PASID capability and hide others, insert first and hide in the result: `[...inserted, ...hidden]`.
 */
export function hideCapabilities(
  space: Uint8Array,
  hidden: readonly FoundCapability[],
): SpacePatch {
  const all = extendedCapabilities(space);
  const gone = new Set(hidden.map(({ offset }) => offset));
  const stay = all.filter(({ offset }) => !gone.has(offset) || offset === EXTENDED_START);
  const removed = all.filter(({ offset }) => gone.has(offset));
  if (removed.length === 0) return [];
  const blanks = removed.map((capability) => blank(capability, stay));
  const links = stay.flatMap(({ offset, next }, i) => {
    const target = stay[i + 1]?.offset ?? 0;
    if (gone.has(offset)) {
      return [fixedRun(offset, extendedHeader(ExtendedCapabilityId.Null, 0, target))];
    }
    return target === next ? [] : [linkTo(space, offset, target)];
  });
  return [...blanks, ...links];
}

/** Zeros for a capability's own bytes; where its length is unknown, or others lie in it, for its header alone. */
function blank(
  { offset, sizeBytes, measured }: FoundCapability,
  stay: readonly FoundCapability[],
): SpacePatch[number] {
  const end = offset + sizeBytes;
  const overlaps = stay.some((other) =>
    other.offset !== offset && other.offset < end && offset < other.offset + other.sizeBytes
  );
  return fixedRun(offset, new Uint8Array(measured && !overlaps ? sizeBytes : 4));
}

function extendedCapabilities(space: Uint8Array): readonly FoundCapability[] {
  const express = findExpress(readStandardChain(space));
  return readExtendedChain(space, express?.offset).capabilities;
}
