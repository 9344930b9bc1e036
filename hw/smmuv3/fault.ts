/**
 * What went wrong with a transaction, as a value. IHI 0070 §7.3 Event records.
 *
 * One record is kept and overwritten: a fault allocates nothing and is read before the next transaction.
 * @module
 */
import { set } from "../bits.ts";
import type { Requester } from "../device.ts";
import { Entry } from "../guest_memory.ts";
import { BAD_ATS_RECORD, CLASS, EVENT, EVENT_SIZE, RECORD, STALL_RECORD } from "./spec/events.ts";
import type { Trouble } from "./translation/trouble.ts";

/** How a transaction ends that is not translated. */
export const Termination = {
  /** The requester sees an abort. */
  Abort: 1,
  /** Reads return zero, writes are ignored. §5.4 CD.A */
  RazWi: 2,
  /** It has not ended: it waits for CMD_RESUME. Only of an access that is `Access.Stallable`. §3.12.2 */
  Stall: 3,
} as const;

/** Bits of an access. */
export const Access = {
  /** Data is read. */
  Read: 0b0_0001,
  /** Data is written. */
  Write: 0b0_0010,
  /** An instruction is fetched. */
  Execute: 0b0_0100,
  /** By privileged software of the endpoint. */
  Privileged: 0b0_1000,
  /** The requester can wait for its answer. */
  Stallable: 0b1_0000,
} as const;

/** The record of the fault that was met last. */
export class Fault {
  /** The event record, ready to be written. */
  readonly record: Entry = new Entry(EVENT_SIZE);
  /** Whether an equal record makes this one superfluous. STE.MEV */
  merges = false;

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
    this.#address(gpa % 0x1_0000_0000, Math.floor(gpa / 0x1_0000_0000));
  }

  /** F_BAD_ATS_TREQ: a translation request of one page, by an endpoint that may not ask. §7.3.6 */
  translationRequest(requester: Requester, lo: number, hi: number, access: number): void {
    this.#begin(EVENT.F_BAD_ATS_TREQ, requester);
    const { words } = this.record;
    set(words, BAD_ATS_RECORD.Span, 1);
    set(words, BAD_ATS_RECORD.R, 1);
    set(words, BAD_ATS_RECORD.W, Number((access & Access.Write) !== 0));
    set(words, BAD_ATS_RECORD.X, Number((access & Access.Execute) !== 0));
    set(words, BAD_ATS_RECORD.PRIV, Number((access & Access.Privileged) !== 0));
    set(words, RECORD.InputAddrLow, lo & ~0xfff);
    set(words, RECORD.InputAddrHigh, hi);
  }

  /** F_TRANSL_FORBIDDEN: a translated transaction that may not pass; it names no substream. §7.3.8 */
  forbidden(streamId: number, lo: number, hi: number, write: boolean): void {
    const { words } = this.record;
    words.fill(0);
    this.merges = false;
    set(words, RECORD.ID, EVENT.F_TRANSL_FORBIDDEN);
    set(words, RECORD.StreamID, streamId);
    set(words, RECORD.RnW, Number(!write));
    set(words, RECORD.InputAddrLow, lo);
    set(words, RECORD.InputAddrHigh, hi);
  }

  /** A fault that translation met, with its `trouble`. */
  translation(
    number: number,
    requester: Requester,
    lo: number,
    hi: number,
    access: number,
    trouble: Trouble,
  ): void {
    this.#begin(number, requester);
    const { words } = this.record;
    const reads = (access & Access.Write) === 0;
    set(words, RECORD.RnW, Number(reads));
    set(words, RECORD.InD, Number(reads && (access & Access.Execute) !== 0));
    set(words, RECORD.PnU, Number((access & Access.Privileged) !== 0));
    set(words, RECORD.CLASS, trouble.klass);
    set(words, RECORD.InputAddrLow, lo);
    set(words, RECORD.InputAddrHigh, hi);
    set(words, RECORD.S2, Number(trouble.stage2));
    if (number === EVENT.F_WALK_EABT) {
      const { gpa } = trouble;
      this.#address(gpa % 0x1_0000_0000, Math.floor(gpa / 0x1_0000_0000));
    } else if (trouble.stage2) {
      this.#address(trouble.ipaLo & ~0xfff, trouble.ipaHi);
      if (number === EVENT.F_PERMISSION && trouble.klass === CLASS.TT) {
        set(words, RECORD.TTRnW, Number(!trouble.isTableWrite));
      }
    }
  }

  /** Makes it the record of a transaction that waits for CMD_RESUME with this STAG. */
  stall(stag: number): void {
    set(this.record.words, RECORD.Stall, 1);
    set(this.record.words, STALL_RECORD.STAG, stag);
    this.merges = false;
  }

  #begin(number: number, requester: Requester): void {
    const { words } = this.record;
    words.fill(0);
    this.merges = false;
    set(words, RECORD.ID, number);
    set(words, RECORD.StreamID, requester.streamId);
    if (requester.substreamId >= 0) {
      set(words, RECORD.SSV, 1);
      set(words, RECORD.SubstreamID, requester.substreamId);
    }
  }

  /** FetchAddr or IPA. */
  #address(lo: number, hi: number): void {
    const { words } = this.record;
    set(words, RECORD.FetchAddrLow, lo & ~7);
    set(words, RECORD.FetchAddrHigh, hi);
  }
}
