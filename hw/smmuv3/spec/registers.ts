/**
 * Registers: where they are, which bits software can write, and their fields. IHI 0070 §6.3 Register formats.
 *
 * Offsets count from the start of register page 0; page 1 starts at 0x10000. A field's bits count from bit 0 of its
 * register, also where the register has 64.
 * @module
 */
import { address, bits } from "../../bits.ts";

/** A register: its offset and, for each of its 32-bit words, the bits that software can write. */
export interface Register {
  /** Bytes from the start of page 0; a multiple of 4. */
  readonly offset: number;
  /** Writable bits of each 32-bit word, low word first. */
  readonly writable: readonly number[];
}

const ro = (offset: number): Register => ({ offset, writable: [0] });
const rw = (offset: number, ...writable: number[]): Register => ({ offset, writable });

/** Size of the two register pages with the gap between them, in bytes. §6.1 Memory map. */
export const REGISTER_SPACE_SIZE = 0x2_0000;

/** The registers of the Non-secure programming interface. */
export const REG = {
  IDR0: ro(0x0000),
  IDR1: ro(0x0004),
  IDR2: ro(0x0008),
  IDR3: ro(0x000c),
  IDR4: ro(0x0010),
  IDR5: ro(0x0014),
  IIDR: ro(0x0018),
  AIDR: ro(0x001c),
  CR0: rw(0x0020, 0x0000_001f),
  CR0ACK: ro(0x0024),
  CR1: rw(0x0028, 0x0000_0fff),
  CR2: rw(0x002c, 0x0000_000f),
  STATUSR: ro(0x0040),
  GBPA: rw(0x0044, 0x801f_3f1f),
  IRQ_CTRL: rw(0x0050, 0x0000_0007),
  IRQ_CTRLACK: ro(0x0054),
  GERROR: ro(0x0060),
  GERRORN: rw(0x0064, 0x0000_01fd),
  GERROR_IRQ_CFG0: rw(0x0068, 0xffff_fffc, 0x000f_ffff),
  GERROR_IRQ_CFG1: rw(0x0070, 0xffff_ffff),
  GERROR_IRQ_CFG2: rw(0x0074, 0x0000_003f),
  STRTAB_BASE: rw(0x0080, 0xffff_ffc0, 0x400f_ffff),
  STRTAB_BASE_CFG: rw(0x0088, 0x0003_07ff),
  CMDQ_BASE: rw(0x0090, 0xffff_ffff, 0x400f_ffff),
  CMDQ_PROD: rw(0x0098, 0x000f_ffff),
  CMDQ_CONS: rw(0x009c, 0x7f0f_ffff),
  EVENTQ_BASE: rw(0x00a0, 0xffff_ffff, 0x400f_ffff),
  EVENTQ_IRQ_CFG0: rw(0x00b0, 0xffff_fffc, 0x000f_ffff),
  EVENTQ_IRQ_CFG1: rw(0x00b8, 0xffff_ffff),
  EVENTQ_IRQ_CFG2: rw(0x00bc, 0x0000_003f),
  PRIQ_BASE: rw(0x00c0, 0xffff_ffff, 0x400f_ffff),
  PRIQ_IRQ_CFG0: rw(0x00d0, 0xffff_fffc, 0x000f_ffff),
  PRIQ_IRQ_CFG1: rw(0x00d8, 0xffff_ffff),
  PRIQ_IRQ_CFG2: rw(0x00dc, 0x8000_003f),
  EVENTQ_PROD: rw(0x1_00a8, 0x800f_ffff),
  EVENTQ_CONS: rw(0x1_00ac, 0x800f_ffff),
  PRIQ_PROD: rw(0x1_00c8, 0x800f_ffff),
  PRIQ_CONS: rw(0x1_00cc, 0x800f_ffff),
} as const satisfies Record<string, Register>;

/** Page 0 offsets that show the registers of page 1: software written for SMMUv3.0 models uses them. */
export const PAGE0_ALIAS: Readonly<Record<number, number>> = {
  0x00a8: REG.EVENTQ_PROD.offset,
  0x00ac: REG.EVENTQ_CONS.offset,
  0x00c8: REG.PRIQ_PROD.offset,
  0x00cc: REG.PRIQ_CONS.offset,
};

/** §6.3.1 SMMU_IDR0. */
export const IDR0 = {
  S2P: bits(0),
  S1P: bits(1),
  TTF: bits(3, 2),
  COHACC: bits(4),
  BTM: bits(5),
  HTTU: bits(7, 6),
  DORMHINT: bits(8),
  Hyp: bits(9),
  ATS: bits(10),
  NS1ATS: bits(11),
  ASID16: bits(12),
  MSI: bits(13),
  SEV: bits(14),
  ATOS: bits(15),
  PRI: bits(16),
  VMW: bits(17),
  VMID16: bits(18),
  CD2L: bits(19),
  VATOS: bits(20),
  TTENDIAN: bits(22, 21),
  ATSRECERR: bits(23),
  STALL_MODEL: bits(25, 24),
  TERM_MODEL: bits(26),
  ST_LEVEL: bits(28, 27),
} as const;

/** §6.3.2 SMMU_IDR1. */
export const IDR1 = {
  SIDSIZE: bits(5, 0),
  SSIDSIZE: bits(10, 6),
  PRIQS: bits(15, 11),
  EVENTQS: bits(20, 16),
  CMDQS: bits(25, 21),
  ATTR_PERMS_OVR: bits(26),
  ATTR_TYPES_OVR: bits(27),
  REL: bits(28),
  QUEUES_PRESET: bits(29),
  TABLES_PRESET: bits(30),
  ECMDQ: bits(31),
} as const;

/** §6.3.4 SMMU_IDR3. */
export const IDR3 = {
  HAD: bits(2),
  PBHA: bits(3),
  XNX: bits(4),
  PPS: bits(5),
  MPAM: bits(7),
  FWB: bits(8),
  STT: bits(9),
  RIL: bits(10),
  BBML: bits(12, 11),
} as const;

/** §6.3.6 SMMU_IDR5. */
export const IDR5 = {
  OAS: bits(2, 0),
  GRAN4K: bits(4),
  GRAN16K: bits(5),
  GRAN64K: bits(6),
  DS: bits(7),
  VAX: bits(11, 10),
  STALL_MAX: bits(31, 16),
} as const;

/** §6.3.8 SMMU_AIDR. */
export const AIDR = { ArchMinorRev: bits(3, 0), ArchMajorRev: bits(7, 4) } as const;

/** §6.3.9 SMMU_CR0; SMMU_CR0ACK has the same fields. */
export const CR0 = {
  SMMUEN: bits(0),
  PRIQEN: bits(1),
  EVENTQEN: bits(2),
  CMDQEN: bits(3),
  ATSCHK: bits(4),
  VMW: bits(8, 6),
} as const;

/** §6.3.11 SMMU_CR1. */
export const CR1 = {
  QUEUE_IC: bits(1, 0),
  QUEUE_OC: bits(3, 2),
  QUEUE_SH: bits(5, 4),
  TABLE_IC: bits(7, 6),
  TABLE_OC: bits(9, 8),
  TABLE_SH: bits(11, 10),
} as const;

/** §6.3.12 SMMU_CR2. */
export const CR2 = {
  E2H: bits(0),
  RECINVSID: bits(1),
  PTM: bits(2),
  REC_CFG_ATS: bits(3),
} as const;

/** §6.3.14 SMMU_GBPA. */
export const GBPA = {
  MemAttr: bits(3, 0),
  MTCFG: bits(4),
  ALLOCCFG: bits(11, 8),
  SHCFG: bits(13, 12),
  PRIVCFG: bits(17, 16),
  INSTCFG: bits(19, 18),
  ABORT: bits(20),
  Update: bits(31),
} as const;

/** §6.3.16 SMMU_IRQ_CTRL; SMMU_IRQ_CTRLACK has the same fields. */
export const IRQ_CTRL = {
  GERROR_IRQEN: bits(0),
  PRIQ_IRQEN: bits(1),
  EVENTQ_IRQEN: bits(2),
} as const;

/** §6.3.19 SMMU_GERROR; SMMU_GERRORN has the same fields. An error is active while the two differ in its bit. */
export const GERROR = {
  CMDQ_ERR: bits(0),
  EVENTQ_ABT_ERR: bits(2),
  PRIQ_ABT_ERR: bits(3),
  MSI_CMDQ_ABT_ERR: bits(4),
  MSI_EVENTQ_ABT_ERR: bits(5),
  MSI_PRIQ_ABT_ERR: bits(6),
  MSI_GERROR_ABT_ERR: bits(7),
  SFM_ERR: bits(8),
} as const;

/** SMMU_GERROR_IRQ_CFG0 and SMMU_EVENTQ_IRQ_CFG0: the doorbell of an MSI; zero means none. §6.3.21, §6.3.30. */
export const IRQ_CFG0 = { ADDR: address(51, 2) } as const;

/** §6.3.24 SMMU_STRTAB_BASE. */
export const STRTAB_BASE = { ADDR: address(51, 6), RA: bits(62) } as const;

/** §6.3.25 SMMU_STRTAB_BASE_CFG. */
export const STRTAB_BASE_CFG = {
  LOG2SIZE: bits(5, 0),
  SPLIT: bits(10, 6),
  FMT: bits(17, 16),
} as const;

/** SMMU_CMDQ_BASE, SMMU_EVENTQ_BASE and SMMU_PRIQ_BASE. §6.3.26, §6.3.29, §6.3.33. */
export const QUEUE_BASE = { LOG2SIZE: bits(4, 0), ADDR: address(51, 5) } as const;

/** §6.3.27 SMMU_CMDQ_PROD. */
export const CMDQ_PROD = { WR: bits(19, 0) } as const;

/** §6.3.28 SMMU_CMDQ_CONS. */
export const CMDQ_CONS = { RD: bits(19, 0), ERR: bits(30, 24) } as const;

/** §6.3.95 SMMU_EVENTQ_PROD. */
export const EVENTQ_PROD = { WR: bits(19, 0), OVFLG: bits(31) } as const;

/** §6.3.96 SMMU_EVENTQ_CONS. */
export const EVENTQ_CONS = { RD: bits(19, 0), OVACKFLG: bits(31) } as const;

/** §6.3.36 SMMU_PRIQ_IRQ_CFG2; with LO=1 software is told of the last request of each group only. */
export const PRIQ_IRQ_CFG2 = { MemAttr: bits(3, 0), SH: bits(5, 4), LO: bits(31) } as const;

/** §6.3.97 SMMU_PRIQ_PROD. */
export const PRIQ_PROD = { WR: bits(19, 0), OVFLG: bits(31) } as const;

/** §6.3.98 SMMU_PRIQ_CONS. */
export const PRIQ_CONS = { RD: bits(19, 0), OVACKFLG: bits(31) } as const;

/** Values of CMDQ_CONS.ERR. §7.1 Command queue errors. */
export const CERROR = { NONE: 0, ILL: 1, ABT: 2, ATC_INV_SYNC: 3 } as const;
