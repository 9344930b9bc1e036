/**
 * A split virtqueue: descriptor table, available ring, used ring. Virtio 1.2 §2.7.
 *
 * The rings are reached by DMA alone, and everything in them is under the driver's control: each value is fetched
 * once, checked, and used from the copy.
 * @module
 */
import type { DmaPort, Requester } from "../device.ts";
import { DescriptorChain } from "./descriptor_chain.ts";
import {
  AVAIL_F_NO_INTERRUPT,
  DESC_F,
  DESC_SIZE,
  FEATURE,
  type FeatureWords,
  hasFeature,
  NO_VECTOR,
} from "./virtio_spec.ts";

/** Answers requests. */
export interface ChainHandler {
  /**
   * Works on a request: from its beginning when `isNew`, otherwise from where the call before stopped. Returns how
   * many bytes of the writable part were written, or one of {@linkcode Handled}.
   */
  handle(chain: DescriptorChain, isNew: boolean): number;
  /** Bytes moved since the device was made; measures work. */
  readonly workBytes: number;
}

/** What else may come of {@linkcode ChainHandler.handle}. */
export const Handled = {
  /** The request cannot be answered. */
  Broken: -1,
  /** A piece is done and the rest is for another call, so that others get their turn between. */
  Partly: -2,
} as const;

/** What came of a {@linkcode Virtqueue.drain}: any of these bits. */
export const Drained = {
  /** The driver wants an interrupt. */
  Interrupt: 1,
  /** The driver broke a rule, or the rings cannot be reached: the device needs a reset. */
  Broken: 2,
  /** Stopped at the budget; requests remain. */
  More: 4,
} as const;

/** Descriptors fetched in one DMA: a cache line. */
const AHEAD = 4;

const FENCE = new Int32Array(1);

/** Orders our memory accesses as the driver's CPUs see them. */
function fence(): void {
  Atomics.add(FENCE, 0, 0);
}

/** One queue of a device. */
export class Virtqueue {
  /** Largest size, in descriptors: a power of two, at most 1024. */
  readonly maxSize: number;
  /** Size in descriptors: a power of two. */
  size: number;
  /** Whether the driver enabled it. */
  enabled = false;
  /** MSI-X vector, or 0xffff. */
  vector: number = NO_VECTOR;
  /** IOVAs as words: descriptor area lo, hi; driver area lo, hi; device area lo, hi. */
  readonly areas: Uint32Array = new Uint32Array(6);

  readonly #requester: Requester;
  readonly #dma: DmaPort;
  readonly #chain: DescriptorChain;
  readonly #half = new Uint16Array(2);
  readonly #word = new Uint8Array(this.#half.buffer, 0, 4);
  readonly #short = new Uint8Array(this.#half.buffer, 0, 2);
  readonly #heads: Uint16Array;
  readonly #headBytes: Uint8Array;
  readonly #used: Uint32Array;
  readonly #usedBytes: Uint8Array;
  readonly #ahead = new Uint32Array(AHEAD * 4);
  readonly #aheadBytes = new Uint8Array(this.#ahead.buffer);
  readonly #table: Uint32Array;
  readonly #tableBytes: Uint8Array;
  #aheadFirst = 0;
  #aheadCount = 0;
  #indirect = false;
  #eventIdx = false;
  #availIndex = 0;
  #usedIndex = 0;
  #availEvent = -1;
  /** Head of the request that is partly done, or -1. */
  #unfinished = -1;

  /** A queue that is not enabled, of at most `maxSize` descriptors. */
  constructor(requester: Requester, dma: DmaPort, maxSize: number) {
    this.#requester = requester;
    this.#dma = dma;
    this.maxSize = maxSize;
    this.size = maxSize;
    this.#chain = new DescriptorChain(requester, dma, maxSize);
    this.#heads = new Uint16Array(maxSize);
    this.#headBytes = new Uint8Array(this.#heads.buffer);
    this.#used = new Uint32Array(maxSize * 2);
    this.#usedBytes = new Uint8Array(this.#used.buffer);
    this.#table = new Uint32Array(maxSize * 4);
    this.#tableBytes = new Uint8Array(this.#table.buffer);
  }

  /** Back to the state after a device reset. */
  reset(): void {
    this.enabled = false;
    this.size = this.maxSize;
    this.vector = NO_VECTOR;
    this.areas.fill(0);
  }

  /** Starts from empty rings. False when an area is not aligned to 16, 2 and 4 bytes (§2.7). */
  enable(features: FeatureWords): boolean {
    this.enabled = true;
    this.#indirect = hasFeature(features, FEATURE.RING_INDIRECT_DESC);
    this.#eventIdx = hasFeature(features, FEATURE.RING_EVENT_IDX);
    this.#availIndex = 0;
    this.#usedIndex = 0;
    this.#availEvent = -1;
    this.#unfinished = -1;
    return this.areas[0] % 16 === 0 && this.areas[2] % 2 === 0 && this.areas[4] % 4 === 0;
  }

  /**
   * Answers the requests that are available when it is called, at most the queue's size, and stops early, in the
   * middle of a request too, once the handler has moved `budgetBytes`. Returns bits of {@linkcode Drained}.
   */
  drain(handler: ChainHandler, budgetBytes: number): number {
    const pending = this.#pending();
    if (pending < 0) return Drained.Broken;
    if (pending === 0) return 0;
    if (!this.#fetchHeads(pending)) return Drained.Broken;
    this.#aheadCount = 0;
    const stopBytes = handler.workBytes + budgetBytes;
    let outcome = 0;
    let done = 0;
    while (done < pending) {
      const isNew = this.#unfinished < 0;
      const head = isNew ? this.#heads[done] : this.#unfinished;
      const isWhole = !isNew || this.#gather(head);
      const written = isWhole ? handler.handle(this.#chain, isNew) : Handled.Broken;
      this.#unfinished = written === Handled.Partly ? head : -1;
      if (written === Handled.Broken) {
        outcome = Drained.Broken;
        break;
      }
      if (written !== Handled.Partly) {
        this.#used[2 * done] = head;
        this.#used[2 * done + 1] = written;
        done++;
      }
      if (handler.workBytes >= stopBytes && done < pending) {
        outcome = Drained.More;
        break;
      }
    }
    this.#availIndex = (this.#availIndex + done) & 0xffff;
    return done === 0 ? outcome : outcome | this.#publish(done);
  }

  /**
   * How many requests are available, or -1 when the ring is broken or out of reach. With event indexes it first asks
   * for a notification of whatever comes later, and looks again, so that nothing is left for which no notification
   * comes; the index can only move forward, and by no more than the queue's size, so this ends.
   */
  #pending(): number {
    let index = this.#availableIndex();
    if (index < 0) return -1;
    let pending = (index - this.#availIndex) & 0xffff;
    if (pending > this.size) return -1;
    while (this.#eventIdx && index !== this.#availEvent) {
      this.#half[0] = index;
      if (!this.#write(4, 4 + 8 * this.size, this.#short)) return -1;
      this.#availEvent = index;
      fence();
      index = this.#availableIndex();
      if (index < 0) return -1;
      const later = (index - this.#availIndex) & 0xffff;
      if (later < pending || later > this.size) return -1;
      pending = later;
    }
    // The index is read before the entries it covers.
    fence();
    return pending;
  }

  /** The driver's index, or -1; it was fetched with the flags in one DMA. */
  #availableIndex(): number {
    return this.#read(2, 0, this.#word) ? this.#half[1] : -1;
  }

  #fetchHeads(count: number): boolean {
    const slot = this.#availIndex & (this.size - 1);
    const first = Math.min(count, this.size - slot);
    if (!this.#read(2, 4 + 2 * slot, this.#headBytes.subarray(0, 2 * first))) return false;
    return first === count || this.#read(2, 4, this.#headBytes.subarray(2 * first, 2 * count));
  }

  /** Collects the buffers of a chain; false when it breaks a rule or cannot be reached. */
  #gather(head: number): boolean {
    const chain = this.#chain;
    chain.clear(this.size);
    let index = head;
    for (let count = 0; count < this.size; count++) {
      const at = this.#descriptor(index);
      if (at < 0) return false;
      const words = this.#ahead;
      const flags = words[at + 3] & 0xffff;
      if ((flags & DESC_F.INDIRECT) !== 0) {
        if (!this.#indirect || (flags & DESC_F.NEXT) !== 0) return false;
        return this.#gatherTable(words[at], words[at + 1], words[at + 2]);
      }
      const writable = (flags & DESC_F.WRITE) !== 0;
      if (!chain.append(words[at], words[at + 1], words[at + 2], writable)) return false;
      if ((flags & DESC_F.NEXT) === 0) return true;
      index = words[at + 3] >>> 16;
    }
    return false;
  }

  /** Collects the buffers of an indirect table. §2.7.5.3. */
  #gatherTable(lo: number, hi: number, sizeBytes: number): boolean {
    const entries = sizeBytes / DESC_SIZE;
    if (sizeBytes % DESC_SIZE !== 0 || entries > this.size) return false;
    if (!this.#dma.read(this.#requester, lo, hi, this.#tableBytes.subarray(0, sizeBytes))) {
      return false;
    }
    const words = this.#table;
    let index = 0;
    for (let count = 0; count < entries; count++) {
      if (index >= entries) return false;
      const at = index * 4;
      const flags = words[at + 3] & 0xffff;
      if ((flags & DESC_F.INDIRECT) !== 0) return false;
      const writable = (flags & DESC_F.WRITE) !== 0;
      if (!this.#chain.append(words[at], words[at + 1], words[at + 2], writable)) return false;
      if ((flags & DESC_F.NEXT) === 0) return true;
      index = words[at + 3] >>> 16;
    }
    return false;
  }

  /** Where the words of a descriptor lie in the fetched ones, or -1. Neighbours are fetched along. */
  #descriptor(index: number): number {
    if (index >= this.size) return -1;
    const ahead = index - this.#aheadFirst;
    if (ahead >= 0 && ahead < this.#aheadCount) return ahead * 4;
    const count = Math.min(AHEAD, this.size - index);
    const into = count === AHEAD
      ? this.#aheadBytes
      : this.#aheadBytes.subarray(0, count * DESC_SIZE);
    if (!this.#read(0, index * DESC_SIZE, into)) return -1;
    this.#aheadFirst = index;
    this.#aheadCount = count;
    return 0;
  }

  /** Gives `count` answered requests back; says whether the driver wants an interrupt for them. */
  #publish(count: number): number {
    const slot = this.#usedIndex & (this.size - 1);
    const first = Math.min(count, this.size - slot);
    if (!this.#write(4, 4 + 8 * slot, this.#usedBytes.subarray(0, 8 * first))) {
      return Drained.Broken;
    }
    if (first < count) {
      const rest = this.#usedBytes.subarray(8 * first, 8 * count);
      if (!this.#write(4, 4, rest)) return Drained.Broken;
    }
    // The entries are visible before the index that covers them.
    fence();
    const before = this.#usedIndex;
    this.#usedIndex = (before + count) & 0xffff;
    this.#half[0] = this.#usedIndex;
    if (!this.#write(4, 2, this.#short)) return Drained.Broken;
    // The index is visible before we look whether the driver sleeps.
    fence();
    return this.#interruptWanted(before, count);
  }

  #interruptWanted(before: number, count: number): number {
    if (!this.#eventIdx) {
      if (!this.#read(2, 0, this.#short)) return Drained.Broken;
      return (this.#half[0] & AVAIL_F_NO_INTERRUPT) === 0 ? Drained.Interrupt : 0;
    }
    if (!this.#read(2, 4 + 2 * this.size, this.#short)) return Drained.Broken;
    return ((this.#half[0] - before) & 0xffff) < count ? Drained.Interrupt : 0;
  }

  #read(area: number, offset: number, into: Uint8Array): boolean {
    const sum = this.areas[area] + offset;
    const hi = this.areas[area + 1] + (sum > 0xffff_ffff ? 1 : 0);
    return this.#dma.read(this.#requester, sum >>> 0, hi >>> 0, into);
  }

  #write(area: number, offset: number, from: Uint8Array): boolean {
    const sum = this.areas[area] + offset;
    const hi = this.areas[area + 1] + (sum > 0xffff_ffff ? 1 : 0);
    return this.#dma.write(this.#requester, sum >>> 0, hi >>> 0, from);
  }
}
