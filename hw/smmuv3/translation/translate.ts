/**
 * One page of one transaction: STE, CD, TLB or walk, to an address or a fault. IHI 0070 §3.3, §15.1.
 * @module
 */
import { get, getAddress, maskOf } from "../../bits.ts";
import type { Requester } from "../../device.ts";
import { Entry, type GuestMemory } from "../../guest_memory.ts";
import { Context, isCdIllegal, isSteIllegal, Mode } from "../configuration/context.ts";
import { ContextCache } from "../configuration/context_cache.ts";
import { Fault, Termination } from "../fault.ts";
import type { Features } from "../features.ts";
import { type Observer, Translation } from "../observer.ts";
import type { RegisterFile } from "../register_file.ts";
import { CD, CD_SIZE } from "../spec/cd.ts";
import { EVENT } from "../spec/events.ts";
import { CR0, CR2, GBPA, REG } from "../spec/registers.ts";
import { Config, S1DSS, STE } from "../spec/ste.ts";
import { type StreamSource, StreamTable } from "../configuration/stream_table.ts";
import { Tlb } from "./tlb.ts";
import { permissionsNeeded, Walker } from "./walk.ts";

/** Without translation, what belongs together is as large as the largest page. */
const BYPASS_MASK = 0x3fff_ffff;
const SMMUEN = maskOf(CR0.SMMUEN);

/** Where faults go. */
export type FaultSink = (fault: Fault) => void;

/** Translates transactions; the results stay in its fields until the next one. */
export class Translator {
  /** Guest physical address of the last translation, in bytes. */
  gpa = 0;
  /**
   * Cached configuration; commands invalidate it.
   * @internal
   */
  readonly contexts: ContextCache = new ContextCache();
  /**
   * Cached translations; commands invalidate them.
   * @internal
   */
  readonly tlb: Tlb;

  /** Bits of an address inside the page of the last translation. */
  #offsetMask = 0;
  readonly #features: Features;
  readonly #memory: GuestMemory;
  readonly #cr0: Uint32Array;
  readonly #cr2: Uint32Array;
  readonly #gbpa: Uint32Array;
  readonly #streams: StreamSource;
  readonly #walker: Walker;
  readonly #cd = new Entry(CD_SIZE);
  readonly #fault = new Fault();
  readonly #report: FaultSink;
  readonly #observer: Observer | undefined;

  /** A translator over the device's registers and guest memory; STEs come from the stream table there by default. */
  constructor(
    registers: RegisterFile,
    memory: GuestMemory,
    features: Features,
    report: FaultSink,
    observer: Observer | undefined,
    log2tlbSets: number,
    streams: StreamSource = new StreamTable(registers, memory, features),
  ) {
    this.tlb = new Tlb(log2tlbSets);
    this.#features = features;
    this.#memory = memory;
    this.#cr0 = registers.view(REG.CR0);
    this.#cr2 = registers.view(REG.CR2);
    this.#gbpa = registers.view(REG.GBPA);
    this.#streams = streams;
    this.#walker = new Walker(memory);
    this.#report = report;
    this.#observer = observer;
  }

  /** How many bytes from `gpa` on belong to the same page. */
  get spanBytes(): number {
    return this.#offsetMask + 1 - (this.gpa & this.#offsetMask);
  }

  /**
   * Translates the page around an input address, two unsigned 32-bit words; `access` is made of `Access` bits.
   * Returns 0 when `gpa` and `spanBytes` hold the result, else one of `Termination`.
   */
  translate(requester: Requester, lo: number, hi: number, access: number): number {
    if ((this.#cr0[0] & SMMUEN) === 0) return this.#withoutTranslation(requester, lo, hi);
    const context = this.contexts.find(requester) ?? this.#configure(requester);
    if (context === undefined || context.mode === Mode.Abort) {
      this.#observer?.translation(requester, Translation.Fault);
      return Termination.Abort;
    }
    if (context.mode === Mode.Bypass) return this.#bypass(context, requester, lo, hi, access);
    const upper = context.tbi === 0 ? hi : withoutTag(hi, context.tbi);
    const { tlb } = this;
    const needed = permissionsNeeded(access);
    const at = tlb.find(lo, upper, context.asid);
    if (at < 0 || (tlb.permissions(at) & needed) !== needed) {
      return this.#walk(context, requester, lo, hi, upper, access, needed);
    }
    const offsetMask = tlb.offsetMask(at);
    this.gpa = tlb.gpa(at) + (lo & offsetMask);
    this.#offsetMask = offsetMask;
    this.#observer?.translation(requester, Translation.TlbHit);
    return 0;
  }

  #walk(
    context: Context,
    requester: Requester,
    lo: number,
    hi: number,
    upper: number,
    access: number,
    needed: number,
  ): number {
    const walker = this.#walker;
    const event = walker.walk(context, lo, upper, needed);
    if (event !== 0) {
      return this.#terminate(event, context, requester, lo, hi, access);
    }
    const { outputLo, outputHi, log2size, global, permissions } = walker;
    this.tlb.insert(lo, upper, context.asid, global, log2size, outputLo, outputHi, permissions);
    const offsetMask = (1 << log2size) - 1;
    this.gpa = outputHi * 0x1_0000_0000 + ((outputLo | (lo & offsetMask)) >>> 0);
    this.#offsetMask = offsetMask;
    this.#observer?.translation(requester, Translation.Walk);
    return 0;
  }

  #terminate(
    event: number,
    context: Context,
    requester: Requester,
    lo: number,
    hi: number,
    access: number,
  ): number {
    this.#observer?.translation(requester, Translation.Fault);
    if (event === EVENT.F_WALK_EABT) {
      this.#fault.walk(requester, lo, hi, access, this.#walker.gpa);
      this.#report(this.#fault);
      return Termination.Abort;
    }
    if (context.records) {
      this.#fault.translation(event, requester, lo, hi, access);
      this.#report(this.#fault);
    }
    return context.aborts ? Termination.Abort : Termination.RazWi;
  }

  /** §6.3.14 SMMU_GBPA decides while SMMU_CR0.SMMUEN is 0. */
  #withoutTranslation(requester: Requester, lo: number, hi: number): number {
    const gpa = hi * 0x1_0000_0000 + lo;
    if (get(this.#gbpa, GBPA.ABORT) === 1 || gpa >= 2 ** this.#features.oas) {
      this.#observer?.translation(requester, Translation.Fault);
      return Termination.Abort;
    }
    return this.#identity(requester, gpa);
  }

  #bypass(
    context: Context,
    requester: Requester,
    lo: number,
    hi: number,
    access: number,
  ): number {
    const gpa = hi * 0x1_0000_0000 + lo;
    if (gpa < 2 ** this.#features.oas) return this.#identity(requester, gpa);
    return this.#terminate(EVENT.F_ADDR_SIZE, context, requester, lo, hi, access);
  }

  #identity(requester: Requester, gpa: number): number {
    this.gpa = gpa;
    this.#offsetMask = BYPASS_MASK;
    this.#observer?.translation(requester, Translation.Bypass);
    return 0;
  }

  /** Decodes and caches the configuration of a stream; reports why when there is none. */
  #configure(requester: Requester): Context | undefined {
    const { streamId } = requester;
    const event = this.#streams.find(streamId);
    if (event === EVENT.F_STE_FETCH) {
      this.#fault.fetch(event, requester, this.#streams.gpa);
      this.#report(this.#fault);
      return undefined;
    }
    if (event === EVENT.C_BAD_STREAMID) {
      return get(this.#cr2, CR2.RECINVSID) === 1 ? this.#refuse(event, requester) : undefined;
    }
    const ste = this.#streams.entry.words;
    if (get(ste, STE.V) === 0 || isSteIllegal(ste, this.#features)) {
      return this.#refuse(EVENT.C_BAD_STE, requester);
    }
    const config = get(ste, STE.Config);
    if (config < Config.Bypass) return this.#keep(requester, Mode.Abort);
    if (config === Config.Bypass) {
      return requester.substreamId < 0
        ? this.#keep(requester, Mode.Bypass)
        : this.#refuse(EVENT.C_BAD_SUBSTREAMID, requester);
    }
    return this.#configureStage1(requester, ste);
  }

  #configureStage1(requester: Requester, ste: Uint32Array): Context | undefined {
    const { substreamId } = requester;
    const log2count = this.#features.ssidSize === 0 ? 0 : get(ste, STE.S1CDMax);
    const withoutSubstream = get(ste, STE.S1DSS);
    if (substreamId >= 0) {
      if (log2count === 0 || substreamId >= 2 ** log2count) {
        return this.#refuse(EVENT.C_BAD_SUBSTREAMID, requester);
      }
      if (substreamId === 0 && withoutSubstream === S1DSS.Substream0) {
        return this.#refuse(EVENT.F_STREAM_DISABLED, requester);
      }
    } else if (log2count > 0) {
      if (withoutSubstream === S1DSS.Bypass) return this.#keep(requester, Mode.Bypass);
      if (withoutSubstream !== S1DSS.Substream0) {
        return this.#refuse(EVENT.F_STREAM_DISABLED, requester);
      }
    }
    const pointer = getAddress(ste, STE.S1ContextPtr);
    const table = pointer - pointer % (CD_SIZE * 2 ** log2count);
    const gpa = table + Math.max(substreamId, 0) * CD_SIZE;
    if (gpa >= 2 ** this.#features.oas || !this.#memory.fetch(gpa, this.#cd)) {
      this.#fault.fetch(EVENT.F_CD_FETCH, requester, gpa);
      this.#report(this.#fault);
      return undefined;
    }
    const cd = this.#cd.words;
    if (get(cd, CD.V) === 0 || isCdIllegal(cd, this.#features)) {
      return this.#refuse(EVENT.C_BAD_CD, requester);
    }
    return this.#keep(requester, Mode.Translate, cd);
  }

  #refuse(event: number, requester: Requester): undefined {
    this.#fault.configuration(event, requester);
    this.#report(this.#fault);
  }

  #keep({ streamId, substreamId }: Requester, mode: number, cd?: Uint32Array): Context {
    const context = new Context(streamId, substreamId, mode, this.#features, cd);
    this.contexts.insert(context);
    return context;
  }
}

/** The upper word of an address whose top byte is replaced by copies of bit 55 where it is ignored. §3.4.1 */
function withoutTag(hi: number, tbi: number): number {
  const upper = (hi >>> 23) & 1;
  if ((tbi & (1 << upper)) === 0) return hi;
  return upper === 0 ? hi & 0x00ff_ffff : (hi | 0xff00_0000) >>> 0;
}
