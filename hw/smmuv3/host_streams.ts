/**
 * What hardware is to do with the streams it translates: what registers and stream table say of each.
 * IHI 0070 §5.2 Stream Table Entry, §6.3.9 SMMU_CR0, §6.3.14 SMMU_GBPA.
 * @module
 */
import { get } from "../bits.ts";
import type { GuestMemory } from "../guest_memory.ts";
import { isSteIllegal } from "./configuration/ste_validity.ts";
import type { Features } from "./features.ts";
import { type HostIommu, StreamUse } from "./host_iommu.ts";
import type { RegisterFile } from "./register_file.ts";
import { CR0, GBPA, REG } from "./spec/registers.ts";
import { Config, STE } from "./spec/ste.ts";
import { StreamTable } from "./configuration/stream_table.ts";

/** Keeps the hardware's idea of its streams equal to the guest's. */
export class HostStreams {
  readonly #host: HostIommu;
  readonly #features: Features;
  readonly #table: StreamTable;
  readonly #cr0: Uint32Array;
  readonly #gbpa: Uint32Array;

  /** Streams of `host`, as the registers and the stream table in `memory` say. */
  constructor(
    host: HostIommu,
    registers: RegisterFile,
    memory: GuestMemory,
    features: Features,
  ) {
    this.#host = host;
    this.#features = features;
    this.#table = new StreamTable(registers, memory, features);
    this.#cr0 = registers.view(REG.CR0);
    this.#gbpa = registers.view(REG.GBPA);
  }

  /** Tells hardware about its streams from `first` to `first + count - 1`; done when it returns. */
  refresh(first: number = 0, count: number = 2 ** 32): void {
    for (const streamId of this.#host.streamIds) {
      if (streamId < first || streamId >= first + count) continue;
      this.#host.setStream(streamId, this.#use(streamId), this.#table.entry.words);
    }
  }

  /** Whether hardware translates a stream. */
  has(streamId: number): boolean {
    return this.#host.streamIds.includes(streamId);
  }

  /** One of `StreamUse`. What the table does not say well is an abort, as it is for the device. */
  #use(streamId: number): number {
    if (get(this.#cr0, CR0.SMMUEN) === 0) {
      return get(this.#gbpa, GBPA.ABORT) === 1 ? StreamUse.Abort : StreamUse.Bypass;
    }
    if (this.#table.find(streamId) !== 0) return StreamUse.Abort;
    const ste = this.#table.entry.words;
    if (get(ste, STE.V) === 0 || isSteIllegal(ste, this.#features)) return StreamUse.Abort;
    const config = get(ste, STE.Config);
    if (config < Config.Bypass) return StreamUse.Abort;
    return config === Config.Bypass ? StreamUse.Bypass : StreamUse.Nested;
  }
}
