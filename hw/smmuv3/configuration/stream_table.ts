/**
 * StreamID to Stream Table Entry, linear or two-level. IHI 0070 §3.3.1, §5.1, §6.3.24, §6.3.25.
 * @module
 */
import { get, getAddress } from "../../bits.ts";
import { Entry, type GuestMemory } from "../../guest_memory.ts";
import type { Features } from "../features.ts";
import type { RegisterFile } from "../register_file.ts";
import { EVENT } from "../spec/events.ts";
import { REG, STRTAB_BASE, STRTAB_BASE_CFG } from "../spec/registers.ts";
import { L1STD, L1STD_SIZE, STE_SIZE } from "../spec/ste.ts";

const TWO_LEVEL = 1;
const SPLITS: readonly number[] = [6, 8, 10];

/** Where Stream Table Entries come from. */
export interface StreamSource {
  /** The entry that was found last. */
  readonly entry: Entry;
  /** Where the last fetch went, in bytes. */
  readonly gpa: number;
  /** Finds the STE of a stream. Returns 0, C_BAD_STREAMID or F_STE_FETCH. */
  find(streamId: number): number;
}

/** Finds Stream Table Entries in guest memory. */
export class StreamTable implements StreamSource {
  /** The entry that was found last. */
  readonly entry: Entry = new Entry(STE_SIZE);
  /** Where the last fetch went, in bytes. */
  gpa = 0;

  readonly #base: Uint32Array;
  readonly #cfg: Uint32Array;
  readonly #memory: GuestMemory;
  readonly #features: Features;
  readonly #descriptor = new Entry(L1STD_SIZE);

  /** The table that the registers point at; they are read on each use. */
  constructor(registers: RegisterFile, memory: GuestMemory, features: Features) {
    this.#base = registers.view(REG.STRTAB_BASE);
    this.#cfg = registers.view(REG.STRTAB_BASE_CFG);
    this.#memory = memory;
    this.#features = features;
  }

  /** Fetches the STE of a stream into `entry`. Returns 0, C_BAD_STREAMID or F_STE_FETCH. */
  find(streamId: number): number {
    const log2size = Math.min(get(this.#cfg, STRTAB_BASE_CFG.LOG2SIZE), this.#features.sidSize);
    if (streamId >= 2 ** log2size) return EVENT.C_BAD_STREAMID;
    const twoLevel = this.#features.twoLevelStreamTable &&
      get(this.#cfg, STRTAB_BASE_CFG.FMT) === TWO_LEVEL;
    return twoLevel ? this.#findTwoLevel(streamId, log2size) : this.#findLinear(streamId, log2size);
  }

  #findLinear(streamId: number, log2size: number): number {
    const base = alignDown(getAddress(this.#base, STRTAB_BASE.ADDR), STE_SIZE * 2 ** log2size);
    return this.#fetch(base + streamId * STE_SIZE, this.entry);
  }

  #findTwoLevel(streamId: number, log2size: number): number {
    const chosen = get(this.#cfg, STRTAB_BASE_CFG.SPLIT);
    const split = SPLITS.includes(chosen) ? chosen : 6;
    const l1Size = L1STD_SIZE * 2 ** Math.max(log2size - split, 0);
    const base = alignDown(getAddress(this.#base, STRTAB_BASE.ADDR), Math.max(l1Size, 64));
    const fault = this.#fetch(base + (streamId >>> split) * L1STD_SIZE, this.#descriptor);
    if (fault !== 0) return fault;
    const span = get(this.#descriptor.words, L1STD.Span);
    if (span === 0 || span > 11 || span > split + 1) return EVENT.C_BAD_STREAMID;
    const index = streamId & ((1 << split) - 1);
    const count = 2 ** (span - 1);
    if (index >= count) return EVENT.C_BAD_STREAMID;
    const l2 = alignDown(getAddress(this.#descriptor.words, L1STD.L2Ptr), STE_SIZE * count);
    return this.#fetch(l2 + index * STE_SIZE, this.entry);
  }

  /** An address beyond the OAS is truncated, as those of queues must be. §3.4.3 */
  #fetch(address: number, into: Entry): number {
    this.gpa = address % 2 ** this.#features.oas;
    return this.#memory.fetch(this.gpa, into) ? 0 : EVENT.F_STE_FETCH;
  }
}

function alignDown(gpa: number, sizeBytes: number): number {
  return gpa - gpa % sizeBytes;
}
