/**
 * How far a hostile guest gets: one that only meets refusals proves little.
 * @module
 */
import type { Observer } from "../../hw/smmuv3/observer.ts";

/** Counts what a device does. */
export class Reach implements Observer {
  /** Commands that were executed, by opcode. */
  readonly commands: number[] = new Array(256).fill(0);
  /** Commands that were refused. */
  refused = 0;
  /** Event records by number, written or not. */
  readonly events: number[] = new Array(256).fill(0);
  /** Of those, records of stalls. */
  stalls = 0;
  /** Pages by how they were translated, as `Translation` has it. */
  readonly translations: number[] = [0, 0, 0, 0];
  /** Interrupts. */
  interrupts = 0;

  command(words: Uint32Array, error: number): void {
    if (error === 0) this.commands[words[0] & 0xff]++;
    else this.refused++;
  }

  translation(_requester: unknown, how: number): void {
    this.translations[how]++;
  }

  transfer(): void {}

  event(words: Uint32Array): void {
    this.events[words[0] & 0xff]++;
    if (words[2] >>> 31 === 1) this.stalls++;
  }

  interrupt(): void {
    this.interrupts++;
  }
}
