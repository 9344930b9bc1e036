/**
 * Capabilities of the first 256 bytes, with their lengths. PCI Local Bus 3.0 appendix H, PCI Express Base 5.0 §7.5,
 * §7.7, §7.8, §7.9; PCI-X Addendum 2.0 §7.2; Serial ATA AHCI 1.3.1 §2.4; HyperTransport 3.10 §7.
 * @module
 */
import { type CapabilityBytes, type CapabilityKind, OPEN } from "./capability_kind.ts";

/** Kinds by capability ID. PCI Code and ID Assignment 1.11 §2. */
export const STANDARD_CAPABILITY_KINDS: Readonly<Record<number, CapabilityKind>> = {
  0x00: { name: "Null", sizeBytes: 2 },
  0x01: { name: "Power Management", sizeBytes: 8 },
  0x02: { name: "AGP", sizeBytes: OPEN },
  0x03: { name: "Vital Product Data", sizeBytes: 8 },
  0x04: { name: "Slot Identification", sizeBytes: 4 },
  0x05: { name: "MSI", sizeBytes: msi },
  0x06: { name: "CompactPCI Hot Swap", sizeBytes: 4 },
  0x07: { name: "PCI-X", sizeBytes: pciX },
  0x08: { name: "HyperTransport", sizeBytes: hyperTransport },
  0x09: { name: "Vendor-Specific", sizeBytes: (bytes) => bytes.byte(2) },
  0x0a: { name: "Debug Port", sizeBytes: 4 },
  0x0b: { name: "CompactPCI Central Resource Control", sizeBytes: OPEN },
  0x0c: { name: "Standard Hot-Plug Controller", sizeBytes: 8 },
  0x0d: { name: "Subsystem ID", sizeBytes: 8 },
  0x0e: { name: "AGP 8x", sizeBytes: OPEN },
  0x0f: { name: "Secure Device", sizeBytes: OPEN },
  0x10: { name: "PCI Express", sizeBytes: express },
  0x11: { name: "MSI-X", sizeBytes: 12 },
  0x12: { name: "SATA", sizeBytes: (bytes) => (bytes.byte(4) & 0xf) === 0xf ? 16 : 8 },
  0x13: { name: "Advanced Features", sizeBytes: 6 },
  0x14: { name: "Enhanced Allocation", sizeBytes: enhancedAllocation },
  0x15: { name: "Flattening Portal Bridge", sizeBytes: 0x24 },
};

/** §7.7.1: an address of 64 bits (bit 7) takes one register more, per-vector masking (bit 8) two. */
function msi(bytes: CapabilityBytes): number {
  const control = bytes.word(2);
  return 12 + (control & 0x80 ? 4 : 0) + (control & 0x100 ? 8 : 0);
}

/** PCI-X 2.0 §7.2: version 0 has no registers for error correction. */
function pciX(bytes: CapabilityBytes): number {
  return (bytes.word(2) & 0x3000) === 0 ? 8 : 24;
}

/** HyperTransport 3.10 §7: interfaces by three bits of the type, the MSI mapping by five. */
function hyperTransport(bytes: CapabilityBytes): number | typeof OPEN {
  const type = bytes.byte(3);
  if (type >>> 5 === 0) return 28;
  if (type >>> 5 === 1) return 24;
  if ((type & 0xf8) === 0xa8) return bytes.byte(2) & 0x02 ? 4 : 12;
  return OPEN;
}

/** §7.5.3: version 1 ends where its port has no more registers, later ones have all, some reserved. */
function express(bytes: CapabilityBytes): number {
  const flags = bytes.word(2);
  if ((flags & 0xf) !== 1) return 0x3c;
  const sizes: Record<number, number> = { 4: 0x24, 5: 0x1c, 6: 0x1c, 9: 0x0c, 10: 0x24 };
  return sizes[(flags >>> 4) & 0xf] ?? 0x14;
}

/** §7.8.5: as many entries as the second byte tells, each with its own size. */
function enhancedAllocation(bytes: CapabilityBytes): number {
  let size = 4;
  for (let left = bytes.byte(2) & 0x3f; left > 0; left--) size += 4 + 4 * (bytes.byte(size) & 7);
  return size;
}
