/**
 * Registers of configuration space: PCI Local Bus 3.0 §6.1-6.8, PCI Express Base 5.0 §7.5, §7.7.
 *
 * Offsets of the header count from the start of configuration space, those of a capability from its ID byte.
 * @module
 */
import { bits, maskOf } from "../bits.ts";

/** A register of 1, 2 or 4 bytes, little-endian. */
export interface ConfigRegister {
  /** Byte offset from the start of its header or capability. */
  readonly offset: number;
  /** 1, 2 or 4. */
  readonly sizeBytes: number;
  /** Bits that software writes (RW). */
  readonly writable: number;
  /** Bits that software clears by writing one (RW1C). */
  readonly clearable: number;
}

/** A register that software cannot change. */
export function ro(offset: number, sizeBytes: number): ConfigRegister {
  return { offset, sizeBytes, writable: 0, clearable: 0 };
}

/** A register of which software writes the bits of `writable`. */
export function rw(offset: number, sizeBytes: number, writable: number): ConfigRegister {
  return { offset, sizeBytes, writable, clearable: 0 };
}

/** A register of which software clears the bits of `clearable` by writing ones. */
export function w1c(offset: number, sizeBytes: number, clearable: number): ConfigRegister {
  return { offset, sizeBytes, writable: 0, clearable };
}

/** Command register. §7.5.1.1.3. */
export const COMMAND = {
  MemorySpaceEnable: bits(1),
  BusMasterEnable: bits(2),
  ParityErrorResponse: bits(6),
  SERREnable: bits(8),
  InterruptDisable: bits(10),
} as const;

/** Status register. §7.5.1.1.4. */
export const STATUS = {
  InterruptStatus: bits(3),
  CapabilitiesList: bits(4),
  MasterDataParityError: bits(8),
  SignaledTargetAbort: bits(11),
  ReceivedTargetAbort: bits(12),
  ReceivedMasterAbort: bits(13),
  SignaledSystemError: bits(14),
  DetectedParityError: bits(15),
} as const;

/** Type 0 header. §7.5.1.1, §7.5.1.2. */
export const HEADER = {
  VendorID: ro(0x00, 2),
  DeviceID: ro(0x02, 2),
  Command: rw(0x04, 2, maskOf(...Object.values(COMMAND))),
  Status: w1c(
    0x06,
    2,
    maskOf(
      STATUS.MasterDataParityError,
      STATUS.SignaledTargetAbort,
      STATUS.ReceivedTargetAbort,
      STATUS.ReceivedMasterAbort,
      STATUS.SignaledSystemError,
      STATUS.DetectedParityError,
    ),
  ),
  RevisionID: ro(0x08, 1),
  ProgrammingInterface: ro(0x09, 1),
  SubClass: ro(0x0a, 1),
  BaseClass: ro(0x0b, 1),
  CacheLineSize: rw(0x0c, 1, 0xff),
  HeaderType: ro(0x0e, 1),
  SubsystemVendorID: ro(0x2c, 2),
  SubsystemID: ro(0x2e, 2),
  CapabilitiesPointer: ro(0x34, 1),
  InterruptLine: rw(0x3c, 1, 0xff),
  InterruptPin: ro(0x3d, 1),
} as const satisfies Record<string, ConfigRegister>;

/** Offset of Base Address Register 0; each of the six has four bytes. §7.5.1.2.1. */
export const BAR0 = 0x10;

/** Base Address Register, memory: type bits of one that takes two registers. §7.5.1.2.1. */
export const BAR_64BIT = 0b100;

/** Capability IDs. PCI Code and ID Assignment 1.11 §2. */
export const CapabilityId = {
  Msi: 0x05,
  VendorSpecific: 0x09,
  PciExpress: 0x10,
  MsiX: 0x11,
} as const;

/** Device/Port Type of the PCI Express capability. §7.5.3.2. */
export const PortType = {
  Endpoint: 0b0000,
  LegacyEndpoint: 0b0001,
  RootComplexIntegrated: 0b1001,
} as const;

/** Device Control: the bits that are not plain storage. §7.5.3.4. */
export const DEVICE_CONTROL = { InitiateFunctionLevelReset: bits(15) } as const;

/** PCI Express capability, version 2. §7.5.3. */
export const EXPRESS = {
  Capabilities: ro(0x02, 2),
  DeviceCapabilities: ro(0x04, 4),
  DeviceControl: rw(0x08, 2, 0xf81f),
  DeviceStatus: w1c(0x0a, 2, 0x000f),
  LinkCapabilities: ro(0x0c, 4),
  LinkControl: rw(0x10, 2, 0x00cb),
  LinkStatus: ro(0x12, 2),
  DeviceCapabilities2: ro(0x24, 4),
  DeviceControl2: rw(0x28, 2, 0x0010),
  LinkCapabilities2: ro(0x2c, 4),
  LinkControl2: rw(0x30, 2, 0x000f),
} as const satisfies Record<string, ConfigRegister>;

/** Bytes of the PCI Express capability. */
export const EXPRESS_SIZE = 0x3c;

/** Message Control of MSI-X. §7.7.2.2. */
export const MSIX_CONTROL = {
  TableSize: bits(10, 0),
  FunctionMask: bits(14),
  Enable: bits(15),
} as const;

/** MSI-X capability. §7.7.2. */
export const MSIX = {
  MessageControl: rw(0x02, 2, maskOf(MSIX_CONTROL.FunctionMask, MSIX_CONTROL.Enable)),
  Table: ro(0x04, 4),
  PendingBitArray: ro(0x08, 4),
} as const satisfies Record<string, ConfigRegister>;

/** Bytes of the MSI-X capability. */
export const MSIX_SIZE = 0x0c;
