/**
 * Level 1 Stream Table Descriptor and Stream Table Entry. IHI 0070 §5.1, §5.2.
 * @module
 */
import { address, bits } from "../../bits.ts";

/** Size of a Level 1 Stream Table Descriptor, in bytes. */
export const L1STD_SIZE = 8;

/** §5.1 Level 1 Stream Table Descriptor. */
export const L1STD = { Span: bits(4, 0), L2Ptr: address(55, 6) } as const;

/** Size of a Stream Table Entry, in bytes. */
export const STE_SIZE = 64;

/** §5.2 Stream Table Entry: the fields of a Non-secure stream while IDR5.DS and IDR5.D128 are 0. */
export const STE = {
  V: bits(0),
  Config: bits(3, 1),
  S1Fmt: bits(5, 4),
  S1ContextPtr: address(55, 6),
  S1CDMax: bits(63, 59),
  S1DSS: bits(65, 64),
  S1CIR: bits(67, 66),
  S1COR: bits(69, 68),
  S1CSH: bits(71, 70),
  DRE: bits(76),
  CONT: bits(80, 77),
  DCP: bits(81),
  PPAR: bits(82),
  MEV: bits(83),
  S2FWB: bits(89),
  S1STALLD: bits(91),
  EATS: bits(93, 92),
  STRW: bits(95, 94),
  MemAttr: bits(99, 96),
  MTCFG: bits(100),
  ALLOCCFG: bits(104, 101),
  SHCFG: bits(109, 108),
  NSCFG: bits(111, 110),
  PRIVCFG: bits(113, 112),
  INSTCFG: bits(115, 114),
  S2VMID: bits(143, 128),
  S2T0SZ: bits(165, 160),
  S2SL0: bits(167, 166),
  S2IR0: bits(169, 168),
  S2OR0: bits(171, 170),
  S2SH0: bits(173, 172),
  S2TG: bits(175, 174),
  S2PS: bits(178, 176),
  S2AA64: bits(179),
  S2ENDI: bits(180),
  S2AFFD: bits(181),
  S2PTW: bits(182),
  S2HD: bits(183),
  S2HA: bits(184),
  S2S: bits(185),
  S2R: bits(186),
  S2TTB: address(243, 196),
} as const;

/** Values of STE.Config; with bit 2 clear every value aborts. */
export const Config = { Bypass: 0b100, Stage1: 0b101, Stage2: 0b110, Nested: 0b111 } as const;

/** Values of STE.S1Fmt other than a linear table. */
export const S1Fmt = { TwoLevel4K: 1, TwoLevel64K: 2 } as const;

/** Values of STE.EATS; 3 is reserved while IDR3.DPT is 0. */
export const EATS = { Disabled: 0b00, Full: 0b01, Split: 0b10 } as const;

/** Values of STE.STRW: the StreamWorld of a stream that only stage 1 translates. Values with bit 0 are reserved. */
export const STRW = { El1: 0b00, El2: 0b10 } as const;

/** Values of STE.S1DSS; 3 behaves as 0. What a transaction without SubstreamID does when there are substreams. */
export const S1DSS = { Terminate: 0, Bypass: 1, Substream0: 2 } as const;
