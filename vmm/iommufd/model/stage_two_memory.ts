/**
 * Memory as a device sees it through an IOAS: addresses are IOVAs, and what is not mapped is not there.
 * @module
 */
import { type Entry, Exchange, type GuestMemory } from "../../../hw/guest_memory.ts";
import type { DirtyLog } from "./dirty_log.ts";
import type { IoPagetable } from "./io_pagetable.ts";

/** An area with its addresses as numbers, which physical ones of the model are. */
interface Span {
  readonly start: number;
  readonly end: number;
  readonly physical: number;
  readonly readable: boolean;
  readonly writable: boolean;
}

const NOWHERE: Span = {
  start: Infinity,
  end: Infinity,
  physical: 0,
  readable: false,
  writable: false,
};

/** The view of an IOAS. */
export class StageTwoMemory implements GuestMemory {
  /** Told of what is written. */
  readonly #dirty: DirtyLog | undefined;
  readonly #table: IoPagetable;
  readonly #memory: GuestMemory;
  #spans: readonly Span[] = [];
  #version = -1;
  #last = NOWHERE;

  /** Through `table` to `memory`, which has the physical addresses of the model. */
  constructor(table: IoPagetable, memory: GuestMemory, dirty?: DirtyLog) {
    this.#dirty = dirty;
    this.#table = table;
    this.#memory = memory;
  }

  fetch(iova: number, into: Entry): boolean {
    const at = this.#place(iova, into.bytes.length, false);
    return at >= 0 && this.#memory.fetch(at, into);
  }

  store(iova: number, from: Entry): boolean {
    const at = this.#place(iova, from.bytes.length, true);
    return at >= 0 && this.#memory.store(at, from);
  }

  store32(iova: number, value: number): boolean {
    const at = this.#place(iova, 4, true);
    return at >= 0 && this.#memory.store32(at, value);
  }

  compareExchange(iova: number, expected: Entry, desired: Entry): number {
    const at = this.#place(iova, 8, true);
    return at < 0 ? Exchange.Refused : this.#memory.compareExchange(at, expected, desired);
  }

  read(iova: number, into: Uint8Array): boolean {
    const at = this.#place(iova, into.length, false);
    if (at >= 0) return this.#memory.read(at, into);
    const head = this.#headBytes(iova, into.length);
    return head > 0 && this.read(iova + head, into.subarray(head)) &&
      this.read(iova, into.subarray(0, head));
  }

  write(iova: number, from: Uint8Array): boolean {
    const at = this.#place(iova, from.length, true);
    if (at >= 0) return this.#memory.write(at, from);
    const head = this.#headBytes(iova, from.length);
    return head > 0 && this.write(iova + head, from.subarray(head)) &&
      this.write(iova, from.subarray(0, head));
  }

  /** Physical address of a range inside one area, or -1. */
  #place(iova: number, sizeBytes: number, write: boolean): number {
    if (this.#version !== this.#table.version) this.#refresh();
    let span = this.#last;
    if (iova < span.start || iova + sizeBytes > span.end) {
      span = this.#spans.find(({ start, end }) => iova >= start && iova + sizeBytes <= end) ??
        NOWHERE;
      if (span === NOWHERE) return -1;
      this.#last = span;
    }
    if (!(write ? span.writable : span.readable)) return -1;
    if (write) this.#dirty?.mark(iova, sizeBytes);
    return span.physical + iova - span.start;
  }

  /** How much of a range lies in the area where it begins, when it goes on in another. */
  #headBytes(iova: number, sizeBytes: number): number {
    const span = this.#spans.find(({ start, end }) => iova >= start && iova < end);
    const head = span === undefined ? 0 : span.end - iova;
    return head < sizeBytes ? head : 0;
  }

  #refresh(): void {
    this.#version = this.#table.version;
    this.#last = NOWHERE;
    this.#spans = this.#table.areas.flatMap(({ start, last, pages, offset, readable, writable }) =>
      pages.physical === undefined ? [] : [{
        start: Number(start),
        end: Number(last) + 1,
        physical: pages.physical + Number(offset),
        // An IOMMU that may be written through may be read through.
        readable: readable || writable,
        writable,
      }]
    );
  }
}
