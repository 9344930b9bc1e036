/**
 * SubstreamID to Context Descriptor, in one CD, a linear table or one of two levels, below stage 2 where there is one.
 * IHI 0070 §5.2 STE.S1Fmt, §5.3, §7.3.9.
 * @module
 */
import { get, getAddress } from "../../bits.ts";
import { Entry, type GuestMemory } from "../../guest_memory.ts";
import type { Features } from "../features.ts";
import { CD_SIZE, L1CD, L1CD_SIZE } from "../spec/cd.ts";
import { CLASS, EVENT } from "../spec/events.ts";
import { S1Fmt, STE } from "../spec/ste.ts";
import { Permission } from "../translation/permissions.ts";
import type { StageTwoWalker } from "../translation/stage_two_walk.ts";
import type { StageTwo } from "./stage_two.ts";

/** log2 of the CDs of a level 2 table, by STE.S1Fmt. */
const LOG2_LEAF: Readonly<Record<number, number>> = {
  [S1Fmt.TwoLevel4K]: 6,
  [S1Fmt.TwoLevel64K]: 10,
};

/** Finds CDs in guest memory. */
export class CdTable {
  /** The CD that was found last. */
  readonly entry: Entry = new Entry(CD_SIZE);
  /** Where the last fetch went, a physical address in bytes. */
  gpa = 0;

  readonly #memory: GuestMemory;
  readonly #features: Features;
  readonly #stageTwo: StageTwoWalker;
  readonly #descriptor = new Entry(L1CD_SIZE);

  /** Tables in `memory`, to which `stageTwo` leads where an STE says so. */
  constructor(memory: GuestMemory, features: Features, stageTwo: StageTwoWalker) {
    this.#memory = memory;
    this.#features = features;
    this.#stageTwo = stageTwo;
  }

  /**
   * Fetches the CD of a substream of a legal STE into `entry`. Returns 0, F_CD_FETCH, C_BAD_SUBSTREAMID, or the event that
   * stage 2 met.
   */
  find(ste: Uint32Array, stage2: StageTwo | undefined, substreamId: number): number {
    const log2count = this.#features.ssidSize === 0 ? 0 : get(ste, STE.S1CDMax);
    const pointer = getAddress(ste, STE.S1ContextPtr);
    const log2leaf = log2count === 0 ? undefined : LOG2_LEAF[get(ste, STE.S1Fmt)];
    if (log2leaf === undefined) {
      const table = alignDown(pointer, CD_SIZE * 2 ** log2count);
      return this.#fetch(stage2, table + substreamId * CD_SIZE, this.entry);
    }
    const l1Size = Math.max(L1CD_SIZE * 2 ** Math.max(log2count - log2leaf, 0), 64);
    const l1 = alignDown(pointer, l1Size) + (substreamId >>> log2leaf) * L1CD_SIZE;
    const event = this.#fetch(stage2, l1, this.#descriptor);
    if (event !== 0) return event;
    const leaf = getAddress(this.#descriptor.words, L1CD.L2Ptr);
    if (get(this.#descriptor.words, L1CD.V) === 0 || leaf >= 2 ** this.#features.oas) {
      return EVENT.C_BAD_SUBSTREAMID;
    }
    const index = substreamId & ((1 << log2leaf) - 1);
    return this.#fetch(stage2, alignDown(leaf, CD_SIZE << log2leaf) + index * CD_SIZE, this.entry);
  }

  #fetch(stage2: StageTwo | undefined, address: number, into: Entry): number {
    let gpa = address;
    if (stage2 !== undefined) {
      const hi = Math.floor(address / 0x1_0000_0000);
      const event = this.#stageTwo.translate(
        stage2,
        address >>> 0,
        hi,
        Permission.Read,
        CLASS.CD,
      );
      if (event !== 0) return event;
      gpa = this.#stageTwo.gpaHi * 0x1_0000_0000 + this.#stageTwo.gpaLo;
    }
    this.gpa = gpa;
    if (gpa >= 2 ** this.#features.oas) return EVENT.F_CD_FETCH;
    return this.#memory.fetch(gpa, into) ? 0 : EVENT.F_CD_FETCH;
  }
}

function alignDown(address: number, sizeBytes: number): number {
  return address - address % sizeBytes;
}
