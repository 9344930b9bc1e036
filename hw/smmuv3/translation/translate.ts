/**
 * One page of one transaction: STE, CD, TLB or walk, to an address or a fault. IHI 0070 §3.3, §15.1.
 * @module
 */
import { get, maskOf } from "../../bits.ts";
import type { Requester } from "../../device.ts";
import type { GuestMemory } from "../../guest_memory.ts";
import { DOMAINS_OF_CONTEXT } from "../configuration/adoption.ts";
import { Configurator } from "../configuration/configurator.ts";
import { type Context, IGNORED_IN_ONE_RANGE, Mode } from "../configuration/context.ts";
import { ContextCache } from "../configuration/context_cache.ts";
import type { StageTwo } from "../configuration/stage_two.ts";
import { type StreamSource, StreamTable } from "../configuration/stream_table.ts";
import { Access, Fault, Termination } from "../fault.ts";
import type { Features } from "../features.ts";
import { type Observer, Translation } from "../observer.ts";
import type { RegisterFile } from "../register_file.ts";
import { CLASS, EVENT } from "../spec/events.ts";
import { CR0, GBPA, REG } from "../spec/registers.ts";
import { permissionsNeeded } from "./permissions.ts";
import { StageTwoWalker } from "./stage_two_walk.ts";
import { Tlb } from "./tlb.ts";
import { Trouble } from "./trouble.ts";
import { Walker } from "./walk.ts";

/** Without translation, what belongs together is as large as the largest page. */
const BYPASS_MASK = 0x3fff_ffff;
const SMMUEN = maskOf(CR0.SMMUEN);

/** What a translator translates with. */
export interface TranslatorParts {
  /** From a requester to its context. */
  readonly configurator: Configurator;
  /** Stage 1, with stage 2 below it. */
  readonly walker: Walker;
  /** Stage 2 alone. */
  readonly stageTwo: StageTwoWalker;
  /** Where and why the last of them failed. */
  readonly trouble: Trouble;
}

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
  /**
   * The fault of the last transaction that was not translated: after `Termination.Stall` it still has to be reported.
   * @internal
   */
  readonly fault: Fault = new Fault();

  /**
   * The parts that translate, for those who ask without being transactions.
   * @internal
   */
  readonly parts: TranslatorParts;

  /** Bits of an address inside the page of the last translation. */
  #offsetMask = 0;
  /** How the last transaction that had no context ends. */
  #termination: number = Termination.Abort;
  readonly #features: Features;
  readonly #cr0: Uint32Array;
  readonly #gbpa: Uint32Array;
  readonly #configurator: Configurator;
  readonly #walker: Walker;
  readonly #stageTwo: StageTwoWalker;
  readonly #trouble = new Trouble();
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
    this.#cr0 = registers.view(REG.CR0);
    this.#gbpa = registers.view(REG.GBPA);
    this.#stageTwo = new StageTwoWalker(memory, this.tlb, this.#trouble);
    this.#walker = new Walker(memory, this.#stageTwo, this.#trouble);
    this.#configurator = new Configurator(
      registers,
      memory,
      features,
      streams,
      this.#stageTwo,
      this.tlb,
    );
    this.parts = {
      configurator: this.#configurator,
      walker: this.#walker,
      stageTwo: this.#stageTwo,
      trouble: this.#trouble,
    };
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
    const context = this.contexts.find(requester) ?? this.#configure(requester, lo, hi, access);
    if (context === undefined) return this.#termination;
    if (context.mode < Mode.Translate) {
      return this.#untranslated(context, requester, lo, hi, access);
    }
    const upper = context.tbi === 0 ? hi : withoutTag(hi, context.tbi);
    const { tlb } = this;
    const needed = permissionsNeeded(access);
    const at = tlb.find(lo, upper, context.domain, context.shared);
    if (at >= 0 && (tlb.permissions(at) & needed) === needed) {
      const offsetMask = tlb.offsetMask(at);
      this.gpa = tlb.gpa(at) + (lo & offsetMask);
      this.#offsetMask = offsetMask;
      this.#observer?.translation(requester, Translation.TlbHit);
      return 0;
    }
    return this.#walk(context, requester, lo, hi, upper, access, needed);
  }

  /** Forgets everything cached. */
  forget(): void {
    this.contexts.invalidateStreams(0, 2 ** 32);
    this.tlb.clear();
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
    if (context.mode === Mode.Stage2) {
      return this.translateStage2(context, requester, lo, hi, access);
    }
    const walker = this.#walker;
    const event = walker.walk(context, lo, upper, needed);
    if (event !== 0) {
      return this.#terminate(event, context, context.stage2, requester, lo, hi, access);
    }
    this.keep(context, lo, upper);
    const { outputLo, outputHi, log2size } = walker;
    const offsetMask = (1 << log2size) - 1;
    this.gpa = outputHi * 0x1_0000_0000 + ((outputLo | (lo & offsetMask)) >>> 0);
    this.#offsetMask = offsetMask;
    this.#observer?.translation(requester, Translation.Walk);
    return 0;
  }

  /**
   * Caches what the walker found for an address whose top byte is extended where it is ignored.
   * @internal
   */
  keep(context: Context, lo: number, upper: number): void {
    const { outputLo, outputHi, log2size, log2leaf, global, permissions } = this.#walker;
    this.tlb.insert(
      lo,
      upper,
      global ? context.shared : context.domain,
      log2size,
      log2leaf,
      outputLo,
      outputHi,
      permissions,
    );
  }

  /**
   * Translates by stage 2 alone, as `translate` does. §3.4: bypassed stage 1 lets no address through that is beyond the
   * IAS, which is the OAS.
   * @internal
   */
  translateStage2(
    context: Context,
    requester: Requester,
    lo: number,
    hi: number,
    access: number,
  ): number {
    if (hi * 0x1_0000_0000 + lo >= 2 ** this.#features.oas) {
      return this.#beyondInput(context, requester, lo, hi, access);
    }
    const walker = this.#stageTwo;
    const stage2 = context.stage2!;
    const event = walker.translate(stage2, lo, hi, permissionsNeeded(access), CLASS.IN);
    if (event !== 0) return this.#terminate(event, context, stage2, requester, lo, hi, access);
    this.gpa = walker.gpaHi * 0x1_0000_0000 + walker.gpaLo;
    this.#offsetMask = (1 << walker.log2size) - 1;
    this.#observer?.translation(requester, Translation.Walk);
    return 0;
  }

  /** Reports a fault, and returns how the transaction ends: by CD.{A,R,S} or STE.{S2R,S2S}, whose stage it is. §5.5 */
  #terminate(
    event: number,
    context: Context | undefined,
    stage2: StageTwo | undefined,
    requester: Requester,
    lo: number,
    hi: number,
    access: number,
  ): number {
    this.#observer?.translation(requester, Translation.Fault);
    const { fault } = this;
    const trouble = this.#trouble;
    fault.translation(event, requester, lo, hi, access, trouble);
    fault.merges = context?.merges ?? this.#configurator.merges;
    const isStage2 = trouble.stage2;
    const rules = event === EVENT.F_WALK_EABT ? undefined : isStage2 ? stage2 : context;
    if (rules !== undefined && rules.stalls && (access & Access.Stallable) !== 0) {
      return Termination.Stall;
    }
    if (rules === undefined || rules.records) this.#report(fault);
    return rules === undefined || rules.aborts ? Termination.Abort : Termination.RazWi;
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

  /** A stream that aborts, or bypasses. */
  #untranslated(
    context: Context,
    requester: Requester,
    lo: number,
    hi: number,
    access: number,
  ): number {
    if (context.mode === Mode.Abort) {
      this.#observer?.translation(requester, Translation.Fault);
      return Termination.Abort;
    }
    const gpa = hi * 0x1_0000_0000 + lo;
    if (gpa < 2 ** this.#features.oas) return this.#identity(requester, gpa);
    return this.#beyondInput(context, requester, lo, hi, access);
  }

  /** The input of a bypassed stage 1 is too large. §7.3.14 */
  #beyondInput(
    context: Context,
    requester: Requester,
    lo: number,
    hi: number,
    access: number,
  ): number {
    this.#trouble.stage2 = false;
    this.#trouble.klass = CLASS.IN;
    return this.#terminate(EVENT.F_ADDR_SIZE, context, undefined, requester, lo, hi, access);
  }

  #identity(requester: Requester, gpa: number): number {
    this.gpa = gpa;
    this.#offsetMask = BYPASS_MASK;
    this.#observer?.translation(requester, Translation.Bypass);
    return 0;
  }

  /** Decodes and caches the configuration of a stream; reports why when there is none. */
  #configure(requester: Requester, lo: number, hi: number, access: number): Context | undefined {
    const configurator = this.#configurator;
    if (!this.tlb.domains.hasRoom(DOMAINS_OF_CONTEXT)) this.forget();
    const context = configurator.configure(requester);
    if (context !== undefined) {
      this.contexts.insert(context);
      return context;
    }
    const { event, stage2 } = configurator;
    if (event === EVENT.F_WALK_EABT || event >= EVENT.F_TRANSLATION) {
      this.#termination = this.#terminate(event, undefined, stage2, requester, lo, hi, access);
      return undefined;
    }
    this.#termination = Termination.Abort;
    if (event !== 0) this.#reportConfiguration(event, requester);
    this.#observer?.translation(requester, Translation.Fault);
    return undefined;
  }

  #reportConfiguration(event: number, requester: Requester): void {
    const { fault } = this;
    const configurator = this.#configurator;
    if (event === EVENT.F_STE_FETCH || event === EVENT.F_CD_FETCH) {
      fault.fetch(event, requester, configurator.gpa);
    } else {
      fault.configuration(event, requester);
    }
    fault.merges = configurator.merges;
    this.#report(fault);
  }
}

/** The upper word of an address whose top byte is replaced by copies of bit 55 where it is ignored. §3.4.1 */
export function withoutTag(hi: number, tbi: number): number {
  if (tbi === IGNORED_IN_ONE_RANGE) return hi & 0x00ff_ffff;
  const upper = (hi >>> 23) & 1;
  if ((tbi & (1 << upper)) === 0) return hi;
  return upper === 0 ? hi & 0x00ff_ffff : (hi | 0xff00_0000) >>> 0;
}
