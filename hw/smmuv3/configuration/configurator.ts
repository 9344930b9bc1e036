/**
 * From a requester to its context: STE, then CD, in the order of the manual's checks. IHI 0070 §3.3, §7.3.22, §15.1.
 * @module
 */
import { get } from "../../bits.ts";
import type { Requester } from "../../device.ts";
import type { GuestMemory } from "../../guest_memory.ts";
import type { Features } from "../features.ts";
import type { RegisterFile } from "../register_file.ts";
import { CD } from "../spec/cd.ts";
import { EVENT } from "../spec/events.ts";
import { CR2, REG } from "../spec/registers.ts";
import { Config, S1DSS, STE } from "../spec/ste.ts";
import type { StageTwoWalker } from "../translation/stage_two_walk.ts";
import { World } from "../translation/domains.ts";
import type { Tlb } from "../translation/tlb.ts";
import { isCdIllegal } from "./cd_validity.ts";
import { CdTable } from "./cd_table.ts";
import { adopt, adoptStage2 } from "./adoption.ts";
import { Context, type ContextSource, Mode, STREAM_ITSELF, worldOf } from "./context.ts";
import { StageTwo } from "./stage_two.ts";
import { isSteIllegal } from "./ste_validity.ts";
import type { StreamSource } from "./stream_table.ts";

/** Finds the configuration of requesters; why there is none stays in its fields until the next time. */
export class Configurator {
  /** The number of the event that says why; 0 when none is to be recorded. */
  event = 0;
  /** Where the structure is that could not be fetched, in bytes. */
  gpa = 0;
  /** Stage 2 of the stream, whose fault the event is when its number is one of stage 2. */
  stage2: StageTwo | undefined;
  /** Whether equal events may be merged. STE.MEV */
  merges = false;

  readonly #features: Features;
  readonly #cr2: Uint32Array;
  readonly #streams: StreamSource;
  readonly #cds: CdTable;
  readonly #tlb: Tlb;

  /** Configuration in `memory`: STEs from `streams`, and CDs where they point, by `stageTwo` where they say so. */
  constructor(
    registers: RegisterFile,
    memory: GuestMemory,
    features: Features,
    streams: StreamSource,
    stageTwo: StageTwoWalker,
    tlb: Tlb,
  ) {
    this.#tlb = tlb;
    this.#features = features;
    this.#cr2 = registers.view(REG.CR2);
    this.#streams = streams;
    this.#cds = new CdTable(memory, features, stageTwo);
  }

  /** The context of a requester, newly decoded, while `tlb.domains` has room; undefined when there is none. */
  configure(requester: Requester): Context | undefined {
    const ste = this.#find(requester.streamId);
    if (ste === undefined) {
      const isTold = this.event !== EVENT.C_BAD_STREAMID || get(this.#cr2, CR2.RECINVSID) === 1;
      return isTold ? undefined : this.#refuse(0);
    }
    const config = get(ste, STE.Config);
    if (config < Config.Bypass) return this.#make(requester, Mode.Abort);
    const hasStage1 = config === Config.Stage1 || config === Config.Nested;
    if (hasStage1) return this.#configureStage1(requester, ste);
    if (requester.substreamId >= 0) return this.#refuse(EVENT.C_BAD_SUBSTREAMID);
    return this.#withoutStage1(requester, ste);
  }

  /**
   * What the STE of a stream says by itself, newly decoded, whatever its CDs say; as that of the pseudo-substream
   * `STREAM_ITSELF`. C_BAD_STREAMID is said here whatever CR2.RECINVSID is.
   */
  configureStream(streamId: number): Context | undefined {
    const ste = this.#find(streamId);
    if (ste === undefined) return undefined;
    const requester = { streamId, substreamId: STREAM_ITSELF };
    if (get(ste, STE.Config) < Config.Bypass) return this.#make(requester, Mode.Abort);
    return this.#withoutStage1(requester, ste);
  }

  /** A valid and legal STE; when there is none, the event says why. */
  #find(streamId: number): Uint32Array | undefined {
    this.merges = false;
    this.stage2 = undefined;
    const event = this.#streams.find(streamId);
    if (event !== 0) {
      this.gpa = this.#streams.gpa;
      return this.#refuse(event);
    }
    const ste = this.#streams.entry.words;
    if (get(ste, STE.V) === 0 || isSteIllegal(ste, this.#features)) {
      return this.#refuse(EVENT.C_BAD_STE);
    }
    this.merges = get(ste, STE.MEV) === 1;
    return ste;
  }

  #withoutStage1(requester: Requester, ste: Uint32Array): Context {
    const hasStage2 = (get(ste, STE.Config) & 0b010) !== 0;
    return this.#make(requester, hasStage2 ? Mode.Stage2 : Mode.Bypass, { ste });
  }

  #configureStage1(requester: Requester, ste: Uint32Array): Context | undefined {
    const { substreamId } = requester;
    const log2count = this.#features.ssidSize === 0 ? 0 : get(ste, STE.S1CDMax);
    const withoutSubstream = get(ste, STE.S1DSS);
    if (substreamId >= 0) {
      if (log2count === 0 || substreamId >= 2 ** log2count) {
        return this.#refuse(EVENT.C_BAD_SUBSTREAMID);
      }
      if (substreamId === 0 && withoutSubstream === S1DSS.Substream0) {
        return this.#refuse(EVENT.F_STREAM_DISABLED);
      }
    } else if (log2count > 0) {
      if (withoutSubstream === S1DSS.Bypass) return this.#withoutStage1(requester, ste);
      if (withoutSubstream !== S1DSS.Substream0) return this.#refuse(EVENT.F_STREAM_DISABLED);
    }
    if (get(ste, STE.Config) === Config.Nested) {
      this.stage2 = new StageTwo(ste, this.#features);
      adoptStage2(this.stage2, this.#tlb.domains);
    }
    const event = this.#cds.find(ste, this.stage2, Math.max(substreamId, 0));
    if (event !== 0) {
      this.gpa = this.#cds.gpa;
      return this.#refuse(event);
    }
    const cd = this.#cds.entry.words;
    const e2h = get(this.#cr2, CR2.E2H) === 1;
    const oneRange = worldOf(ste, this.#features, e2h) === World.El2;
    if (get(cd, CD.V) === 0 || isCdIllegal(cd, ste, this.#features, oneRange)) {
      return this.#refuse(EVENT.C_BAD_CD);
    }
    return this.#make(requester, Mode.Translate, { ste, cd, e2h });
  }

  #make({ streamId, substreamId }: Requester, mode: number, source?: ContextSource): Context {
    const context = new Context(streamId, substreamId, mode, this.#features, source);
    adopt(context, this.#tlb.domains);
    return context;
  }

  #refuse(event: number): undefined {
    this.event = event;
  }
}
