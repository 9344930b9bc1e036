/**
 * Transactions that wait for software: those it knows of by an event record, and those it does not yet. IHI 0070 §3.12.2.
 *
 * A record that cannot be written is not lost: its transaction is kept back and tried again as soon as the queue may be
 * writable. So is one that comes while as many as IDR5.STALL_MAX are known.
 * @module
 */
import type { Fault } from "./fault.ts";
import type { Features } from "./features.ts";

/** Most transactions that are kept back; what comes beyond them is aborted, so that nothing here grows without end. */
const MOST_KEPT_BACK = 1024;
const STAG_BITS = 16;

/** A transaction that can wait. */
export interface Stallable {
  /** Whose it is. */
  readonly streamId: number;
  /** Tries it again, as if it had just arrived. */
  retry(): void;
  /** Ends it: with an abort, or by reading zero and ignoring what it writes. */
  terminate(aborts: boolean): void;
}

interface Slot {
  transaction: Stallable | undefined;
  stag: number;
}

/** The stalled transactions of a device. */
export class Stalls {
  readonly #slots: readonly Slot[];
  readonly #log2slots: number;
  readonly #abortOnly: boolean;
  readonly #record: (fault: Fault) => boolean;
  #keptBack: Stallable[] = [];

  /** None yet; `record` writes an event record, and returns false when it cannot. */
  constructor({ stallMax, abortOnly }: Features, record: (fault: Fault) => boolean) {
    this.#slots = Array.from({ length: stallMax }, (_, i) => ({ transaction: undefined, stag: i }));
    this.#log2slots = Math.ceil(Math.log2(Math.max(stallMax, 1)));
    this.#abortOnly = abortOnly;
    this.#record = record;
  }

  /** How many wait, with and without a record. */
  get count(): number {
    return this.#slots.filter(({ transaction }) => transaction !== undefined).length +
      this.#keptBack.length;
  }

  /** Has a transaction wait because of a fault. Returns false when there is no room for it. */
  hold(transaction: Stallable, fault: Fault): boolean {
    const slot = this.#slots.find((slot) => slot.transaction === undefined);
    if (slot !== undefined) {
      fault.stall(slot.stag);
      if (this.#record(fault)) {
        slot.transaction = transaction;
        return true;
      }
    }
    if (this.#keptBack.length >= MOST_KEPT_BACK) return false;
    this.#keptBack.push(transaction);
    return true;
  }

  /** CMD_RESUME. A StreamID and STAG that are not those of a record without an answer have no effect. */
  resume(streamId: number, stag: number, retries: boolean, aborts: boolean): void {
    const slot = this.#slots.find((slot) =>
      slot.stag === stag && slot.transaction?.streamId === streamId
    );
    if (slot === undefined) return;
    const transaction = this.#release(slot);
    if (retries) transaction.retry();
    else transaction.terminate(aborts || this.#abortOnly);
    this.wake();
  }

  /** CMD_STALL_TERM: all of a stream end with an abort. */
  terminate(streamId: number): void {
    this.#terminate((transaction) => transaction.streamId === streamId);
    this.wake();
  }

  /** CR0.SMMUEN was cleared, or the device was reset: all end with an abort. */
  terminateAll(): void {
    this.#terminate(() => true);
  }

  /** The event queue may have become writable, or a record was answered: what was kept back is tried again. */
  wake(): void {
    for (let left = this.#keptBack.length; left > 0 && this.#hasRoom(); left--) {
      const transaction = this.#keptBack.shift()!;
      transaction.retry();
      // Where one cannot be told of, no other can: a command in vain costs one attempt, however many wait.
      if (this.#keptBack.at(-1) === transaction) {
        this.#keptBack.unshift(this.#keptBack.pop()!);
        return;
      }
    }
  }

  #hasRoom(): boolean {
    return this.#slots.some(({ transaction }) => transaction === undefined);
  }

  /** The next STAG of a slot differs, so that an answer that comes twice finds nothing. */
  #release(slot: Slot): Stallable {
    const transaction = slot.transaction!;
    slot.transaction = undefined;
    slot.stag = (slot.stag + (1 << this.#log2slots)) & ((1 << STAG_BITS) - 1);
    return transaction;
  }

  #terminate(matches: (transaction: Stallable) => boolean): void {
    const ended = this.#keptBack.filter(matches);
    this.#keptBack = this.#keptBack.filter((transaction) => !matches(transaction));
    for (const slot of this.#slots) {
      if (slot.transaction !== undefined && matches(slot.transaction)) {
        ended.push(this.#release(slot));
      }
    }
    for (const transaction of ended) transaction.terminate(true);
  }
}
