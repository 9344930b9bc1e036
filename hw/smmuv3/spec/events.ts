/**
 * Event records: numbers, and fields by their bits in the 256-bit record. IHI 0070 §7.3 Event records.
 * @module
 */
import { bits } from "../../bits.ts";

/** Size of an event record, in bytes. */
export const EVENT_SIZE = 32;

/** Event numbers of the faults and configuration errors that this device can meet. */
export const EVENT = {
  C_BAD_STREAMID: 0x02,
  F_STE_FETCH: 0x03,
  C_BAD_STE: 0x04,
  F_BAD_ATS_TREQ: 0x05,
  F_STREAM_DISABLED: 0x06,
  F_TRANSL_FORBIDDEN: 0x07,
  C_BAD_SUBSTREAMID: 0x08,
  F_CD_FETCH: 0x09,
  C_BAD_CD: 0x0a,
  F_WALK_EABT: 0x0b,
  F_TRANSLATION: 0x10,
  F_ADDR_SIZE: 0x11,
  F_ACCESS: 0x12,
  F_PERMISSION: 0x13,
} as const;

/** Fields of event records; which of them a record has depends on its number. */
export const RECORD = {
  ID: bits(7, 0),
  SSV: bits(11),
  SubstreamID: bits(31, 12),
  StreamID: bits(63, 32),
  Reason: bits(79, 64),
  Stall: bits(95),
  PnU: bits(97),
  InD: bits(98),
  RnW: bits(99),
  S2: bits(103),
  CLASS: bits(105, 104),
  TTRnW: bits(108),
  InputAddrLow: bits(159, 128),
  InputAddrHigh: bits(191, 160),
  /** FetchAddr or IPA. */
  FetchAddrLow: bits(223, 192),
  FetchAddrHigh: bits(255, 224),
} as const;

/** In place of Reason, in records with Stall=1. */
export const STALL_RECORD = { STAG: bits(79, 64) } as const;

/** In records of F_BAD_ATS_TREQ: how many units were asked for, and to do what. The address has no bits below 12. */
export const BAD_ATS_RECORD = {
  Span: bits(67, 64),
  PRIV: bits(92),
  X: bits(93),
  W: bits(94),
  R: bits(95),
} as const;

/** Values of RECORD.CLASS: what was being translated. */
export const CLASS = { CD: 0, TT: 1, IN: 2 } as const;
