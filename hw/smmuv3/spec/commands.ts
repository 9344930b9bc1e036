/**
 * Command formats: opcodes, and fields by their bits in the 128-bit record. IHI 0070 §4 Commands.
 * @module
 */
import { address, bits } from "../../bits.ts";

/** Size of a command, in bytes. */
export const COMMAND_SIZE = 16;

/** Opcodes. §4.1.1 Command opcodes. */
export const OP = {
  CMD_PREFETCH_CONFIG: 0x01,
  CMD_PREFETCH_ADDR: 0x02,
  CMD_CFGI_STE: 0x03,
  CMD_CFGI_STE_RANGE: 0x04,
  CMD_CFGI_CD: 0x05,
  CMD_CFGI_CD_ALL: 0x06,
  CMD_TLBI_NH_ALL: 0x10,
  CMD_TLBI_NH_ASID: 0x11,
  CMD_TLBI_NH_VA: 0x12,
  CMD_TLBI_NH_VAA: 0x13,
  CMD_TLBI_EL2_ALL: 0x20,
  CMD_TLBI_EL2_ASID: 0x21,
  CMD_TLBI_EL2_VA: 0x22,
  CMD_TLBI_EL2_VAA: 0x23,
  CMD_TLBI_S12_VMALL: 0x28,
  CMD_TLBI_S2_IPA: 0x2a,
  CMD_TLBI_NSNH_ALL: 0x30,
  CMD_ATC_INV: 0x40,
  CMD_PRI_RESP: 0x41,
  CMD_RESUME: 0x44,
  CMD_STALL_TERM: 0x45,
  CMD_SYNC: 0x46,
} as const;

/** Fields of most commands. §4.1.6 Common command fields. */
export const CMD = { Opcode: bits(7, 0), SSec: bits(10) } as const;

/** §4.3 Configuration structure invalidation, §4.2 Prefetch. */
export const CFGI = {
  SSV: bits(11),
  SubstreamID: bits(31, 12),
  StreamID: bits(63, 32),
  Leaf: bits(64),
  Range: bits(68, 64),
} as const;

/** §4.4 TLB invalidation, while IDR5.DS is 0; `Address` is words 2 and 3 with the low 12 bits cleared. */
export const TLBI = {
  NUM: bits(16, 12),
  SCALE: bits(24, 20),
  VMID: bits(47, 32),
  ASID: bits(63, 48),
  Leaf: bits(64),
  TTL: bits(73, 72),
  TG: bits(75, 74),
} as const;

/** §4.5.1 CMD_ATC_INV; the address is word 3 and word 2 with the low 12 bits cleared. */
export const ATC_INV = {
  Global: bits(9),
  SSV: bits(11),
  SubstreamID: bits(31, 12),
  StreamID: bits(63, 32),
  Size: bits(69, 64),
} as const;

/** §4.6.1 CMD_PRI_RESP. */
export const PRI_RESP = {
  SSV: bits(11),
  SubstreamID: bits(31, 12),
  StreamID: bits(63, 32),
  PRGIndex: bits(72, 64),
  Resp: bits(77, 76),
} as const;

/** §4.7.1 CMD_RESUME, §4.7.2 CMD_STALL_TERM. */
export const RESUME = {
  Ac: bits(12),
  Ab: bits(13),
  StreamID: bits(63, 32),
  STAG: bits(79, 64),
} as const;

/** §4.7.3 CMD_SYNC. */
export const SYNC = {
  CS: bits(13, 12),
  MSH: bits(23, 22),
  MSIAttr: bits(27, 24),
  MSIData: bits(63, 32),
  MSIAddress: address(115, 66),
} as const;

/** Values of CMD_SYNC.CS: how completion is signalled. */
export const CS = { SIG_NONE: 0, SIG_IRQ: 1, SIG_SEV: 2 } as const;
