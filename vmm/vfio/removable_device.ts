/**
 * Registers of a function that may be taken from its guest: then all of them read as ones, and writes go nowhere, as where
 * nothing answers. PCI Express Base §2.3.1, "Request Handling Rules".
 * @module
 */
import type { MmioDevice } from "../../hw/device.ts";

/** Whether a function is there. */
export interface Presence {
  readonly isThere: boolean;
}

/** The registers of `inner`, as long as its function is there. */
export class RemovableDevice implements MmioDevice {
  readonly #inner: MmioDevice;
  readonly #presence: Presence;

  /** Nothing of `inner` is used any more once `presence` says that it is not there. */
  constructor(inner: MmioDevice, presence: Presence) {
    this.#inner = inner;
    this.#presence = presence;
  }

  read(offset: number, into: Uint8Array): void {
    if (this.#presence.isThere) this.#inner.read(offset, into);
    else into.fill(0xff);
  }

  write(offset: number, from: Uint8Array): void {
    if (this.#presence.isThere) this.#inner.write(offset, from);
  }
}
