/**
 * Which pages endpoints have used since they were last invalidated: what a device could know of the guest's mappings.
 * @module
 */
import type { Scope } from "./naming.ts";

/** Beyond this the count stops growing, so that memory is bounded on any trace. */
const MOST_PAGES = 2 ** 20;

/** Pages of 4 KiB by ASID. */
export class LivePages {
  /** How many there are. */
  count = 0;
  /** The most that there were. */
  peak = 0;
  /** True when there were more than are counted. */
  isCut = false;
  readonly #pages = new Map<number, Set<number>>();

  /** Endpoints used `count` pages from page number `first` on. */
  use(asid: number, first: number, count: number): void {
    let pages = this.#pages.get(asid);
    if (pages === undefined) this.#pages.set(asid, pages = new Set());
    const before = pages.size;
    for (let page = first; page < first + count; page++) {
      if (this.count + pages.size - before >= MOST_PAGES) {
        this.isCut = true;
        break;
      }
      pages.add(page);
    }
    this.count += pages.size - before;
    this.peak = Math.max(this.peak, this.count);
  }

  /** The guest invalidated what `scope` says. */
  invalidate(scope: Scope): void {
    const { kind, asid, firstPage, pages } = scope;
    for (const [owner, live] of this.#pages) {
      if (asid >= 0 && asid !== owner) continue;
      const before = live.size;
      if (kind !== "va") live.clear();
      else drop(live, firstPage, pages);
      this.count -= before - live.size;
    }
  }

  /** Everything is gone. */
  clear(): void {
    this.#pages.clear();
    this.count = 0;
  }
}

/** Drops a range, along the shorter way. */
function drop(live: Set<number>, first: number, count: number): void {
  if (count <= live.size) {
    for (let page = first; page < first + count; page++) live.delete(page);
  } else {
    for (const page of live) if (page >= first && page < first + count) live.delete(page);
  }
}
