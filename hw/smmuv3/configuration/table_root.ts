/**
 * The geometry of translation tables: where a walk starts, and how many bits each level resolves.
 * Arm ARM (DDI 0487) D8.2 Translation process.
 * @module
 */
import { OUTPUT_HIGH_MASK, OUTPUT_WIDE_MASK } from "../spec/descriptors.ts";

/** A tree of tables that translates some range of input addresses. */
export interface TableRoot {
  /** True when its walks are disabled: every access faults. CD.EPDx. */
  readonly disabled: boolean;
  /** log2 of the granule in bytes. */
  readonly log2granule: number;
  /** Significant bits of an input address: 64 - TxSZ. */
  readonly inputBits: number;
  /** Address of the first table, or of the first of several concatenated ones, in bytes, aligned down to their size. */
  readonly gpa: number;
  /** Level at which the walk starts. */
  readonly firstLevel: number;
  /** Lowest bit of the input address that indexes the first table. */
  readonly firstShift: number;
  /** Mask of the index into the first table. */
  readonly firstIndexMask: number;
  /** Bits of an input address that each table resolves. */
  readonly stride: number;
  /** Mask of the index into every other table. */
  readonly indexMask: number;
  /** Bits of a descriptor's low word that belong to the address of a table. */
  readonly tableMask: number;
  /** Bits of a descriptor's low word that are bits 51:48 of an address; 0 where addresses have 48. */
  readonly wideMask: number;
  /** log2 of the largest block in bytes. */
  readonly largestBlock: number;
  /** True when permissions of table descriptors are ignored. CD.HADx. */
  readonly flat: boolean;
}

/** What tables are chosen by. */
export interface TableChoice {
  /** True when walks are disabled. */
  readonly disabled: boolean;
  /** log2 of the granule in bytes; 0 for a reserved encoding. */
  readonly log2granule: number;
  /** Significant bits of an input address. */
  readonly inputBits: number;
  /** Address of the first table. */
  readonly ttb: number;
  /** True when permissions of table descriptors are ignored. */
  readonly flat: boolean;
  /** Level at which to start; by default the highest that the input needs. */
  readonly firstLevel?: number;
}

/** Granules by STE.S2TG and CD.TG0, as log2; 0 is reserved. */
export const TG0: readonly number[] = [12, 16, 14, 0];
/** Granules by CD.TG1, as log2; 0 is reserved. */
export const TG1: readonly number[] = [0, 14, 12, 16];

/** Bits of an input address that a level resolves, by granule. */
export function strideOf(log2granule: number): number {
  return log2granule - 3;
}

/** The geometry of a choice, on a device with addresses of `oas` bits, of which `outputBits` are in use. */
export function tableRoot(choice: TableChoice, oas: number, outputBits: number): TableRoot {
  const { disabled, log2granule, inputBits, ttb, flat } = choice;
  const stride = strideOf(log2granule);
  const levels = choice.firstLevel === undefined
    ? Math.max(Math.ceil((inputBits - log2granule) / stride), 1)
    : 4 - choice.firstLevel;
  const firstShift = log2granule + (levels - 1) * stride;
  const count = 2 ** (inputBits - firstShift);
  const isWide = log2granule === 16 && oas === 52;
  // D8.2.2: with addresses of 52 bits no table is aligned to less than 64 bytes.
  const alignment = Math.max(count * 8, outputBits === 52 ? 64 : 1);
  return {
    disabled,
    log2granule,
    inputBits,
    gpa: ttb - ttb % alignment,
    firstLevel: 4 - levels,
    firstShift,
    firstIndexMask: count - 1,
    stride,
    indexMask: (1 << stride) - 1,
    tableMask: -1 << log2granule,
    wideMask: isWide ? OUTPUT_WIDE_MASK : 0,
    largestBlock: log2granule + stride * (log2granule === 12 || isWide ? 2 : 1),
    flat,
  };
}

/** A tree that translates nothing. */
export const NO_ROOT: TableRoot = tableRoot(
  { disabled: true, log2granule: 12, inputBits: 48, ttb: 0, flat: false },
  48,
  48,
);

/** Bits of an address's high word that lie beyond `outputBits`. */
export function beyond(outputBits: number): number {
  return (OUTPUT_HIGH_MASK | 0xf_0000) & ~(2 ** (outputBits - 32) - 1);
}
