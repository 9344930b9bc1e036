/**
 * The two capability lists of a function, walked as bytes that anybody may have written. PCI Express Base 5.0 §7.5.1.1.11,
 * §7.6.3.
 *
 * As software must, the reader ignores the two low bits of a pointer. It ends at a pointer that leads back or out of its
 * half of configuration space, and says so.
 * @module
 */
import { CapabilityBytes, type CapabilityKind, lengthOf } from "./capability_kind.ts";
import { byteAt, dwordAt, hexOffset, hexRange, wordAt } from "./config_bytes.ts";
import { EXTENDED_CAPABILITY_KINDS } from "./extended_capability_kinds.ts";
import { CapabilityId, HEADER, STATUS } from "./registers.ts";
import { STANDARD_CAPABILITY_KINDS } from "./standard_capability_kinds.ts";

/** Where extended configuration space begins. */
export const EXTENDED_START = 0x100;

/** Bytes of a configuration space with its extended part. */
export const EXTENDED_END = 0x1000;

/** A capability that was found. */
export interface FoundCapability {
  /** Its first byte, from the start of configuration space. */
  readonly offset: number;
  /** Capability ID: 8 bits, or 16 in the extended list. */
  readonly id: number;
  /** Version in the extended list, 0 in the other. */
  readonly version: number;
  /** Where the next one is, 0 for the end, without the two low bits. */
  readonly next: number;
  /** What to call it: `ARI`, or `capability 0x0047`. */
  readonly name: string;
  /** Bytes that it occupies, header included, none beyond the space. */
  readonly sizeBytes: number;
  /** Whether its length is known; if not, it is taken to reach the next capability, or the end. */
  readonly measured: boolean;
}

/** A list, as far as it can be followed. */
export interface CapabilityChain {
  /** In the order of the list. */
  readonly capabilities: readonly FoundCapability[];
  /** Why the list cannot be followed further; absent when it ends well. */
  readonly broken?: string;
}

/** A name with its bytes: `ARI (0x150-0x157)`. */
export function describeCapability({ name, offset, sizeBytes }: FoundCapability): string {
  return `${name} (${hexRange(offset, offset + sizeBytes)})`;
}

/** A kind's name, or the ID where there is none. */
function nameOf(kind: CapabilityKind | undefined, id: number, digits: number): string {
  return kind?.name ?? `capability 0x${id.toString(16).padStart(digits, "0")}`;
}

/** Whether a word at the start of extended space says that there is no capability at all. §7.6.2, §7.6.3. */
export function isAbsentHeader(header: number): boolean {
  const next = header >>> 20;
  const id = header & 0xffff;
  return header === 0xffff_ffff || (next === 0 && (id === 0 || id === 0xffff));
}

/** Follows the capability list of the first 256 bytes. */
export function readStandardChain(space: Uint8Array): CapabilityChain {
  const hasList = byteAt(space, HEADER.Status.offset) & 1 << STATUS.CapabilitiesList.shift;
  if (!hasList) return { capabilities: [] };
  const first = byteAt(space, HEADER.CapabilitiesPointer.offset) & 0xfc;
  const links: Link[] = [];
  const broken = follow(links, "The header", first, 0x40, EXTENDED_START, (offset) => {
    const id = byteAt(space, offset);
    if (id === 0xff) return `no capability, its ID reads 0xff`;
    const name = nameOf(STANDARD_CAPABILITY_KINDS[id], id, 2);
    return { offset, id, version: 0, next: byteAt(space, offset + 1) & 0xfc, name };
  });
  const express = links.find(({ id }) => id === CapabilityId.PciExpress)?.offset ?? 0;
  const capabilities = measure(links, EXTENDED_START, ({ offset, id }) => {
    return lengthOf(STANDARD_CAPABILITY_KINDS[id], new CapabilityBytes(space, offset, express));
  });
  return broken === undefined ? { capabilities } : { capabilities, broken };
}

/** Follows the extended capability list; a space of 256 bytes has none. */
export function readExtendedChain(space: Uint8Array, express = 0): CapabilityChain {
  if (space.length < EXTENDED_END || isAbsentHeader(dwordAt(space, EXTENDED_START))) {
    return { capabilities: [] };
  }
  const links: Link[] = [];
  const broken = follow(
    links,
    "Extended space",
    EXTENDED_START,
    EXTENDED_START,
    EXTENDED_END,
    (offset) => {
      const header = dwordAt(space, offset);
      if (header === 0) return undefined;
      if (header === 0xffff_ffff) return `no capability, it reads 0xffffffff`;
      const id = header & 0xffff;
      const name = nameOf(EXTENDED_CAPABILITY_KINDS[id], id, 4);
      return { offset, id, version: (header >>> 16) & 0xf, next: (header >>> 20) & 0xffc, name };
    },
  );
  const capabilities = measure(links, EXTENDED_END, ({ offset, id }) => {
    return lengthOf(EXTENDED_CAPABILITY_KINDS[id], new CapabilityBytes(space, offset, express));
  });
  return broken === undefined ? { capabilities } : { capabilities, broken };
}

/** The function's PCI Express capability. §7.5.3. */
export function findExpress(standard: CapabilityChain): FoundCapability | undefined {
  return standard.capabilities.find(({ id }) => id === CapabilityId.PciExpress);
}

/** Device/Port Type in the PCI Express capability at `express`. §7.5.3.2. */
export function portTypeAt(space: Uint8Array, express: number): number {
  return (wordAt(space, express + 2) >>> 4) & 0xf;
}

type Link = Omit<FoundCapability, "sizeBytes" | "measured">;

/** Collects links from `offset` on and returns what is wrong with the list. `read` tells a link, a fault, or an end. */
function follow(
  links: Link[],
  holder: string,
  offset: number,
  first: number,
  end: number,
  read: (offset: number) => Link | string | undefined,
): string | undefined {
  const seen = new Map<number, string>();
  while (offset !== 0) {
    if (offset < first || offset + 4 > end) {
      return `${holder} points to ${hexOffset(offset)}, outside ${hexRange(first, end)}`;
    }
    const known = seen.get(offset);
    if (known !== undefined) {
      return `${holder} points back to ${known} at ${hexOffset(offset)}`;
    }
    const link = read(offset);
    if (link === undefined) return undefined;
    if (typeof link === "string") {
      return `${holder} points to ${hexOffset(offset)}, where there is ${link}`;
    }
    links.push(link);
    seen.set(offset, link.name);
    holder = `${link.name} at ${hexOffset(offset)}`;
    offset = link.next;
  }
  return undefined;
}

/** Gives each link its bytes: its own length within the space, or all up to the next one by address. */
function measure(
  links: readonly Link[],
  end: number,
  length: (link: Link) => number | undefined,
): FoundCapability[] {
  const starts = links.map(({ offset }) => offset).sort((a, b) => a - b);
  return links.map((link) => {
    const known = length(link);
    // A vendor's capability that says it is shorter than its own header says nothing.
    if (known !== undefined && known >= (end === EXTENDED_END ? 4 : 2)) {
      const sizeBytes = Math.min((known + 3) & ~3, end - link.offset);
      return { ...link, sizeBytes, measured: true };
    }
    const next = starts.find((start) => start > link.offset) ?? end;
    return { ...link, sizeBytes: next - link.offset, measured: false };
  });
}
