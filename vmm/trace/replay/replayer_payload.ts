/**
 * The endpoint's side of a DMA in a replay: a buffer, and what the recording had in it.
 * @module
 */
import { crc32 } from "node:zlib";

/** One buffer for all operations, as clearing new ones would take longer than the device. */
export class Payload {
  #buffer = new Uint8Array(2 ** 17);
  #recorded: Uint8Array | undefined;

  /** Whether the recording has what this operation moved. */
  get isRecorded(): boolean {
    return this.#recorded !== undefined;
  }

  /** The next operation moves something of which the recording has this, as base64. */
  begin(recorded: string | undefined): void {
    this.#recorded = recorded === undefined ? undefined : Uint8Array.fromBase64(recorded);
  }

  /** A buffer for so many bytes; with `isWritten`, what was recorded is in it. */
  bytes(sizeBytes: number, isWritten: boolean): Uint8Array {
    if (sizeBytes > this.#buffer.length) this.#buffer = new Uint8Array(sizeBytes);
    if (isWritten && this.#recorded !== undefined) this.#buffer.set(this.#recorded);
    return this.#buffer.subarray(0, sizeBytes);
  }

  /** Puts what was recorded into a part of the buffer; returns its checksum. */
  supply(into: Uint8Array): number {
    const from = into.byteOffset - this.#buffer.byteOffset;
    const part = this.#recorded?.subarray(from, from + into.length);
    if (part?.length === into.length) into.set(part);
    return this.sum(into);
  }

  /** The checksum of payload; nothing where it was not recorded. */
  sum(bytes: Uint8Array): number {
    return this.#recorded === undefined ? 0 : crc32(bytes);
  }
}
