/**
 * What a guest may do with each byte of an assigned function's configuration space. PCI Express Base 5.0 §7.5, §7.6.
 *
 * Linux guards the hardware: what its VFIO passes on is harmless. The policy here is about the guest: what its VMM or we
 * keep for it, and what it must not see.
 * @module
 */
import { CapabilityId, MSIX, MSIX_CONTROL } from "../../hw/pci/registers.ts";
import { planExtended } from "./extended_plan.ts";
import type { PasidDecision } from "./pasid_choice.ts";

/** What becomes of accesses to a byte. */
export const Policy = {
  /** The host's function has it. */
  Passed: 0,
  /** We have it: bits that the guest writes read back, others stay. */
  Emulated: 1,
} as const;

/** A configuration space with its policy: three bytes for each byte of it. */
export interface ConfigPlan {
  /** Of {@linkcode Policy}. */
  readonly policy: Uint8Array;
  /** What the guest reads of emulated bytes at first. */
  readonly initial: Uint8Array;
  /** Which bits of emulated bytes it writes. */
  readonly writable: Uint8Array;
  /** Where the MSI-X capability is, if there is one. */
  readonly msix: MsixPlace | undefined;
  /** Where the PCI Express capability is, if there is one. */
  readonly express: number | undefined;
  /** What was decided, for people. */
  readonly notes: readonly string[];
}

/** What an MSI-X capability says. §7.7.2. */
export interface MsixPlace {
  /** Offset of the capability. */
  readonly offset: number;
  /** Vectors. */
  readonly count: number;
  /** BAR and offset of the table. */
  readonly table: { readonly bar: number; readonly offset: number };
  /** BAR and offset of the pending bits. */
  readonly pending: { readonly bar: number; readonly offset: number };
}

const SIZE = 4096;

/** Fields of the header that are ours: offset, bytes, bits that the guest writes. */
const HEADER_EMULATED: readonly (readonly [offset: number, sizeBytes: number, writable: number])[] =
  [
    [0x0c, 1, 0xff], // Cache Line Size
    [0x0e, 1, 0], // Header Type
    [0x10, 24, 0xff], // Base Address Registers: the VMM has them, whatever is written here
    [0x28, 4, 0], // Cardbus CIS Pointer
    [0x30, 4, 0], // Expansion ROM: none
    [0x34, 1, 0], // Capabilities Pointer
    [0x3c, 1, 0xff], // Interrupt Line
    [0x3d, 1, 0], // Interrupt Pin
  ];

/** Capabilities that a guest sees; the others are not in its list. */
const CAPABILITIES: ReadonlyMap<number, string> = new Map([
  [0x01, "Power Management"],
  [0x03, "Vital Product Data"],
  [0x09, "Vendor-Specific"],
  [0x10, "PCI Express"],
  [0x11, "MSI-X"],
  [0x13, "Advanced Features"],
]);

const CAPABILITIES_POINTER = 0x34;
const INTERRUPT_PIN = 0x3d;
const MOST_CAPABILITIES = 48;

/** Decides for a function whose configuration space reads as `space`, 256 or 4096 bytes. */
export function planConfig(
  space: Uint8Array,
  { hasIntx, pasid }: { readonly hasIntx: boolean; readonly pasid: PasidDecision },
): ConfigPlan {
  const policy = new Uint8Array(SIZE).fill(Policy.Emulated);
  const initial = new Uint8Array(SIZE);
  const writable = new Uint8Array(SIZE);
  const notes: string[] = [];
  policy.fill(Policy.Passed, 0, space.length);
  initial.set(space);
  for (const [offset, sizeBytes, bits] of HEADER_EMULATED) {
    policy.fill(Policy.Emulated, offset, offset + sizeBytes);
    writable.fill(bits, offset, offset + sizeBytes);
  }
  initial.fill(0, 0x30, 0x34);
  if (!hasIntx) initial[INTERRUPT_PIN] = 0;
  let previous = CAPABILITIES_POINTER;
  let msix: MsixPlace | undefined;
  let express: number | undefined;
  let at = space[CAPABILITIES_POINTER] & 0xfc;
  for (let turn = 0; at >= 0x40 && turn < MOST_CAPABILITIES; turn++) {
    const id = space[at];
    const next = space[at + 1] & 0xfc;
    policy.fill(Policy.Emulated, at, at + 2);
    if (!CAPABILITIES.has(id)) {
      initial[previous] = next;
      notes.push(`Capability 0x${id.toString(16)} at 0x${at.toString(16)} is not shown`);
    } else {
      initial[previous] = at;
      previous = at + 1;
      if (id === CapabilityId.MsiX) msix = takeMsix(space, at, { policy, writable });
      if (id === CapabilityId.PciExpress) express = at;
    }
    at = next;
  }
  initial[previous] = 0;
  const extended = planExtended(space, pasid);
  for (const run of extended.patch) {
    policy.fill(Policy.Emulated, run.offset, run.offset + run.bytes.length);
    initial.set(run.bytes, run.offset);
    writable.set(run.writable, run.offset);
  }
  notes.push(...extended.notes);
  return { policy, initial, writable, msix, express, notes };
}

function takeMsix(
  space: Uint8Array,
  offset: number,
  { policy, writable }: { policy: Uint8Array; writable: Uint8Array },
): MsixPlace {
  const view = new DataView(space.buffer, space.byteOffset, space.byteLength);
  const place = (at: number): { bar: number; offset: number } => {
    const word = view.getUint32(offset + at, true);
    return { bar: word & 7, offset: (word & ~7) >>> 0 };
  };
  policy.fill(Policy.Emulated, offset, offset + 12);
  const control = MSIX.MessageControl;
  for (let i = 0; i < control.sizeBytes; i++) {
    writable[offset + control.offset + i] = control.writable >>> (8 * i);
  }
  const { shift, mask } = MSIX_CONTROL.TableSize;
  return {
    offset,
    count: (view.getUint16(offset + control.offset, true) >>> shift & mask) + 1,
    table: place(MSIX.Table.offset),
    pending: place(MSIX.PendingBitArray.offset),
  };
}
