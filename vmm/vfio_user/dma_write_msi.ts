/**
 * Messages to where no RAM is, such as a GIC's doorbell, sent by the client on our behalf.
 * @module
 */
import type { MsiPort } from "../../hw/device.ts";
import { Pinned } from "../../uapi/pinned.ts";
import { COMMAND, DMA_WRITE, FLAGS, HEADER } from "./protocol.ts";

/** Where a message that has no reply leaves. */
export interface Outlet {
  /** Sends the bytes or keeps them for later; false when neither can be done. */
  post(message: Uint8Array<ArrayBuffer>): boolean;
}

/**
 * A port that writes through the client of a function. QEMU gives such a write no requester: an ITS sees DeviceID 0.
 */
export class DmaWriteMsi implements MsiPort {
  readonly #message = new Pinned(DMA_WRITE.data + 4);
  #outlet: Outlet | undefined;
  #id = 0;

  /** A port without a client. */
  constructor() {
    const { view } = this.#message;
    view.setUint16(HEADER.command, COMMAND.DMA_WRITE, true);
    view.setUint32(HEADER.sizeBytes, view.byteLength, true);
    view.setUint32(HEADER.flags, FLAGS.REQUEST | FLAGS.NO_REPLY, true);
    this.#message.setU64(DMA_WRITE.count, 4);
  }

  /** Sends through `outlet` from now on; through nothing without one. */
  connect(outlet: Outlet | undefined): void {
    this.#outlet = outlet;
  }

  /** Sends `data`; false when no client is connected, or when it has left too many messages unread. */
  send(gpa: number, data: number): boolean {
    if (this.#outlet === undefined) return false;
    const { view } = this.#message;
    this.#id = (this.#id + 1) & 0xffff;
    view.setUint16(HEADER.id, this.#id, true);
    this.#message.setU64(DMA_WRITE.address, gpa);
    view.setUint32(DMA_WRITE.data, data, true);
    return this.#outlet.post(this.#message.bytes);
  }
}
