/**
 * The event queue: records out, overflow, interrupt. IHI 0070 §3.5.3, §7.2, §7.4 Event queue overflow.
 * @module
 */
import { get } from "../../bits.ts";
import { Entry, type GuestMemory } from "../../guest_memory.ts";
import type { Features } from "../features.ts";
import { advance, indexMask, isEmpty, isFull, slotOf, startOf } from "./queue.ts";
import type { RegisterFile } from "../register_file.ts";
import { EVENT_SIZE, RECORD } from "../spec/events.ts";
import { CR0, QUEUE_BASE, REG } from "../spec/registers.ts";

const OVERFLOW = 0x8000_0000;
/** §7.3: what of InputAddr does not tell events apart. */
const OFFSET = 0xfff;

/** What became of a record. */
export const Recorded = {
  /** Written; the queue was not empty before. */
  Yes: 0,
  /** Written into an empty queue: the guest is to be told. */
  First: 1,
  /** Dropped: the queue is disabled, in error, or full. */
  Dropped: 2,
  /** Dropped because the queue's memory could not be written. */
  Aborted: 3,
  /** Not written: an equal record is there that software has not read yet. */
  Merged: 4,
} as const;

/** What an event queue knows besides its registers. */
export interface EventQueueSnapshot {
  /** The record that was written last. */
  readonly last: readonly number[];
  /** EVENTQ_PROD after it, or -1. */
  readonly lastProd: number;
}

/** Writes event records to guest memory. */
export class EventQueue {
  readonly #registers: RegisterFile;
  readonly #base: Uint32Array;
  readonly #cr0: Uint32Array;
  readonly #memory: GuestMemory;
  readonly #features: Features;
  /** The first address beyond the OAS. */
  readonly #end: number;
  /** The record that was written last, and EVENTQ_PROD after it. */
  readonly #last = new Entry(EVENT_SIZE);
  #lastProd = -1;

  /** The queue that the registers describe; they are read on each use. */
  constructor(registers: RegisterFile, memory: GuestMemory, features: Features) {
    this.#registers = registers;
    this.#base = registers.view(REG.EVENTQ_BASE);
    this.#cr0 = registers.view(REG.CR0);
    this.#memory = memory;
    this.#features = features;
    this.#end = 2 ** features.oas;
  }

  /** Whether a record could be written now; `inError` while EVENTQ_ABT_ERR is active. §7.2.1 */
  isWritable(inError: boolean): boolean {
    const prod = this.#registers.get(REG.EVENTQ_PROD);
    const cons = this.#registers.get(REG.EVENTQ_CONS);
    return get(this.#cr0, CR0.EVENTQEN) === 1 && !inError && !isFull(prod, cons, this.log2size);
  }

  /**
   * Writes a record, or drops it; `inError` while EVENTQ_ABT_ERR is active, `merges` when an equal one makes it
   * superfluous. Returns one of `Recorded`.
   */
  write(record: Entry, inError: boolean, merges: boolean): number {
    if (get(this.#cr0, CR0.EVENTQEN) === 0 || inError) return Recorded.Dropped;
    const log2size = this.log2size;
    const prod = this.#registers.get(REG.EVENTQ_PROD);
    const cons = this.#registers.get(REG.EVENTQ_CONS);
    const wasEmpty = isEmpty(prod, cons, log2size);
    if (merges && !wasEmpty && prod === this.#lastProd && this.#isLast(record)) {
      return Recorded.Merged;
    }
    if (isFull(prod, cons, log2size)) {
      // A second overflow before the first is acknowledged must not look like the acknowledgement.
      if (((prod ^ cons) & OVERFLOW) === 0) this.#registers.set(REG.EVENTQ_PROD, prod ^ OVERFLOW);
      return Recorded.Dropped;
    }
    const gpa = startOf(this.#base, this.#end, EVENT_SIZE << log2size) +
      slotOf(prod, log2size) * EVENT_SIZE;
    if (!this.#memory.store(gpa, record)) return Recorded.Aborted;
    const next = advance(prod & indexMask(log2size), log2size);
    this.#registers.set(REG.EVENTQ_PROD, (prod & OVERFLOW) | next);
    this.#last.words.set(record.words);
    this.#lastProd = this.#registers.get(REG.EVENTQ_PROD);
    return wasEmpty ? Recorded.First : Recorded.Yes;
  }

  /** Its entries, as log2. */
  get log2size(): number {
    return Math.min(get(this.#base, QUEUE_BASE.LOG2SIZE), this.#features.log2EventQueue);
  }

  /** What it knows, as a plain value. */
  snapshot(): EventQueueSnapshot {
    return { last: [...this.#last.words], lastProd: this.#lastProd };
  }

  /** Becomes what a snapshot says. */
  restore({ last, lastProd }: EventQueueSnapshot): void {
    this.#last.words.set(last);
    this.#lastProd = lastProd;
  }

  /** §7.3.1: whether a record says what the last one says. */
  #isLast({ words }: Entry): boolean {
    const last = this.#last.words;
    for (let i = 0; i < words.length; i++) {
      const ignored = i === RECORD.InputAddrLow.word ? OFFSET : 0;
      if (((words[i] ^ last[i]) & ~ignored) !== 0) return false;
    }
    return true;
  }
}
