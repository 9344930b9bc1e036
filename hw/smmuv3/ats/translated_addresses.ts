/**
 * Translated transactions of endpoints, and which of them may pass. IHI 0070 §3.9.1.1, §3.9.1.3.
 * @module
 */
import type { Requester } from "../../device.ts";
import { type Context, Mode } from "../configuration/context.ts";
import type { PageTranslator } from "../dma.ts";
import { Access, Termination } from "../fault.ts";
import { EATS } from "../spec/ste.ts";
import type { AtsStreams } from "./streams.ts";

/** Without translation, what belongs together is as large as the largest page. */
const SPAN_MASK = 0x3fff_ffff;

/** Lets translated addresses through as they are, or as those that stage 2 translates. */
export class TranslatedAddresses implements PageTranslator {
  /** Guest physical address of the last transaction, in bytes. */
  gpa = 0;
  /** How many bytes from `gpa` on belong together. */
  spanBytes = 0;

  readonly #streams: AtsStreams;
  /** IDR3.PASIDTT is 0: each transaction is as one without a substream. */
  readonly #requester = { streamId: 0, substreamId: -1 };

  /** Transactions of `streams`. */
  constructor(streams: AtsStreams) {
    this.#streams = streams;
  }

  translate({ streamId }: Requester, lo: number, hi: number, access: number): number {
    const streams = this.#streams;
    const requester = this.#requester;
    requester.streamId = streamId;
    if (!streams.features.ats) return Termination.Abort;
    if (!streams.isEnabled) return this.#forbid(lo, hi, access, false);
    if (!streams.areChecked) return this.#pass(lo, hi);
    const stream = streams.find(streamId);
    if (stream === undefined) {
      streams.reportConfiguration(requester);
      return Termination.Abort;
    }
    if (stream.mode === Mode.Abort) return Termination.Abort;
    switch (streams.eats(stream)) {
      case EATS.Full:
        return this.#pass(lo, hi);
      case EATS.Split:
        return this.#below(stream, requester, lo, hi, access);
      default:
        return this.#forbid(lo, hi, access, stream.merges);
    }
  }

  /** §3.9.1.1: what is beyond memory aborts, and nobody is told. */
  #pass(lo: number, hi: number): number {
    this.gpa = hi * 0x1_0000_0000 + lo;
    this.spanBytes = SPAN_MASK + 1 - (lo & SPAN_MASK);
    return this.gpa < 2 ** this.#streams.features.oas ? 0 : Termination.Abort;
  }

  /** The address is one between the stages. A fault is recorded as that of an ordinary transaction is. */
  #below(stream: Context, requester: Requester, lo: number, hi: number, access: number): number {
    const { translator } = this.#streams;
    const data = access & (Access.Read | Access.Write);
    const termination = translator.translateStage2(stream, requester, lo, hi, data);
    if (termination !== 0) return Termination.Abort;
    this.gpa = translator.gpa;
    this.spanBytes = translator.spanBytes;
    return 0;
  }

  #forbid(lo: number, hi: number, access: number, merges: boolean): number {
    const write = (access & Access.Write) !== 0;
    this.#streams.fault.forbidden(this.#requester.streamId, lo, hi, write);
    this.#streams.report(merges);
    return Termination.Abort;
  }
}
