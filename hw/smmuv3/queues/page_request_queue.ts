/**
 * The PRI queue: page requests in, overflow, and the answers that the SMMU gives itself. IHI 0070 §8.
 * @module
 */
import { get, maskOf, set } from "../../bits.ts";
import type { Requester } from "../../device.ts";
import { Entry, type GuestMemory } from "../../guest_memory.ts";
import type { PageRequestKind } from "../endpoint_port.ts";
import type { Features } from "../features.ts";
import type { RegisterFile } from "../register_file.ts";
import { PAGE_REQUEST, PAGE_REQUEST_SIZE } from "../spec/page_requests.ts";
import { CR0, PRIQ_IRQ_CFG2, QUEUE_BASE, REG } from "../spec/registers.ts";
import { advance, indexMask, isEmpty, isFull, slotOf, startOf } from "./queue.ts";

const OVERFLOW = 0x8000_0000;
const ENABLED = maskOf(CR0.SMMUEN, CR0.PRIQEN);

/** What became of a page request. */
export const Queued = {
  /** Written. */
  Yes: 0,
  /** Written, and software is to be told. */
  Tell: 1,
  /** Discarded by an overflow. */
  Overflow: 2,
  /** Discarded: the queue is disabled or in error. */
  Disabled: 3,
  /** Discarded because the queue's memory could not be written. */
  Aborted: 4,
} as const;

/** Writes page requests to guest memory. */
export class PageRequestQueue {
  readonly #registers: RegisterFile;
  readonly #base: Uint32Array;
  readonly #memory: GuestMemory;
  readonly #features: Features;
  /** The first address beyond the OAS. */
  readonly #end: number;
  readonly #entry = new Entry(PAGE_REQUEST_SIZE);

  /** The queue that the registers describe; they are read on each use. */
  constructor(registers: RegisterFile, memory: GuestMemory, features: Features) {
    this.#registers = registers;
    this.#base = registers.view(REG.PRIQ_BASE);
    this.#memory = memory;
    this.#features = features;
    this.#end = 2 ** features.oas;
  }

  /** Writes a request for the page at [hi:lo], or discards it; `inError` while PRIQ_ABT_ERR is active. One of `Queued`. */
  write(
    requester: Requester,
    lo: number,
    hi: number,
    group: number,
    kind: PageRequestKind,
    inError: boolean,
  ): number {
    // §8.2: SMMUEN=0 implies PRIQEN=0.
    if ((this.#registers.get(REG.CR0) & ENABLED) !== ENABLED || inError) return Queued.Disabled;
    const log2size = this.log2size;
    const prod = this.#registers.get(REG.PRIQ_PROD);
    const cons = this.#registers.get(REG.PRIQ_CONS);
    // §8.1: unlike at the event queue, nothing is written until software has acknowledged an overflow.
    if (((prod ^ cons) & OVERFLOW) !== 0) return Queued.Overflow;
    if (isFull(prod, cons, log2size)) {
      this.#registers.set(REG.PRIQ_PROD, prod ^ OVERFLOW);
      return Queued.Overflow;
    }
    this.#fill(requester, lo, hi, group, kind);
    const gpa = startOf(this.#base, this.#end, PAGE_REQUEST_SIZE << log2size) +
      slotOf(prod, log2size) * PAGE_REQUEST_SIZE;
    if (!this.#memory.store(gpa, this.#entry)) return Queued.Aborted;
    const next = advance(prod & indexMask(log2size), log2size);
    this.#registers.set(REG.PRIQ_PROD, (prod & OVERFLOW) | next);
    const tellsLast = get(this.#registers.view(REG.PRIQ_IRQ_CFG2), PRIQ_IRQ_CFG2.LO) === 1;
    return (tellsLast ? kind.last : isEmpty(prod, cons, log2size)) ? Queued.Tell : Queued.Yes;
  }

  /** Its entries, as log2. */
  get log2size(): number {
    return Math.min(get(this.#base, QUEUE_BASE.LOG2SIZE), this.#features.log2PageRequestQueue);
  }

  #fill(
    { streamId, substreamId }: Requester,
    lo: number,
    hi: number,
    group: number,
    kind: PageRequestKind,
  ): void {
    const { words } = this.#entry;
    words.fill(0);
    set(words, PAGE_REQUEST.StreamID, streamId);
    if (substreamId >= 0) {
      set(words, PAGE_REQUEST.SSV, 1);
      set(words, PAGE_REQUEST.SubstreamID, substreamId);
      // §8: without a PASID both are 0.
      set(words, PAGE_REQUEST.Priv, Number(kind.privileged));
      set(words, PAGE_REQUEST.X, Number(kind.execute));
    }
    set(words, PAGE_REQUEST.R, Number(kind.read));
    set(words, PAGE_REQUEST.W, Number(kind.write));
    set(words, PAGE_REQUEST.Last, Number(kind.last));
    set(words, PAGE_REQUEST.PRGIndex, group);
    words[2] |= lo & 0xffff_f000;
    words[3] = hi;
  }
}

/** §8: the message that ends the use of a PASID; it is no request, and nobody answers it. */
export function isStopMarker({ substreamId }: Requester, kind: PageRequestKind): boolean {
  return substreamId >= 0 && kind.last && !kind.read && !kind.write;
}
