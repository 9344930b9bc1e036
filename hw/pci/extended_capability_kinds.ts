/**
 * Capabilities of extended configuration space, with their lengths. PCI Express Base 5.0 §7.6 to §7.9; where a later
 * version of a capability may be longer than what is known here, its length is open.
 * @module
 */
import { type CapabilityBytes, type CapabilityKind, OPEN } from "./capability_kind.ts";

/** Extended Capability IDs that this code acts upon. PCI Code and ID Assignment 1.11 §3. */
export const ExtendedCapabilityId = {
  Null: 0x0000,
  AlternativeRoutingId: 0x000e,
  AddressTranslationServices: 0x000f,
  SingleRootIoVirtualization: 0x0010,
  MultiRootIoVirtualization: 0x0011,
  PageRequestInterface: 0x0013,
  ProcessAddressSpaceId: 0x001b,
  VirtualFunctionResizableBar: 0x0024,
} as const;

/** Kinds by extended capability ID. PCI Code and ID Assignment 1.11 §3. */
export const EXTENDED_CAPABILITY_KINDS: Readonly<Record<number, CapabilityKind>> = {
  // A host that hides a capability leaves this in its place, and the hidden registers behind it.
  0x0000: { name: "Null", sizeBytes: OPEN },
  0x0001: { name: "Advanced Error Reporting", sizeBytes: advancedErrorReporting },
  0x0002: { name: "Virtual Channel", sizeBytes: virtualChannel },
  0x0003: { name: "Device Serial Number", sizeBytes: 12 },
  0x0004: { name: "Power Budgeting", sizeBytes: onlyVersion1(16) },
  0x0005: {
    name: "Root Complex Link Declaration",
    sizeBytes: (bytes) => 16 + 16 * bytes.byte(5),
  },
  0x0006: { name: "Root Complex Internal Link Control", sizeBytes: 12 },
  0x0007: {
    name: "Root Complex Event Collector",
    sizeBytes: (bytes) => bytes.version < 2 ? 8 : 12,
  },
  0x0008: { name: "Multi-Function Virtual Channel", sizeBytes: virtualChannel },
  0x0009: { name: "Virtual Channel", sizeBytes: virtualChannel },
  0x000a: { name: "Root Complex Register Block", sizeBytes: OPEN },
  0x000b: { name: "Vendor-Specific", sizeBytes: (bytes) => bytes.dword(4) >>> 20 },
  0x000c: { name: "Configuration Access Correlation", sizeBytes: OPEN },
  0x000d: { name: "Access Control Services", sizeBytes: accessControlServices },
  0x000e: { name: "ARI", sizeBytes: 8 },
  0x000f: { name: "ATS", sizeBytes: 8 },
  0x0010: { name: "SR-IOV", sizeBytes: 0x40 },
  0x0011: { name: "MR-IOV", sizeBytes: OPEN },
  0x0012: { name: "Multicast", sizeBytes: 0x30 },
  0x0013: { name: "Page Request Interface", sizeBytes: 16 },
  0x0014: { name: "AMD's own", sizeBytes: OPEN },
  0x0015: { name: "Resizable BAR", sizeBytes: resizableBar },
  0x0016: {
    name: "Dynamic Power Allocation",
    sizeBytes: (bytes) => 16 + (bytes.byte(4) & 0x1f) + 1,
  },
  0x0017: { name: "TPH Requester", sizeBytes: tphRequester },
  0x0018: { name: "Latency Tolerance Reporting", sizeBytes: 8 },
  0x0019: { name: "Secondary PCI Express", sizeBytes: (bytes) => 12 + 2 * bytes.lanes },
  0x001a: { name: "Protocol Multiplexing", sizeBytes: OPEN },
  0x001b: { name: "PASID", sizeBytes: 8 },
  0x001c: { name: "LN Requester", sizeBytes: 8 },
  0x001d: { name: "Downstream Port Containment", sizeBytes: downstreamPortContainment },
  0x001e: { name: "L1 PM Substates", sizeBytes: (bytes) => bytes.version < 2 ? 16 : 20 },
  0x001f: { name: "Precision Time Measurement", sizeBytes: 12 },
  0x0020: { name: "PCI Express over M-PHY", sizeBytes: OPEN },
  0x0021: { name: "FRS Queueing", sizeBytes: 16 },
  0x0022: { name: "Readiness Time Reporting", sizeBytes: 12 },
  0x0023: { name: "Designated Vendor-Specific", sizeBytes: (bytes) => bytes.dword(4) >>> 20 },
  0x0024: { name: "VF Resizable BAR", sizeBytes: resizableBar },
  0x0025: { name: "Data Link Feature", sizeBytes: 12 },
  0x0026: { name: "Physical Layer 16.0 GT/s", sizeBytes: (bytes) => 32 + bytes.lanes },
  0x0027: { name: "Lane Margining", sizeBytes: (bytes) => 8 + 4 * bytes.lanes },
  0x0028: { name: "Hierarchy ID", sizeBytes: OPEN },
  0x0029: { name: "Native PCIe Enclosure Management", sizeBytes: 16 },
  0x002a: { name: "Physical Layer 32.0 GT/s", sizeBytes: (bytes) => 32 + bytes.lanes },
  0x002b: { name: "Alternate Protocol", sizeBytes: OPEN },
  0x002c: { name: "System Firmware Intermediary", sizeBytes: 20 },
  0x002d: { name: "Shadow Functions", sizeBytes: OPEN },
  0x002e: { name: "Data Object Exchange", sizeBytes: onlyVersion1(24) },
  0x002f: { name: "Device 3", sizeBytes: 16 },
  0x0030: { name: "Integrity and Data Encryption", sizeBytes: integrityAndDataEncryption },
  0x0031: { name: "Physical Layer 64.0 GT/s", sizeBytes: (bytes) => 32 + bytes.lanes },
  0x0032: { name: "Flit Logging", sizeBytes: OPEN },
  0x0033: { name: "Flit Performance Measurement", sizeBytes: OPEN },
  0x0034: { name: "Flit Error Injection", sizeBytes: OPEN },
  0x0035: { name: "Streamlined Virtual Channel", sizeBytes: OPEN },
  0x0036: { name: "MMIO Register Block Locator", sizeBytes: OPEN },
};

function onlyVersion1(sizeBytes: number): (bytes: CapabilityBytes) => number | typeof OPEN {
  return (bytes) => bytes.version === 1 ? sizeBytes : OPEN;
}

/** §7.8.4: root ports and event collectors have error sources; End-End TLP Prefixes (version 2 at the latest) a log. */
function advancedErrorReporting(bytes: CapabilityBytes): number {
  const rootPort = bytes.portType === 0b0100 || bytes.portType === 0b1010;
  const prefixes = (bytes.deviceCapabilities2 & 1 << 21) !== 0 || (bytes.dword(0x18) & 0x800) !== 0;
  if (bytes.version > 2) return 0x60;
  if (bytes.version === 2 || prefixes) return 0x48;
  return rootPort ? 0x38 : 0x2c;
}

/** §7.9.1, §7.9.2: resources, and arbitration tables where the registers say they are, in units of 16 bytes. */
function virtualChannel(bytes: CapabilityBytes): number {
  const port1 = bytes.dword(4);
  const port2 = bytes.dword(8);
  const count = 1 + (port1 & 7);
  const entryBits = 1 << ((port1 >>> 10) & 3);
  let end = 16 + 12 * count;
  const include = (table: number, phases: number, bits: number): void => {
    if (table !== 0) end = Math.max(end, 16 * table + phases * bits / 8);
  };
  include(port2 >>> 24, phasesOf(port2 & 0x0e), 4);
  for (let i = 0; i < count; i++) {
    const resource = bytes.dword(16 + 12 * i);
    include(resource >>> 24, phasesOf(resource & 0x3e), entryBits);
  }
  return end;
}

/** Phases of the longest arbitration that a capability register offers: 32, 64, 128, 128 and 256 for bits 1 to 5. */
function phasesOf(offered: number): number {
  if (offered & 0x20) return 256;
  if (offered & 0x18) return 128;
  return offered & 0x04 ? 64 : offered & 0x02 ? 32 : 0;
}

/** §7.7.8: with P2P Egress Control (bit 5) a vector of as many bits as the next byte says, 0 for 256. */
function accessControlServices(bytes: CapabilityBytes): number {
  if ((bytes.byte(4) & 0x20) === 0) return 8;
  return 8 + 4 * Math.ceil((bytes.byte(5) || 256) / 32);
}

/** §7.8.6, §7.8.7: the first control register says for how many BARs there is a pair. */
function resizableBar(bytes: CapabilityBytes): number {
  return 4 + 8 * Math.max(1, (bytes.byte(8) >>> 5) & 7);
}

/** §7.9.13: the steering tag table is here (location 01) or in the MSI-X table. */
function tphRequester(bytes: CapabilityBytes): number {
  const requester = bytes.dword(4);
  if (((requester >>> 9) & 3) !== 1) return 12;
  return 12 + 2 * (((requester >>> 16) & 0x7ff) + 1);
}

/** §7.9.15: Root Port extensions (bit 5) add registers and a log of as many words as the register says. */
function downstreamPortContainment(bytes: CapabilityBytes): number {
  const capability = bytes.word(4);
  if ((capability & 0x20) === 0) return 12;
  return 0x20 + 4 * ((capability >>> 8 & 0xf) | (capability >>> 9 & 0x10));
}

/** PCI Express Base 6.0 §7.9.26: a block for each link stream and selective stream, those with address blocks. */
function integrityAndDataEncryption(bytes: CapabilityBytes): number {
  const capability = bytes.dword(4);
  let size = 12;
  if (capability & 1) size += 8 * (1 + ((capability >>> 13) & 7));
  if ((capability & 2) === 0) return size;
  for (let left = 1 + ((capability >>> 16) & 0xff); left > 0; left--) {
    size += 20 + 12 * (bytes.byte(size) & 0xf);
  }
  return size;
}
