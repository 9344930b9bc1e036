/**
 * Guest RAM as the device sees it: records, words and bytes by guest physical address, with bounds.
 *
 * The guest writes its memory while we read it. Each record is therefore copied once, quad by quad (each quad
 * single-copy atomic, IHI 0070 §3.21), and decoded from the copy.
 * @module
 */

/** A fixed-size record of guest memory: the same bytes as 64-bit quads, 32-bit words and bytes. */
export class Entry {
  /** 64-bit view; the unit of atomicity. */
  readonly quads: BigUint64Array;
  /** 32-bit view; the unit of decoding. */
  readonly words: Uint32Array;
  /** Byte view. */
  readonly bytes: Uint8Array;

  /** An entry of `sizeBytes` zero bytes; a multiple of 8. */
  constructor(sizeBytes: number) {
    const buffer = new ArrayBuffer(sizeBytes);
    this.quads = new BigUint64Array(buffer);
    this.words = new Uint32Array(buffer);
    this.bytes = new Uint8Array(buffer);
  }
}

/** What came of a compare-and-exchange. */
export const Exchange = {
  /** Memory had what was expected, and has the new value. */
  Done: 0,
  /** Memory had something else, and still has it. */
  Changed: 1,
  /** There is no writable RAM, or the address is not aligned. */
  Refused: 2,
} as const;

/**
 * What the device may do with guest memory. Methods that return a boolean return false, having changed nothing, when any
 * byte of the range is not RAM (or, for stores, not writable) or when an aligned access is not aligned to its unit.
 */
export interface GuestMemory {
  /** Copies a record at `gpa` (8-byte aligned) into `into`, each quad atomically. */
  fetch(gpa: number, into: Entry): boolean;
  /** Copies a record to `gpa` (8-byte aligned), each quad atomically. */
  store(gpa: number, from: Entry): boolean;
  /** Stores one 32-bit word at `gpa` (4-byte aligned), after everything stored before it: it may be a message. */
  store32(gpa: number, value: number): boolean;
  /**
   * Replaces one quad at `gpa` (8-byte aligned) by `desired` if it is `expected`, both entries of 8 bytes, atomically with
   * respect to the guest's processors. Returns one of `Exchange`.
   */
  compareExchange(gpa: number, expected: Entry, desired: Entry): number;
  /** Copies bytes from `gpa`. */
  read(gpa: number, into: Uint8Array): boolean;
  /** Copies bytes to `gpa`. */
  write(gpa: number, from: Uint8Array): boolean;
}

/** One contiguous piece of RAM. */
class Slot {
  readonly gpa: number;
  readonly end: number;
  readonly writable: boolean;
  readonly quads: BigUint64Array;
  readonly words: Uint32Array;
  readonly bytes: Uint8Array;

  constructor(gpa: number, buffer: ArrayBufferLike, writable: boolean) {
    this.gpa = gpa;
    this.end = gpa + buffer.byteLength;
    this.writable = writable;
    this.quads = new BigUint64Array(buffer);
    this.words = new Uint32Array(buffer);
    this.bytes = new Uint8Array(buffer);
  }
}

const NOTHING = new Slot(Number.POSITIVE_INFINITY, new ArrayBuffer(0), false);

/**
 * RAM made of buffers: plain arrays in tests and embedders, mapped shared memory in a VMM.
 *
 * ```ts
 * import { Entry, GuestRam } from "./guest_memory.ts";
 * const ram = new GuestRam();
 * ram.map(0x4000_0000, new ArrayBuffer(0x1000));
 * const record = new Entry(16);
 * console.assert(ram.fetch(0x4000_0ff0, record) && !ram.fetch(0x4000_0ff8, record));
 * ```
 */
export class GuestRam implements GuestMemory {
  #slots: readonly Slot[] = [];
  #last: Slot = NOTHING;

  /**
   * Adds RAM at `gpa` (page aligned); the buffer's length, a multiple of 8, is its size.
   * Returns false when the range overlaps RAM that is already there.
   */
  map(gpa: number, buffer: ArrayBufferLike, writable: boolean = true): boolean {
    const slot = new Slot(gpa, buffer, writable);
    if (this.#slots.some((other) => slot.gpa < other.end && other.gpa < slot.end)) return false;
    this.#slots = [...this.#slots, slot].sort((a, b) => a.gpa - b.gpa);
    return true;
  }

  /** Removes the RAM that starts at `gpa`; afterwards nothing here refers to its buffer. Returns false if there is none. */
  unmap(gpa: number): boolean {
    const rest = this.#slots.filter((slot) => slot.gpa !== gpa);
    const found = rest.length < this.#slots.length;
    this.#slots = rest;
    this.#last = NOTHING;
    return found;
  }

  /** Total RAM in bytes. */
  get sizeBytes(): number {
    return this.#slots.reduce((sum, slot) => sum + slot.end - slot.gpa, 0);
  }

  /** Copies a record from `gpa`, quad by quad; false when that is not aligned, or not in one piece of RAM. */
  fetch(gpa: number, into: Entry): boolean {
    const to = into.quads;
    const slot = this.#find(gpa, to.length * 8);
    if (slot === undefined || (gpa & 7) !== 0) return false;
    const from = slot.quads;
    const first = (gpa - slot.gpa) / 8;
    to[0] = from[first];
    for (let i = 1; i < to.length; i++) to[i] = from[first + i];
    return true;
  }

  /** Copies a record to `gpa`, quad by quad; false when that is not aligned, or not in one piece of writable RAM. */
  store(gpa: number, from: Entry): boolean {
    const slot = this.#find(gpa, from.bytes.length);
    if (slot === undefined || !slot.writable || (gpa & 7) !== 0) return false;
    const to = slot.quads;
    const first = (gpa - slot.gpa) / 8;
    for (let i = 0; i < from.quads.length; i++) to[first + i] = from.quads[i];
    return true;
  }

  /** Stores a word at `gpa`; false when that is not aligned, or no writable RAM. */
  store32(gpa: number, value: number): boolean {
    const slot = this.#find(gpa, 4);
    if (slot === undefined || !slot.writable || (gpa & 3) !== 0) return false;
    Atomics.store(slot.words, (gpa - slot.gpa) / 4, value);
    return true;
  }

  /** Replaces a quad at `gpa` if it is what is expected. Returns one of `Exchange`. */
  compareExchange(gpa: number, expected: Entry, desired: Entry): number {
    const slot = this.#find(gpa, 8);
    if (slot === undefined || !slot.writable || (gpa & 7) !== 0) return Exchange.Refused;
    const index = (gpa - slot.gpa) / 8;
    const old = expected.quads[0];
    const found = Atomics.compareExchange(slot.quads, index, old, desired.quads[0]);
    return found === old ? Exchange.Done : Exchange.Changed;
  }

  /** Copies bytes from `gpa`, across neighbouring pieces of RAM too; false when a byte is not RAM. */
  read(gpa: number, into: Uint8Array): boolean {
    const slot = this.#find(gpa, into.length);
    if (slot === undefined) {
      const head = this.#headBytes(gpa, false);
      return head > 0 && this.read(gpa + head, into.subarray(head)) &&
        this.read(gpa, into.subarray(0, head));
    }
    const first = gpa - slot.gpa;
    into.set(slot.bytes.subarray(first, first + into.length));
    return true;
  }

  /** Copies bytes to `gpa`, across neighbouring pieces of RAM too; false when a byte is not writable RAM. */
  write(gpa: number, from: Uint8Array): boolean {
    const slot = this.#find(gpa, from.length);
    if (slot === undefined) {
      const head = this.#headBytes(gpa, true);
      return head > 0 && this.write(gpa + head, from.subarray(head)) &&
        this.write(gpa, from.subarray(0, head));
    }
    if (!slot.writable) return false;
    slot.bytes.set(from, gpa - slot.gpa);
    return true;
  }

  /** How many bytes of an access at `gpa` lie in its first slot. The rest is done before, as only it can fail. */
  #headBytes(gpa: number, write: boolean): number {
    const slot = this.#slots.find((slot) => gpa >= slot.gpa && gpa < slot.end);
    return slot === undefined || (write && !slot.writable) ? 0 : slot.end - gpa;
  }

  #find(gpa: number, sizeBytes: number): Slot | undefined {
    const last = this.#last;
    return gpa >= last.gpa && gpa + sizeBytes <= last.end ? last : this.#search(gpa, sizeBytes);
  }

  #search(gpa: number, sizeBytes: number): Slot | undefined {
    const slot = this.#slots.find((slot) => gpa >= slot.gpa && gpa + sizeBytes <= slot.end);
    if (slot !== undefined) this.#last = slot;
    return slot;
  }
}
