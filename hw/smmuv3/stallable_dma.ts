/**
 * DMA of endpoints that can wait for their answer: a fault may stall it until software resumes it. IHI 0070 §3.12.2.
 * @module
 */
import type { FindWaiting, Requester, StallableDmaPort, StalledTransaction } from "../device.ts";
import type { GuestMemory } from "../guest_memory.ts";
import { Access, Termination } from "./fault.ts";
import type { Observer } from "./observer.ts";
import type { Stallable, Stalls } from "./stalls.ts";
import type { Translator } from "./translation/translate.ts";

const SMALLEST_PAGE = 0x1000;

/** What all transactions of a port need. */
export interface Way {
  readonly translator: Translator;
  readonly memory: GuestMemory;
  readonly stalls: Stalls;
  readonly observer: Observer | undefined;
}

/** DMA with translation, that can be stalled. */
export class StallableDma implements StallableDmaPort {
  readonly #way: Way;

  /** DMA to `memory` as `translator` says; what stalls is kept by `stalls`. */
  constructor(way: Way) {
    this.#way = way;
  }

  read(
    requester: Requester,
    lo: number,
    hi: number,
    into: Uint8Array,
    done: (ok: boolean) => void,
  ): void {
    new Transaction(this.#way, requester, lo, hi, into, false, done).retry();
  }

  write(
    requester: Requester,
    lo: number,
    hi: number,
    from: Uint8Array,
    done: (ok: boolean) => void,
  ): void {
    new Transaction(this.#way, requester, lo, hi, from, true, done).retry();
  }
}

/**
 * A transaction of a snapshot goes on where it was, for the endpoint that waits for it. Throws a RangeError when that has
 * other bytes for it.
 */
export function restoredTransaction(
  way: Way,
  stalled: StalledTransaction,
  find: FindWaiting,
): Stallable {
  const side = find(stalled);
  if (side === undefined) return new Abandoned(stalled);
  const { sizeBytes, lo, hi, isWrite, doneBytes } = stalled;
  if (side.bytes.length !== sizeBytes) {
    throw new RangeError(
      `Cannot restore a transaction of ${sizeBytes} bytes for an endpoint that has ${side.bytes.length}`,
    );
  }
  return new Transaction(way, stalled, lo, hi, side.bytes, isWrite, side.done, doneBytes);
}

/** One that nobody waits for any more: software may answer it, and nothing comes of it. */
class Abandoned implements Stallable {
  readonly streamId: number;
  readonly #stalled: Omit<StalledTransaction, "number">;

  constructor({ number: _, ...stalled }: StalledTransaction) {
    this.streamId = stalled.streamId;
    this.#stalled = stalled;
  }

  retry(): void {}

  terminate(): void {}

  describe(): Omit<StalledTransaction, "number"> {
    return this.#stalled;
  }
}

/** One request, page by page. */
class Transaction implements Stallable {
  readonly streamId: number;
  readonly #way: Way;
  readonly #requester: Requester;
  readonly #lo: number;
  readonly #hi: number;
  readonly #bytes: Uint8Array;
  readonly #isWrite: boolean;
  readonly #end: (ok: boolean) => void;
  /** Bytes that are done. */
  #at: number;

  constructor(
    way: Way,
    requester: Requester,
    lo: number,
    hi: number,
    bytes: Uint8Array,
    isWrite: boolean,
    end: (ok: boolean) => void,
    doneBytes: number = 0,
  ) {
    this.streamId = requester.streamId;
    this.#way = way;
    this.#requester = requester;
    this.#lo = lo;
    this.#hi = hi;
    this.#bytes = bytes;
    this.#isWrite = isWrite;
    this.#end = end;
    this.#at = doneBytes;
  }

  retry(): void {
    const { translator, stalls } = this.#way;
    const access = (this.#isWrite ? Access.Write : Access.Read) | Access.Stallable;
    while (this.#at < this.#bytes.length) {
      const low = this.#lo + this.#at;
      const hi = (this.#hi + Math.floor(low / 0x1_0000_0000)) >>> 0;
      switch (translator.translate(this.#requester, low >>> 0, hi, access)) {
        case 0:
          if (!this.#move(translator.gpa, translator.spanBytes)) return this.#end(false);
          break;
        case Termination.RazWi:
          this.#skip();
          break;
        case Termination.Stall:
          if (!stalls.hold(this, translator.fault)) this.#end(false);
          return;
        default:
          return this.#end(false);
      }
    }
    this.#end(true);
  }

  terminate(aborts: boolean): void {
    if (aborts) return this.#end(false);
    this.#skip();
    this.retry();
  }

  describe(): Omit<StalledTransaction, "number"> {
    const { streamId, substreamId } = this.#requester;
    return {
      streamId,
      substreamId,
      lo: this.#lo,
      hi: this.#hi,
      isWrite: this.#isWrite,
      sizeBytes: this.#bytes.length,
      doneBytes: this.#at,
    };
  }

  #move(gpa: number, spanBytes: number): boolean {
    const part = this.#bytes.subarray(this.#at, this.#at + spanBytes);
    const { memory, observer } = this.#way;
    if (!(this.#isWrite ? memory.write(gpa, part) : memory.read(gpa, part))) return false;
    this.#at += part.length;
    observer?.transfer(this.#requester, this.#isWrite, part.length);
    return true;
  }

  /** The rest of the page reads as zero, and what would be written to it is dropped. */
  #skip(): void {
    const count = SMALLEST_PAGE - ((this.#lo + this.#at) & (SMALLEST_PAGE - 1));
    if (!this.#isWrite) this.#bytes.fill(0, this.#at, this.#at + count);
    this.#at += count;
  }
}
