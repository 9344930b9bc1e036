/**
 * How often a guest left for its SMMU while it measured its mappings.
 * @module
 */
import type { ExitsOfMapping } from "../bench/guest_table.ts";
import { GuestConsole } from "../provision/guest_console.ts";

/** Watches a guest by its console. */
export class UnmapExits {
  /** What was seen. */
  readonly seen: ExitsOfMapping[] = [];
  readonly #console = new GuestConsole();
  readonly #count: () => number;
  readonly #seconds: number;
  #before = 0;

  /** By the `count` of exits up to now, in a guest that measures each kind for so many seconds. */
  constructor(count: () => number, seconds: number) {
    this.#count = count;
    this.#seconds = seconds;
  }

  /** Takes a line. */
  line(line: string): void {
    const event = this.#console.push(line);
    if (event?.kind === "run") this.#before = this.#count();
    if (event?.kind !== "map") return;
    const { threads, pages, isScattered, mapUs, unmapUs } = event;
    const now = this.#count();
    const unmaps = threads * this.#seconds * 1e6 / (mapUs + unmapUs);
    this.seen.push({ threads, pages, isScattered, exits: now - this.#before, unmaps });
    this.#before = now;
  }
}
