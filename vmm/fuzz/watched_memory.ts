/**
 * Guest memory that counts what the device does with it, and lets the guest's processors in between.
 * @module
 */
import { type Entry, type GuestMemory, GuestRam } from "../../hw/guest_memory.ts";
import { PIECE_SIZE, PLACE, RAM_SIZE, type Store } from "./step.ts";

/** Size of an event record in bytes, which nothing else that is stored has. */
const RECORD_SIZE = 32;

/** The memory of one machine. */
export class WatchedMemory implements GuestMemory {
  /** Accesses to structures since the last `begin`: what the device fetched, stored and exchanged. */
  accesses = 0;
  /** Where event records were written since then. */
  readonly records: number[] = [];
  readonly #ram = new GuestRam();
  readonly #pieces: Uint8Array[] = [];
  readonly #quad = new DataView(new ArrayBuffer(8));
  #raceAt = -1;
  #raceStores: readonly Store[] = [];

  /** All of it zero. */
  constructor() {
    for (
      const [gpa, size, writable] of [
        [PLACE.ram, RAM_SIZE, true],
        [PLACE.rom, PIECE_SIZE, false],
        [PLACE.high, PIECE_SIZE, true],
      ] as const
    ) {
      const piece = new Uint8Array(size);
      this.#pieces.push(piece);
      this.#ram.map(gpa, piece.buffer, writable);
    }
  }

  /** All of it zero again, but for tables that only the device cannot write. */
  clear(): void {
    for (const piece of this.#pieces) piece.fill(0);
    const rom = new DataView(this.#pieces[1].buffer);
    for (let at = 0; at < PIECE_SIZE; at += 8) {
      rom.setBigUint64(at, BigInt(PLACE.data) | 0x043n, true);
    }
  }

  /** A step begins, in which the guest stores before access `after` of the device. */
  begin(race?: { readonly after: number; readonly stores: readonly Store[] }): void {
    this.accesses = 0;
    this.records.length = 0;
    this.#raceAt = race?.after ?? -1;
    this.#raceStores = race?.stores ?? [];
  }

  /** The guest stores; where no memory is nothing happens. */
  put([gpa, value]: Store): void {
    this.#quad.setBigUint64(0, BigInt(`0x${value}`), true);
    this.#ram.write(gpa, new Uint8Array(this.#quad.buffer));
  }

  /** The guest loads a quad. */
  load(gpa: number): bigint {
    const bytes = new Uint8Array(8);
    this.#ram.read(gpa, bytes);
    return new DataView(bytes.buffer).getBigUint64(0, true);
  }

  fetch(gpa: number, into: Entry): boolean {
    this.#count();
    return this.#ram.fetch(gpa, into);
  }

  store(gpa: number, from: Entry): boolean {
    this.#count();
    if (from.bytes.length === RECORD_SIZE) this.records.push(gpa);
    return this.#ram.store(gpa, from);
  }

  store32(gpa: number, value: number): boolean {
    return this.#ram.store32(gpa, value);
  }

  compareExchange(gpa: number, expected: Entry, desired: Entry): number {
    this.#count();
    return this.#ram.compareExchange(gpa, expected, desired);
  }

  read(gpa: number, into: Uint8Array): boolean {
    return this.#ram.read(gpa, into);
  }

  write(gpa: number, from: Uint8Array): boolean {
    return this.#ram.write(gpa, from);
  }

  #count(): void {
    if (this.accesses++ !== this.#raceAt) return;
    for (const store of this.#raceStores) this.put(store);
  }
}
