/**
 * Translation requests of endpoints, and what they are answered. IHI 0070 §3.9.1.2, §13.6.3 to §13.7.1.
 * @module
 */
import {
  CompletionStatus,
  type TranslationCompletion,
  type TranslationRequestKind,
} from "../../ats_port.ts";
import type { Requester } from "../../device.ts";
import { type Context, Mode } from "../configuration/context.ts";
import { Access } from "../fault.ts";
import { CLASS, EVENT } from "../spec/events.ts";
import { EATS } from "../spec/ste.ts";
import { Permission } from "../translation/permissions.ts";
import { withoutTag } from "../translation/translate.ts";
import type { AtsStreams } from "./streams.ts";

/** What is tried one after the other, until a page permits it. */
const TO_READ: readonly number[] = [Permission.Read];
const TO_WRITE: readonly number[] = [
  Permission.Read | Permission.Write,
  Permission.Read,
  Permission.Write,
];
const PRIVILEGED_SHIFT = 3;
/** log2 of what an untranslated page is as large as. */
const LOG2_IDENTITY = 30;

/** Answers translation requests. */
export class TranslationRequests {
  readonly #streams: AtsStreams;
  /** log2 of the Smallest Translation Unit: the smallest granule. */
  readonly #log2unit: number;
  /** What was found: where, how large, and what it permits. */
  #gpaLo = 0;
  #gpaHi = 0;
  #log2size = 0;
  #permissions = 0;

  /** Requests of `streams`. */
  constructor(streams: AtsStreams) {
    this.#streams = streams;
    const { granule4K, granule16K } = streams.features;
    this.#log2unit = granule4K ? 12 : granule16K ? 14 : 16;
  }

  /** See `AtsPort.translate`. */
  translate(
    requester: Requester,
    lo: number,
    hi: number,
    kind: TranslationRequestKind,
    into: TranslationCompletion,
  ): void {
    // §13.7.1: without a PASID there is no place for the other two.
    const hasPasid = requester.substreamId >= 0;
    const access = Access.Read | (kind.write ? Access.Write : 0) |
      (hasPasid && kind.execute ? Access.Execute : 0) |
      (hasPasid && kind.privileged ? Access.Privileged : 0);
    into.gpa = 0;
    into.log2size = this.#log2unit;
    into.read = into.write = into.execute = false;
    into.privileged = (access & Access.Privileged) !== 0;
    into.status = this.#answer(requester, lo, hi, access, into);
  }

  #answer(
    requester: Requester,
    lo: number,
    hi: number,
    access: number,
    into: TranslationCompletion,
  ): number {
    const streams = this.#streams;
    if (!streams.features.ats) return CompletionStatus.UnsupportedRequest;
    if (!streams.isEnabled) return this.#refuse(requester, lo, hi, access, false);
    const stream = streams.find(requester.streamId);
    if (stream === undefined) {
      const { event } = streams.translator.parts.configurator;
      if (event !== EVENT.C_BAD_STREAMID || streams.recordsBadStreams) {
        streams.reportConfiguration(requester);
      }
      return CompletionStatus.CompleterAbort;
    }
    if (stream.mode === Mode.Abort) return CompletionStatus.UnsupportedRequest;
    if (streams.eats(stream) === EATS.Disabled) {
      return this.#refuse(requester, lo, hi, access, stream.merges);
    }
    const context = streams.context(requester);
    if (context === undefined) return this.#withoutContext(requester, lo, hi, access);
    return this.#translate(context, requester, lo, hi, access, into);
  }

  /** By a context that may have been cached before its stream was: what it says of ATS itself is what counts. */
  #translate(
    context: Context,
    requester: Requester,
    lo: number,
    hi: number,
    access: number,
    into: TranslationCompletion,
  ): number {
    const streams = this.#streams;
    if (context.mode === Mode.Abort) return CompletionStatus.UnsupportedRequest;
    const eats = streams.eats(context);
    if (eats === EATS.Disabled) return this.#refuse(requester, lo, hi, access, context.merges);
    const event = this.#find(context, lo, hi, access, eats === EATS.Split);
    if (event === EVENT.F_WALK_EABT) {
      streams.reportAbort(requester, lo, hi, access, context.merges);
      return CompletionStatus.CompleterAbort;
    }
    if (event === 0) this.#grant(access, into);
    return CompletionStatus.Success;
  }

  #refuse(
    requester: Requester,
    lo: number,
    hi: number,
    access: number,
    merges: boolean,
  ): number {
    this.#streams.fault.translationRequest(requester, lo, hi, access);
    this.#streams.report(merges);
    return CompletionStatus.UnsupportedRequest;
  }

  /** A fault of stage 2 on the way to the CD is an answer; everything else is an error. */
  #withoutContext(requester: Requester, lo: number, hi: number, access: number): number {
    const streams = this.#streams;
    const { event, merges } = streams.translator.parts.configurator;
    if (event >= EVENT.F_TRANSLATION) return CompletionStatus.Success;
    if (event === EVENT.F_WALK_EABT) streams.reportAbort(requester, lo, hi, access, merges);
    else streams.reportConfiguration(requester);
    return CompletionStatus.CompleterAbort;
  }

  /** Finds the page, with the most of what was asked for that it permits; or the event that describes why not. */
  #find(context: Context, lo: number, hi: number, access: number, isSplit: boolean): number {
    if (context.mode === Mode.Bypass) return this.#identity(lo, hi);
    const wanted = (access & Access.Write) === 0 ? TO_READ : TO_WRITE;
    const shift = (access & Access.Privileged) === 0 ? 0 : PRIVILEGED_SHIFT;
    const { trouble } = this.#streams.translator.parts;
    for (let i = 0;; i++) {
      const needed = wanted[i] << shift;
      const event = context.mode === Mode.Stage2
        ? this.#byStage2(context, lo, hi, needed, isSplit)
        : this.#byTables(context, lo, hi, needed, isSplit);
      // Where tables or CDs cannot be read less may be asked for, but not less of them.
      const isPage = event === EVENT.F_PERMISSION && trouble.klass === CLASS.IN;
      if (!isPage || i + 1 === wanted.length) return event;
    }
  }

  /** §13.6.4: stage 1 is skipped, and there is no stage 2. */
  #identity(lo: number, hi: number): number {
    this.#set(lo, hi, LOG2_IDENTITY, Permission.Read | Permission.Write);
    return this.#isBeyond(lo, hi) ? EVENT.F_ADDR_SIZE : 0;
  }

  #byStage2(context: Context, lo: number, hi: number, needed: number, isSplit: boolean): number {
    if (this.#isBeyond(lo, hi)) return EVENT.F_ADDR_SIZE;
    const { stageTwo } = this.#streams.translator.parts;
    const event = stageTwo.translate(context.stage2!, lo, hi, needed, CLASS.IN);
    if (event !== 0) return event;
    const { gpaLo, gpaHi, log2size, permissions } = stageTwo;
    // §13.6.5: the address is translated when it is used.
    if (isSplit) this.#set(lo, hi, log2size, permissions);
    else this.#set(gpaLo, gpaHi, log2size, permissions);
    return 0;
  }

  #byTables(context: Context, lo: number, hi: number, needed: number, isSplit: boolean): number {
    const { translator } = this.#streams;
    const upper = context.tbi === 0 ? hi : withoutTag(hi, context.tbi);
    const { tlb } = translator;
    // Of the address between both stages the TLB knows nothing.
    const at = isSplit ? -1 : tlb.find(lo, upper, context.domain, context.shared);
    if (at >= 0 && (tlb.permissions(at) & needed) === needed) {
      this.#set(tlb.gpaLo(at), tlb.gpaHi(at), tlb.log2size(at), tlb.permissions(at));
      return 0;
    }
    const { walker } = translator.parts;
    const event = walker.walk(context, lo, upper, needed);
    if (event !== 0) return event;
    translator.keep(context, lo, upper);
    const { log2size, permissions } = walker;
    if (isSplit) this.#set(walker.ipaLo, walker.ipaHi, log2size, permissions);
    else this.#set(walker.outputLo, walker.outputHi, log2size, permissions);
    return 0;
  }

  #set(lo: number, hi: number, log2size: number, permissions: number): void {
    this.#gpaLo = ((lo >>> log2size) << log2size) >>> 0;
    this.#gpaHi = hi;
    this.#log2size = log2size;
    this.#permissions = permissions;
  }

  /** §13.7.1: what is only executable is granted to nobody. */
  #grant(access: number, into: TranslationCompletion): void {
    const granted = (access & Access.Privileged) === 0
      ? this.#permissions
      : this.#permissions >>> PRIVILEGED_SHIFT;
    into.gpa = this.#gpaHi * 0x1_0000_0000 + this.#gpaLo;
    into.log2size = this.#log2size;
    into.read = (granted & Permission.Read) !== 0;
    into.write = (granted & Permission.Write) !== 0;
    into.execute = into.read && (access & Access.Execute) !== 0 &&
      (granted & Permission.Execute) !== 0;
  }

  #isBeyond(lo: number, hi: number): boolean {
    return hi * 0x1_0000_0000 + lo >= 2 ** this.#streams.features.oas;
  }
}
