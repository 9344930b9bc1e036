/**
 * Transactions that wait for software: those it knows of by an event record, and those it does not yet. IHI 0070 §3.12.2.
 *
 * A record that cannot be written is not lost: its transaction is kept back and tried again as soon as the queue may be
 * writable. So is one that comes while as many as IDR5.STALL_MAX are known.
 * @module
 */
import type { StalledTransaction } from "../device.ts";
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
  /** What a snapshot says of it, but for its number. */
  describe(): Omit<StalledTransaction, "number">;
}

/** What waits, as a plain value. */
export interface StallsSnapshot {
  /** Number of the next transaction that comes to wait. */
  readonly next: number;
  /** Slots that are not as at first: STAG of the next record or of that which tells of the transaction, and the transaction. */
  readonly slots: readonly (readonly [
    index: number,
    stag: number,
    transaction: StalledTransaction | null,
  ])[];
  /** Transactions that software knows nothing of yet, in the order in which they are tried again. */
  readonly keptBack: readonly StalledTransaction[];
}

interface Slot {
  waiting: Waiting | undefined;
  stag: number;
}

/** A transaction with its number. */
interface Waiting {
  readonly number: number;
  readonly transaction: Stallable;
}

/** The stalled transactions of a device. */
export class Stalls {
  readonly #slots: readonly Slot[];
  readonly #log2slots: number;
  readonly #abortOnly: boolean;
  readonly #record: (fault: Fault) => boolean;
  #keptBack: Waiting[] = [];
  #next = 0;
  /** The one that is tried again just now: if it waits once more, it does so by the number that it had. */
  #tried: Waiting | undefined;

  /** None yet; `record` writes an event record, and returns false when it cannot. */
  constructor({ stallMax, abortOnly }: Features, record: (fault: Fault) => boolean) {
    this.#slots = Array.from({ length: stallMax }, (_, i) => ({ waiting: undefined, stag: i }));
    this.#log2slots = Math.ceil(Math.log2(Math.max(stallMax, 1)));
    this.#abortOnly = abortOnly;
    this.#record = record;
  }

  /** How many wait, with and without a record. */
  get count(): number {
    return this.#slots.filter(({ waiting }) => waiting !== undefined).length +
      this.#keptBack.length;
  }

  /** Has a transaction wait because of a fault. Returns false when there is no room for it. */
  hold(transaction: Stallable, fault: Fault): boolean {
    const slot = this.#slots.find(({ waiting }) => waiting === undefined);
    if (slot !== undefined) {
      fault.stall(slot.stag);
      if (this.#record(fault)) {
        slot.waiting = this.#numbered(transaction);
        return true;
      }
    }
    if (this.#keptBack.length >= MOST_KEPT_BACK) return false;
    this.#keptBack.push(this.#numbered(transaction));
    return true;
  }

  /** CMD_RESUME. A StreamID and STAG that are not those of a record without an answer have no effect. */
  resume(streamId: number, stag: number, retries: boolean, aborts: boolean): void {
    const slot = this.#slots.find((slot) =>
      slot.stag === stag && slot.waiting?.transaction.streamId === streamId
    );
    if (slot === undefined) return;
    const waiting = this.#release(slot);
    if (retries) this.#retry(waiting);
    else this.#end(waiting, aborts || this.#abortOnly);
    this.wake();
  }

  /** CMD_STALL_TERM: all of a stream end with an abort. */
  terminate(streamId: number): void {
    this.#terminate(({ transaction }) => transaction.streamId === streamId);
    this.wake();
  }

  /** CR0.SMMUEN was cleared, or the device was reset: all end with an abort. */
  terminateAll(): void {
    this.#terminate(() => true);
  }

  /** The event queue may have become writable, or a record was answered: what was kept back is tried again. */
  wake(): void {
    for (let left = this.#keptBack.length; left > 0 && this.#hasRoom(); left--) {
      const { number } = this.#keptBack[0];
      this.#retry(this.#keptBack.shift()!);
      // Where one cannot be told of, no other can: a command in vain costs one attempt, however many wait.
      if (this.#keptBack.at(-1)?.number === number) {
        this.#keptBack.unshift(this.#keptBack.pop()!);
        return;
      }
    }
  }

  /** What waits. */
  snapshot(): StallsSnapshot {
    const described = ({ number, transaction }: Waiting): StalledTransaction => ({
      number,
      ...transaction.describe(),
    });
    return {
      next: this.#next,
      slots: this.#slots.flatMap(({ waiting, stag }, i) =>
        waiting === undefined && stag === i ? [] : [[i, stag, waiting ? described(waiting) : null]]
      ),
      keptBack: this.#keptBack.map(described),
    };
  }

  /**
   * Makes what a snapshot tells of, each transaction by `make` in the order of their numbers, and returns what has it take
   * the place of what waits now, which is forgotten. Throws a RangeError when there are not so many slots here.
   */
  prepare(
    { next, slots, keptBack }: StallsSnapshot,
    make: (transaction: StalledTransaction) => Stallable,
  ): () => void {
    const most = this.#slots.length;
    if (slots.some(([index]) => index >= most)) {
      throw new RangeError(`Cannot restore more than ${most} stalled transactions`);
    }
    const made = new Map<number, Waiting>();
    const told = slots.flatMap(([, , transaction]) => transaction === null ? [] : [transaction]);
    for (const one of [...told, ...keptBack].sort((a, b) => a.number - b.number)) {
      made.set(one.number, { number: one.number, transaction: make(one) });
    }
    return () => {
      for (const [i, slot] of this.#slots.entries()) {
        Object.assign(slot, { stag: i, waiting: undefined });
      }
      for (const [index, stag, transaction] of slots) {
        const waiting = transaction === null ? undefined : made.get(transaction.number);
        Object.assign(this.#slots[index], { stag, waiting });
      }
      this.#keptBack = keptBack.map(({ number }) => made.get(number)!);
      this.#next = next;
    };
  }

  #numbered(transaction: Stallable): Waiting {
    const tried = this.#tried;
    return tried?.transaction === transaction ? tried : { number: this.#next++, transaction };
  }

  #retry(waiting: Waiting): void {
    const before = this.#tried;
    this.#tried = waiting;
    waiting.transaction.retry();
    this.#tried = before;
  }

  /** It may go on behind the page that it reads as zero. */
  #end(waiting: Waiting, aborts: boolean): void {
    const before = this.#tried;
    this.#tried = waiting;
    waiting.transaction.terminate(aborts);
    this.#tried = before;
  }

  #hasRoom(): boolean {
    return this.#slots.some(({ waiting }) => waiting === undefined);
  }

  /** The next STAG of a slot differs, so that an answer that comes twice finds nothing. */
  #release(slot: Slot): Waiting {
    const waiting = slot.waiting!;
    slot.waiting = undefined;
    slot.stag = (slot.stag + (1 << this.#log2slots)) & ((1 << STAG_BITS) - 1);
    return waiting;
  }

  #terminate(matches: (waiting: Waiting) => boolean): void {
    const ended = this.#keptBack.filter(matches);
    this.#keptBack = this.#keptBack.filter((waiting) => !matches(waiting));
    for (const slot of this.#slots) {
      if (slot.waiting !== undefined && matches(slot.waiting)) ended.push(this.#release(slot));
    }
    for (const waiting of ended) this.#end(waiting, true);
  }
}
