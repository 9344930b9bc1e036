/**
 * The way of a device to memory that has no stage 1: its addresses are IOVAs of the IOAS.
 * @module
 */
import type { DmaPort, MsiPort, Requester } from "../../../hw/device.ts";
import type { GuestMemory } from "../../../hw/guest_memory.ts";
import { type Observer, Translation } from "../../../hw/smmuv3/observer.ts";

/** DMA without translation but that of the IOAS. */
export class StageTwoPort implements DmaPort {
  readonly #memory: GuestMemory;
  readonly #msi: MsiPort | undefined;
  readonly #observer: Observer | undefined;

  /** To `memory`; messages to where none is go to `msi`. */
  constructor(memory: GuestMemory, msi: MsiPort | undefined, observer: Observer | undefined) {
    this.#memory = memory;
    this.#msi = msi;
    this.#observer = observer;
  }

  read(requester: Requester, lo: number, hi: number, into: Uint8Array): boolean {
    return this.#done(requester, this.#memory.read(address(lo, hi), into), false, into.length);
  }

  write(requester: Requester, lo: number, hi: number, from: Uint8Array): boolean {
    return this.#done(requester, this.#memory.write(address(lo, hi), from), true, from.length);
  }

  message(requester: Requester, lo: number, hi: number, data: number): boolean {
    this.#observer?.translation(requester, Translation.Bypass);
    const at = address(lo, hi);
    return this.#memory.store32(at, data) || (this.#msi?.send(at, data) ?? false);
  }

  #done(requester: Requester, isDone: boolean, write: boolean, sizeBytes: number): boolean {
    this.#observer?.translation(requester, isDone ? Translation.Bypass : Translation.Fault);
    if (isDone) this.#observer?.transfer(requester, write, sizeBytes);
    return isDone;
  }
}

function address(lo: number, hi: number): number {
  return hi * 0x1_0000_0000 + lo;
}
