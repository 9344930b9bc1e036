/**
 * Access flag and dirty state, set in a guest's descriptors atomically. IHI 0070 §3.13, DDI 0487 D8.5 Hardware updates.
 * @module
 */
import { Entry, Exchange, type GuestMemory } from "../../guest_memory.ts";
import { EVENT } from "../spec/events.ts";
import { DESCRIPTOR_SIZE } from "../spec/descriptors.ts";

/** No event: the descriptor has changed since it was read, and the walk has to start again. */
export const CHANGED = -1;
/** How often a walk starts again because of that, before it is an external abort: no guest keeps us here. */
export const MOST_RETRIES = 64;

/** Updates descriptors. */
export class DescriptorUpdate {
  readonly #memory: GuestMemory;
  readonly #desired = new Entry(DESCRIPTOR_SIZE);

  /** Of tables in `memory`. */
  constructor(memory: GuestMemory) {
    this.#memory = memory;
  }

  /**
   * Sets and clears bits of the low word of the descriptor at `gpa`, if it still is as it was read. Returns 0, `CHANGED`,
   * or F_WALK_EABT when it cannot be written.
   */
  apply(gpa: number, read: Entry, set: number, clear: number): number {
    const { words } = this.#desired;
    words[0] = (read.words[0] | set) & ~clear;
    words[1] = read.words[1];
    switch (this.#memory.compareExchange(gpa, read, this.#desired)) {
      case Exchange.Done:
        return 0;
      case Exchange.Changed:
        return CHANGED;
      default:
        return EVENT.F_WALK_EABT;
    }
  }
}
