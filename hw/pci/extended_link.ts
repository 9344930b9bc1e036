/**
 * Pointers of the extended capability list. PCI Express Base 5.0 §7.6.3.
 * @module
 */
import { byteAt } from "./config_bytes.ts";
import { fixedRun, type PatchRun } from "./space_patch.ts";

/** The four bytes of a header. */
export function extendedHeader(id: number, version: number, next: number): Uint8Array {
  return Uint8Array.of(id, id >>> 8, version | (next & 0xf) << 4, next >>> 4);
}

/** Makes the capability at `offset` point to `next`, 0 for none; its ID and version stay. */
export function linkTo(space: Uint8Array, offset: number, next: number): PatchRun {
  const version = byteAt(space, offset + 2) & 0xf;
  return fixedRun(offset + 2, Uint8Array.of(version | (next & 0xf) << 4, next >>> 4));
}
