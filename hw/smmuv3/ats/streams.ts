/**
 * What ATS asks of a stream: its STE alone, and whether it may. IHI 0070 §3.9.1, §5.2 STE.EATS.
 * @module
 */
import { get, maskOf } from "../../bits.ts";
import type { Requester } from "../../device.ts";
import { DOMAINS_OF_CONTEXT } from "../configuration/adoption.ts";
import { type Context, STREAM_ITSELF } from "../configuration/context.ts";
import { Fault } from "../fault.ts";
import type { Features } from "../features.ts";
import type { RegisterFile } from "../register_file.ts";
import { EVENT } from "../spec/events.ts";
import { CR0, CR2, REG } from "../spec/registers.ts";
import { EATS } from "../spec/ste.ts";
import type { FaultSink, Translator } from "../translation/translate.ts";

const SMMUEN = maskOf(CR0.SMMUEN);
const ATSCHK = maskOf(CR0.ATSCHK);

/** The streams of an SMMU as ATS sees them. */
export class AtsStreams {
  /** What the device can do. */
  readonly features: Features;
  /** What translates. */
  readonly translator: Translator;
  /** The record of what is to be reported next. */
  readonly fault: Fault = new Fault();

  readonly #cr0: Uint32Array;
  readonly #cr2: Uint32Array;
  readonly #report: FaultSink;
  readonly #stream = { streamId: 0, substreamId: STREAM_ITSELF };

  /** The streams that the registers describe; events go to `report`. */
  constructor(
    registers: RegisterFile,
    features: Features,
    translator: Translator,
    report: FaultSink,
  ) {
    this.features = features;
    this.translator = translator;
    this.#cr0 = registers.view(REG.CR0);
    this.#cr2 = registers.view(REG.CR2);
    this.#report = report;
  }

  /** Whether there is translation: CR0.SMMUEN. */
  get isEnabled(): boolean {
    return (this.#cr0[0] & SMMUEN) !== 0;
  }

  /** Whether translated transactions are looked at: CR0.ATSCHK. */
  get areChecked(): boolean {
    return (this.#cr0[0] & ATSCHK) !== 0;
  }

  /** CR2.RECINVSID. */
  get recordsBadStreams(): boolean {
    return get(this.#cr2, CR2.RECINVSID) === 1;
  }

  /** What the STE of a stream says by itself; undefined when there is none that is legal. */
  find(streamId: number): Context | undefined {
    this.#stream.streamId = streamId;
    const { contexts, parts } = this.translator;
    const found = contexts.find(this.#stream);
    if (found !== undefined) return found;
    this.#makeRoom();
    return this.#insert(parts.configurator.configureStream(streamId));
  }

  /** The context of a requester; undefined when there is none. */
  context(requester: Requester): Context | undefined {
    const { contexts, parts } = this.translator;
    const found = contexts.find(requester);
    if (found !== undefined) return found;
    this.#makeRoom();
    return this.#insert(parts.configurator.configure(requester));
  }

  /** What STE.EATS means just now. */
  eats({ eats }: Context): number {
    return eats === EATS.Split && !this.areChecked ? EATS.Disabled : eats;
  }

  /** Records the event that is in `fault`. */
  report(merges: boolean): void {
    this.fault.merges = merges;
    this.#report(this.fault);
  }

  /** Records why there is no configuration, where CR2.REC_CFG_ATS wants it. */
  reportConfiguration(requester: Requester): void {
    if (get(this.#cr2, CR2.REC_CFG_ATS) === 0) return;
    const { event, gpa, merges } = this.translator.parts.configurator;
    if (event === 0) return;
    if (event === EVENT.F_STE_FETCH || event === EVENT.F_CD_FETCH) {
      this.fault.fetch(event, requester, gpa);
    } else {
      this.fault.configuration(event, requester);
    }
    this.report(merges);
  }

  /** Records a descriptor that could not be fetched or written, where CR2.REC_CFG_ATS wants it. */
  reportAbort(
    requester: Requester,
    lo: number,
    hi: number,
    access: number,
    merges: boolean,
  ): void {
    if (get(this.#cr2, CR2.REC_CFG_ATS) === 0) return;
    const { trouble } = this.translator.parts;
    this.fault.translation(EVENT.F_WALK_EABT, requester, lo, hi, access, trouble);
    this.report(merges);
  }

  #makeRoom(): void {
    const { translator } = this;
    if (!translator.tlb.domains.hasRoom(DOMAINS_OF_CONTEXT)) translator.forget();
  }

  #insert(context: Context | undefined): Context | undefined {
    if (context !== undefined) this.translator.contexts.insert(context);
    return context;
  }
}
