/**
 * Registers of a configuration space that was read as bytes. PCI Express Base 5.0 §7.5.
 *
 * What lies outside reads as zero, so that a length or a pointer that a device made up leads nowhere.
 * @module
 */

/** The byte at `offset`. */
export function byteAt(space: Uint8Array, offset: number): number {
  return space[offset] ?? 0;
}

/** The 16-bit little-endian register at `offset`. */
export function wordAt(space: Uint8Array, offset: number): number {
  return byteAt(space, offset) | byteAt(space, offset + 1) << 8;
}

/** The 32-bit little-endian register at `offset`, unsigned. */
export function dwordAt(space: Uint8Array, offset: number): number {
  return (wordAt(space, offset) | wordAt(space, offset + 2) << 16) >>> 0;
}

/** An offset as people write it: `0x0a0`. */
export function hexOffset(offset: number): string {
  return `0x${offset.toString(16).padStart(3, "0")}`;
}

/** The first and the last byte of a range as people write them: `0x1a0-0x1a7`. */
export function hexRange(first: number, end: number): string {
  return `${hexOffset(first)}-${hexOffset(end - 1)}`;
}
