/**
 * Bit fields as data: declared once by the manual's absolute bit numbers, read and written with plain functions.
 *
 * A structure is an array of 32-bit little-endian words; bit 0 of the structure is bit 0 of word 0.
 *
 * ```ts
 * import { bits, get, set } from "./bits.ts";
 * const STE = { V: bits(0), Config: bits(3, 1) } as const;
 * const words = new Uint32Array(16);
 * set(words, STE.Config, 0b101);
 * console.assert(get(words, STE.Config) === 0b101);
 * ```
 * @module
 */

/** A field inside one 32-bit word of a structure. */
export interface Field {
  /** Highest bit, counted from bit 0 of the structure. */
  readonly high: number;
  /** Lowest bit, counted from bit 0 of the structure. */
  readonly low: number;
  /** Index of the 32-bit word that holds the field. */
  readonly word: number;
  /** Position of the field inside that word. */
  readonly shift: number;
  /** Mask of the field's width, before shifting. */
  readonly mask: number;
}

/** An address whose low bits are implied zero; it may cross words. Read as a `number` of at most 52 bits. */
export interface AddressField {
  /** Highest bit, counted from bit 0 of the structure. */
  readonly high: number;
  /** Lowest bit, counted from bit 0 of the structure. */
  readonly low: number;
  /** Index of the low 32-bit word. */
  readonly word: number;
  /** Bits of the low word that belong to the address. */
  readonly lowMask: number;
  /** Bits of the high word that belong to the address. */
  readonly highMask: number;
}

/** Declares a field from `high` down to `low`; throws at load when it would cross a 32-bit word. */
export function bits(high: number, low: number = high): Field {
  const word = low >>> 5;
  if (high < low || high >>> 5 !== word) {
    throw new RangeError(`Field [${high}:${low}] does not fit one 32-bit word`);
  }
  const width = high - low + 1;
  return { high, low, word, shift: low & 31, mask: width === 32 ? 0xffff_ffff : (1 << width) - 1 };
}

/** Declares an address field inside one aligned 64-bit quad, such as `address(55, 6)`; bits below `low` read as zero. */
export function address(high: number, low: number): AddressField {
  if (high < low || high >>> 6 !== low >>> 6 || (low & 63) > 31 || (high & 63) < 32) {
    throw new RangeError(`Address [${high}:${low}] does not fit one 64-bit quad`);
  }
  return {
    high,
    low,
    word: (low >>> 6) * 2,
    lowMask: (-1 << (low & 63)) >>> 0,
    highMask: ((2 << (high & 31)) - 1) >>> 0,
  };
}

/** The value of a field, unsigned. */
export function get(words: Uint32Array, field: Field): number {
  return ((words[field.word] >>> field.shift) & field.mask) >>> 0;
}

/** Replaces a field; bits of `value` beyond the field's width are dropped. */
export function set(words: Uint32Array, field: Field, value: number): void {
  const mask = field.mask << field.shift;
  words[field.word] = (words[field.word] & ~mask) | ((value << field.shift) & mask);
}

/** The address in a field, as a byte address; exact up to 52 bits. */
export function getAddress(words: Uint32Array, field: AddressField): number {
  const lo = (words[field.word] & field.lowMask) >>> 0;
  const hi = words[field.word + 1] & field.highMask;
  return hi * 0x1_0000_0000 + lo;
}

/** Replaces an address; bits outside the field are dropped. */
export function setAddress(words: Uint32Array, field: AddressField, value: number): void {
  const lo = value % 0x1_0000_0000;
  const hi = Math.floor(value / 0x1_0000_0000);
  words[field.word] = (words[field.word] & ~field.lowMask) | (lo & field.lowMask);
  words[field.word + 1] = (words[field.word + 1] & ~field.highMask) | (hi & field.highMask);
}

/** The mask of a field within its own word, for write masks of registers. */
export function maskOf(...fields: readonly Field[]): number {
  return fields.reduce((mask, field) => mask | (field.mask << field.shift), 0) >>> 0;
}
