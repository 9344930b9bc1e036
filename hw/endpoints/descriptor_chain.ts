/**
 * One request of a driver: a part the device reads, then a part it writes. Virtio 1.2 §2.7.4, §2.7.5.
 * @module
 */
import type { DmaPort, Requester } from "../device.ts";

/** The buffers of one descriptor chain, gathered; reads and writes them by byte offset as if each part were one piece. */
export class DescriptorChain {
  readonly #requester: Requester;
  readonly #dma: DmaPort;
  readonly #lo: Uint32Array;
  readonly #hi: Uint32Array;
  readonly #sizes: Uint32Array;
  #limit = 0;
  #count = 0;
  #readableCount = 0;
  #readableBytes = 0;
  #writableBytes = 0;

  /** A chain of at most `capacity` buffers. */
  constructor(requester: Requester, dma: DmaPort, capacity: number) {
    this.#requester = requester;
    this.#dma = dma;
    this.#lo = new Uint32Array(capacity);
    this.#hi = new Uint32Array(capacity);
    this.#sizes = new Uint32Array(capacity);
  }

  /** Bytes of the part that the device reads. */
  get readableBytes(): number {
    return this.#readableBytes;
  }

  /** Bytes of the part that the device writes. */
  get writableBytes(): number {
    return this.#writableBytes;
  }

  /** Empties the chain; it will take `limit` buffers, at most its capacity. */
  clear(limit: number): void {
    this.#limit = limit;
    this.#count = 0;
    this.#readableCount = 0;
    this.#readableBytes = 0;
    this.#writableBytes = 0;
  }

  /**
   * Appends a buffer at an IOVA. False when the chain is full, the buffer has no bytes, or one that the device reads
   * follows one that it writes (§2.7.4.2).
   */
  append(lo: number, hi: number, sizeBytes: number, writable: boolean): boolean {
    const at = this.#count;
    if (at >= this.#limit || sizeBytes === 0) return false;
    if (writable) {
      this.#writableBytes += sizeBytes;
    } else {
      if (this.#readableCount !== at) return false;
      this.#readableCount++;
      this.#readableBytes += sizeBytes;
    }
    this.#lo[at] = lo;
    this.#hi[at] = hi;
    this.#sizes[at] = sizeBytes;
    this.#count++;
    return true;
  }

  /** Reads bytes at `offset` of the readable part; false beyond its end or when a DMA was aborted. */
  read(offset: number, into: Uint8Array): boolean {
    return this.#copy(0, this.#readableCount, offset, into, false);
  }

  /** Writes bytes at `offset` of the writable part; false beyond its end or when a DMA was aborted. */
  write(offset: number, from: Uint8Array): boolean {
    return this.#copy(this.#readableCount, this.#count, offset, from, true);
  }

  #copy(first: number, end: number, offset: number, bytes: Uint8Array, write: boolean): boolean {
    let skip = offset;
    let done = 0;
    for (let i = first; i < end && done < bytes.length; i++) {
      const size = this.#sizes[i];
      if (skip >= size) {
        skip -= size;
        continue;
      }
      const length = Math.min(size - skip, bytes.length - done);
      const piece = length === bytes.length ? bytes : bytes.subarray(done, done + length);
      const sum = this.#lo[i] + skip;
      const hi = sum > 0xffff_ffff ? (this.#hi[i] + 1) >>> 0 : this.#hi[i];
      const ok = write
        ? this.#dma.write(this.#requester, sum >>> 0, hi, piece)
        : this.#dma.read(this.#requester, sum >>> 0, hi, piece);
      if (!ok) return false;
      done += length;
      skip = 0;
    }
    return done === bytes.length;
  }
}
