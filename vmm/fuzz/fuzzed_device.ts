/**
 * A device that a hostile guest plays with, and what has to hold after each of its steps.
 * @module
 */
import { type AtsPort, CompletionStatus, TranslationCompletion } from "../../hw/ats_port.ts";
import type { Requester, StalledTransaction, WaitingSide } from "../../hw/device.ts";
import type { HostIommu } from "../../hw/smmuv3/host_iommu.ts";
import type { SmmuV3Options } from "../../hw/smmuv3/options.ts";
import { SmmuV3 } from "../../hw/smmuv3/smmuv3.ts";
import { mostAccesses } from "./bounds.ts";
import { DeviceInvariants } from "./device_invariants.ts";
import { Reach } from "./reach.ts";
import { type FuzzCase, PIECE_SIZE, PLACE, type Step } from "./step.ts";
import type { WatchedMemory } from "./watched_memory.ts";

const CR0 = 0x20;
/** A table, or a page. */
const DESCRIPTOR = new Uint8Array(
  Uint32Array.of((PLACE.tables + PIECE_SIZE) | 0x4f3, 0).buffer,
);
const HARDWARE_STREAMS = [3, 5];

/** Makes a device. */
export type MakeDevice = (options: SmmuV3Options) => SmmuV3;

/** Makes ours. */
export const ours: MakeDevice = (options) => new SmmuV3(options);

/** A transaction that can wait. */
interface Waiting extends WaitingSide {
  readonly requester: Requester;
  readonly lo: number;
  readonly hi: number;
  readonly isWrite: boolean;
  ends: number;
}

/** A device of a run. */
export class FuzzedDevice {
  readonly memory: WatchedMemory;
  /** What the last step may have cost, and did: accesses to memory. */
  cost: { readonly most: number; readonly accesses: number } = { most: 0, accesses: 0 };
  readonly #case: Omit<FuzzCase, "steps">;
  readonly #makeDevice: MakeDevice;
  readonly #invariants: DeviceInvariants;
  #smmu: SmmuV3;
  #ats: AtsPort;
  #hardware = 0;
  #ends = 0;
  #transactions: Waiting[] = [];

  /** A device of a case in its reset state, over memory that may be used again; `reach` counts what happens. */
  constructor(
    fuzzCase: Omit<FuzzCase, "steps">,
    memory: WatchedMemory,
    make: MakeDevice = ours,
    reach: Reach = new Reach(),
  ) {
    this.#makeDevice = make;
    this.#case = fuzzCase;
    this.memory = memory;
    this.#invariants = new DeviceInvariants(reach);
    this.#smmu = this.#make();
    this.#ats = this.#smmu.atsPort();
    this.#invariants.begin(this.#smmu);
  }

  /** A register. */
  read(offset: number): number {
    return this.#smmu.read32(offset);
  }

  /** How many transactions wait. */
  get waiting(): number {
    return this.#transactions.length;
  }

  /** Does a step. Throws when something does not hold. */
  play(step: Step): void {
    const { memory } = this;
    memory.begin(step.do === "transfer" ? step.race : undefined);
    this.#invariants.before(step);
    this.#act(step);
    this.#invariants.after(step, memory.records);
    const { commands, answers } = this.#invariants;
    const moved = this.#ends + memory.records.length;
    const most = mostAccesses(step, { commands, answers, moved });
    this.cost = { most, accesses: memory.accesses };
    if (memory.accesses > most) {
      throw new Error(
        `The device accessed memory ${memory.accesses} times, but ${most} are enough`,
      );
    }
    this.#settle();
  }

  /** What is dearer to look at: caches, and that a snapshot is the same again. */
  inspect(): void {
    const { tlb } = this.#smmu.translator;
    if (tlb.count > tlb.capacity) throw new Error(`The TLB holds ${tlb.count} of ${tlb.capacity}`);
    const { count } = tlb.domains;
    if (count > 4096) throw new Error(`The TLB has ${count} domains, but numbers for 4096`);
  }

  #act(step: Step): void {
    const smmu = this.#smmu;
    switch (step.do) {
      case "store":
        return step.stores.forEach((store) => this.memory.put(store));
      case "reset":
        return smmu.reset();
      case "restore":
        return this.#restore();
      case "write": {
        const bytes = new Uint8Array(Uint32Array.from(step.words).buffer);
        smmu.write(step.offset, bytes);
        return smmu.read(step.offset, bytes);
      }
      case "transfer":
        return this.#transfer(step);
    }
  }

  #transfer(step: Step & { readonly do: "transfer" }): void {
    const { how, streamId, substreamId, lo, hi, sizeBytes } = step;
    const requester: Requester = { streamId, substreamId };
    const { dma } = this.#smmu;
    if (how === "translation request" || how === "page request") {
      return this.#ask(how, requester, lo, hi, sizeBytes);
    }
    if (how === "message") return void dma.message(requester, lo & ~3, hi, 0x1234);
    // What is written to a table is a descriptor.
    const bytes = new Uint8Array(sizeBytes);
    for (let at = 0; at < sizeBytes; at += DESCRIPTOR.length) {
      bytes.set(DESCRIPTOR.subarray(0, sizeBytes - at), at);
    }
    if (how === "read") return void dma.read(requester, lo, hi, bytes);
    if (how === "write") return void dma.write(requester, lo, hi, bytes);
    if (how === "translated read") return void this.#ats.translated.read(requester, lo, hi, bytes);
    if (how === "translated write") {
      return void this.#ats.translated.write(requester, lo, hi, bytes);
    }
    const isWrite = how === "stallable write";
    const done = (): void => {
      transaction.ends++;
      this.#ends++;
    };
    const transaction: Waiting = { requester, lo, hi, isWrite, bytes, done, ends: 0 };
    this.#transactions.push(transaction);
    const port = this.#smmu.stallablePort();
    if (isWrite) port.write(requester, lo, hi, bytes, done);
    else port.read(requester, lo, hi, bytes, done);
  }

  /** The size says what is asked for, and the group. What is granted is a page that lies where it says. */
  #ask(how: string, requester: Requester, lo: number, hi: number, bits: number): void {
    const has = (bit: number): boolean => (bits >>> bit & 1) !== 0;
    const kind = { read: has(0), write: has(1), execute: has(2), privileged: has(3), last: has(4) };
    if (how === "page request") return this.#ats.requestPage(requester, lo, hi, bits & 511, kind);
    const completion = new TranslationCompletion();
    this.#ats.translate(requester, lo, hi, kind, completion);
    const { status, gpa, log2size, read, write, execute } = completion;
    if (status !== CompletionStatus.Success) {
      if (read || write || execute) throw new Error(`Status ${status} grants something`);
      return;
    }
    const isPage = gpa % 2 ** log2size === 0 && gpa < 2 ** this.#smmu.features.oas;
    if (!isPage || log2size < 12) throw new Error(`${gpa} is no page of 2^${log2size} bytes`);
    if (execute && !read) throw new Error("To execute is granted, but not to read");
  }

  /** Each transaction ends once; those that have are forgotten. */
  #settle(): void {
    if (this.#ends === 0 && this.#transactions.length === 0) return;
    if (this.#transactions.some(({ ends }) => ends > 1)) {
      throw new Error("A transaction ended twice");
    }
    const before = this.#transactions.length;
    if (this.#ends > 0) this.#transactions = this.#transactions.filter(({ ends }) => ends === 0);
    if (before - this.#transactions.length !== this.#ends) {
      throw new Error("A transaction that had ended did so again");
    }
    this.#ends = 0;
    const { stallMax } = this.#smmu.features;
    if (this.#transactions.length > stallMax + 1024) {
      throw new Error(`${this.#transactions.length} transactions wait, of ${stallMax} stalls`);
    }
    if ((this.read(CR0) & 1) === 0 && this.#transactions.length > 0) {
      throw new Error(`${this.#transactions.length} transactions wait while SMMUEN is 0`);
    }
  }

  /** Endpoints are saved with the machine: what waits goes on to wait. */
  #restore(): void {
    const snapshot = this.#smmu.snapshot();
    this.#smmu = this.#make();
    this.#ats = this.#smmu.atsPort();
    const left = [...this.#transactions];
    this.#smmu.restore(JSON.parse(JSON.stringify(snapshot)), (stalled) => {
      const at = left.findIndex((waiting) => isSame(waiting, stalled));
      return at < 0 ? undefined : left.splice(at, 1)[0];
    });
    if (left.length > 0) throw new Error(`${left.length} transactions wait for nothing`);
    this.#invariants.begin(this.#smmu);
    if (JSON.stringify(this.#smmu.snapshot()) !== JSON.stringify(snapshot)) {
      throw new Error("A snapshot that was restored is another");
    }
  }

  #make(): SmmuV3 {
    const { features, log2tlbSets, hardware } = this.#case;
    const host: HostIommu = {
      streamIds: HARDWARE_STREAMS,
      setStream: () => {},
      // It refuses one in each eighth batch.
      invalidate: (_, count) => ++this.#hardware % 8 === 0 ? count - 1 : count,
    };
    return this.#makeDevice({
      memory: this.memory,
      features,
      log2tlbSets,
      lines: this.#invariants.lines,
      msi: { send: (gpa) => gpa === PLACE.doorbell },
      host: hardware ? host : undefined,
      endpoints: {
        invalidate: (streamId, _, __, lo) => ((streamId ^ lo >>> 12) & 7) !== 5,
        respond: () => {},
      },
      observer: this.#invariants,
    });
  }
}

function isSame(waiting: Waiting, stalled: StalledTransaction): boolean {
  const { requester, lo, hi, isWrite, bytes } = waiting;
  return requester.streamId === stalled.streamId &&
    requester.substreamId === stalled.substreamId && lo === stalled.lo && hi === stalled.hi &&
    isWrite === stalled.isWrite && bytes.length === stalled.sizeBytes;
}
