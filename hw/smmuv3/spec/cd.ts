/**
 * Context Descriptors. IHI 0070 §5.3, §5.4.
 * @module
 */
import { address, bits } from "../../bits.ts";

/** Size of a Level 1 Context Descriptor, in bytes. */
export const L1CD_SIZE = 8;

/** §5.3 Level 1 Context Descriptor. */
export const L1CD = { V: bits(0), L2Ptr: address(55, 12) } as const;

/** Size of a Context Descriptor, in bytes. */
export const CD_SIZE = 64;

/** §5.4 Context Descriptor. */
export const CD = {
  T0SZ: bits(5, 0),
  TG0: bits(7, 6),
  IR0: bits(9, 8),
  OR0: bits(11, 10),
  SH0: bits(13, 12),
  EPD0: bits(14),
  ENDI: bits(15),
  T1SZ: bits(21, 16),
  TG1: bits(23, 22),
  IR1: bits(25, 24),
  OR1: bits(27, 26),
  SH1: bits(29, 28),
  EPD1: bits(30),
  V: bits(31),
  IPS: bits(34, 32),
  AFFD: bits(35),
  WXN: bits(36),
  UWXN: bits(37),
  TBI: bits(39, 38),
  PAN: bits(40),
  AA64: bits(41),
  HD: bits(42),
  HA: bits(43),
  S: bits(44),
  R: bits(45),
  A: bits(46),
  ASET: bits(47),
  ASID: bits(63, 48),
  NSCFG0: bits(64),
  HAD0: bits(65),
  TTB0: address(115, 68),
  NSCFG1: bits(128),
  HAD1: bits(129),
  TTB1: address(179, 132),
  MAIR0: bits(223, 192),
  MAIR1: bits(255, 224),
} as const;
