/**
 * What memory holds when a program begins: quads by address, and places that are still free.
 * @module
 */
import type { AddressField, Field } from "../../hw/bits.ts";
import { PLACE } from "./ground.ts";

/** Memory that is being made. */
export class Image {
  readonly #quads = new Map<number, bigint>();
  readonly #notes = new Map<number, string>();
  #next: number = PLACE.tables;
  #nextPage: number = PLACE.data;

  /** The quads that are not zero by address, in the order in which they were stored first. */
  get quads(): ReadonlyMap<number, bigint> {
    return this.#quads;
  }

  /** What is special about the quad at `gpa`; empty for most. */
  noteAt(gpa: number): string {
    return this.#notes.get(gpa) ?? "";
  }

  /** Says what is special about the quad at `gpa`, besides what was said before. */
  note(gpa: number, text: string): void {
    const before = this.noteAt(gpa);
    this.#notes.set(gpa, before === "" ? text : `${before}, ${text}`);
  }

  /** Takes a note back. */
  unnote(gpa: number, text: string): void {
    const notes = this.noteAt(gpa).split(", ");
    const at = notes.lastIndexOf(text);
    if (at >= 0) notes.splice(at, 1);
    this.#notes.set(gpa, notes.join(", "));
  }

  /** The quad at `gpa`. */
  load(gpa: number): bigint {
    return this.#quads.get(gpa) ?? 0n;
  }

  /** Replaces the quad at `gpa`. */
  store(gpa: number, value: bigint): void {
    this.#quads.set(gpa, BigInt.asUintN(64, value));
  }

  /** Replaces a field of the structure at `gpa`; of an address its low bits are dropped. */
  set(gpa: number, field: Field | AddressField, value: number | bigint): void {
    const at = gpa + Math.floor(field.low / 64) * 8;
    const low = BigInt(field.low % 64);
    const mask = ((1n << BigInt(field.high - field.low + 1)) - 1n) << low;
    const shifted = "shift" in field ? BigInt(value) << low : BigInt(value);
    this.store(at, (this.load(at) & ~mask) | (shifted & mask));
  }

  /** The value of a field of the structure at `gpa`. */
  get(gpa: number, field: Field): number {
    const quad = this.load(gpa + Math.floor(field.low / 64) * 8);
    return Number((quad >> BigInt(field.low % 64)) & BigInt(field.mask));
  }

  /** A place for tables of this size and alignment; undefined when there is none left. */
  place(sizeBytes: number): number | undefined {
    const gpa = Math.ceil(this.#next / sizeBytes) * sizeBytes;
    if (gpa + sizeBytes > PLACE.tablesEnd) return undefined;
    this.#next = gpa + sizeBytes;
    return gpa;
  }

  /** A page of data of this size; they are reused when all are in use. */
  page(sizeBytes: number): number {
    let gpa = Math.ceil(this.#nextPage / sizeBytes) * sizeBytes;
    if (gpa + sizeBytes > PLACE.copies) gpa = PLACE.data;
    this.#nextPage = gpa + sizeBytes;
    return gpa;
  }
}
