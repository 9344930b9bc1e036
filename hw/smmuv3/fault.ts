/**
 * What went wrong with a transaction, as a value. IHI 0070 §7.3 Event records.
 *
 * One record is kept and overwritten: a fault allocates nothing and is read before the next transaction.
 * @module
 */
import { set } from "../bits.ts";
import type { Requester } from "../device.ts";
import { Entry } from "../guest_memory.ts";
import { CLASS, EVENT, EVENT_SIZE, RECORD } from "./spec/events.ts";

/** How a transaction ends that is not translated. */
export const Termination = {
  /** The requester sees an abort. */
  Abort: 1,
  /** Reads return zero, writes are ignored. §5.4 CD.A */
  RazWi: 2,
} as const;

/** Bits of an access. */
export const Access = { Read: 0b0001, Write: 0b0010, Execute: 0b0100, Privileged: 0b1000 } as const;

/** The record of the fault that was met last. */
export class Fault {
  /** The event record, ready to be written. */
  readonly record: Entry = new Entry(EVENT_SIZE);

  /** A configuration error: only the stream is named. */
  configuration(number: number, requester: Requester): void {
    this.#begin(number, requester);
    const { words } = this.record;
    // §7.3.7: F_STREAM_DISABLED names no substream. §7.3.9: C_BAD_SUBSTREAMID always has one, and no SSV bit.
    if (number === EVENT.F_STREAM_DISABLED) {
      set(words, RECORD.SSV, 0);
      set(words, RECORD.SubstreamID, 0);
    } else if (number === EVENT.C_BAD_SUBSTREAMID) {
      set(words, RECORD.SSV, 0);
      set(words, RECORD.SubstreamID, Math.max(requester.substreamId, 0));
    }
  }

  /** A structure that could not be fetched: F_STE_FETCH, F_CD_FETCH. */
  fetch(number: number, requester: Requester, gpa: number): void {
    this.#begin(number, requester);
    this.#fetchAddress(gpa);
  }

  /** A translation fault of the input address. */
  translation(number: number, requester: Requester, lo: number, hi: number, access: number): void {
    this.#begin(number, requester);
    this.#input(lo, hi, access, CLASS.IN);
  }

  /** F_WALK_EABT: a descriptor at `gpa` could not be fetched. */
  walk(requester: Requester, lo: number, hi: number, access: number, gpa: number): void {
    this.#begin(EVENT.F_WALK_EABT, requester);
    this.#input(lo, hi, access, CLASS.TT);
    this.#fetchAddress(gpa);
  }

  #begin(number: number, requester: Requester): void {
    const { words } = this.record;
    words.fill(0);
    set(words, RECORD.ID, number);
    set(words, RECORD.StreamID, requester.streamId);
    if (requester.substreamId >= 0) {
      set(words, RECORD.SSV, 1);
      set(words, RECORD.SubstreamID, requester.substreamId);
    }
  }

  #input(lo: number, hi: number, access: number, klass: number): void {
    const { words } = this.record;
    const reads = (access & Access.Write) === 0;
    set(words, RECORD.RnW, Number(reads));
    set(words, RECORD.InD, Number(reads && (access & Access.Execute) !== 0));
    set(words, RECORD.PnU, Number((access & Access.Privileged) !== 0));
    set(words, RECORD.CLASS, klass);
    set(words, RECORD.InputAddrLow, lo);
    set(words, RECORD.InputAddrHigh, hi);
  }

  #fetchAddress(gpa: number): void {
    const { words } = this.record;
    set(words, RECORD.FetchAddrLow, (gpa % 0x1_0000_0000) & ~7);
    set(words, RECORD.FetchAddrHigh, Math.floor(gpa / 0x1_0000_0000));
  }
}
