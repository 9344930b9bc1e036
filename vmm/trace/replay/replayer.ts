/**
 * Feeds the operations of a trace to a fresh device and compares everything that comes of them.
 * @module
 */
import type { DmaPort, MmioDevice } from "../../../hw/device.ts";
import type { Entry, GuestMemory } from "../../../hw/guest_memory.ts";
import type { Observer } from "../../../hw/smmuv3/observer.ts";
import { pageOf } from "./page.ts";
import { SmmuV3, type SmmuV3Snapshot } from "../../../hw/smmuv3/smmuv3.ts";
import { REG } from "../../../hw/smmuv3/spec/registers.ts";
import {
  type Change,
  fromHex,
  hashAddress,
  type Operation,
  type Output,
  toHex,
  type TraceHeader,
} from "../format.ts";
import { KnownMemory } from "../known_memory.ts";
import { isSince } from "../shape.ts";
import { compareOutputs, type Difference } from "./replayer_compare.ts";
import { type Compared, ReplayEndpoints, type WaitingTransaction } from "./replayer_endpoints.ts";
import { type Beside, ReplayHardware, UNKNOWABLE } from "./replayer_hardware.ts";
import { CommandHistory } from "./replayer_history.ts";
import { ReplayOutputs } from "./replayer_outputs.ts";
import { Payload } from "./replayer_payload.ts";
import { withRegisters } from "./replayer_registers.ts";

const NONE: readonly never[] = [];
export type { Difference } from "./replayer_compare.ts";

/** The device that is replayed against; `smmu` is what a maker of variants may wrap. */
export type DeviceMaker = (options: ConstructorParameters<typeof SmmuV3>[0]) => SmmuV3;

/** A replay between two lines as a plain value that JSON can hold. */
export interface ReplaySnapshot {
  /** The last line of the trace that was replayed. */
  readonly line: number;
  /** The device. */
  readonly device: SmmuV3Snapshot;
  /** What is known of guest memory: address, low and high word of each quad. */
  readonly known: readonly (readonly [gpa: number, lo: number, hi: number])[];
  /** Transactions of endpoints that wait. */
  readonly waiting: readonly WaitingTransaction[];
}

/** What came of an operation. */
export interface Outcome {
  /** What the operation returned: the value that was read as hexadecimal, or whether DMA was done. */
  readonly result: unknown;
  /** What the device did, in order. */
  readonly out: readonly Output[];
  /** Addresses of fetched records, in order. */
  readonly fetches: readonly number[];
  /** The first record that was fetched although the recording tells nothing about it. */
  readonly unknown: number | undefined;
}

/** Registers that an operation may move by itself. */
const MOVING = [REG.CMDQ_CONS.offset, REG.EVENTQ_PROD.offset, REG.GERROR.offset] as const;

/** A replay in progress. */
export class Replayer {
  /** The commands that were consumed last. */
  readonly history: CommandHistory = new CommandHistory();
  readonly #device: SmmuV3;
  readonly #hardware: ReplayHardware | undefined;
  readonly #endpoints: ReplayEndpoints;
  readonly #known: KnownMemory;
  readonly #before = new Uint32Array(MOVING.length);
  #line = 1;
  #isExperiment = false;
  #changes: readonly Change[] = [];
  #nextChange = 0;
  #unknown: number | undefined;
  #fetches: number[] = [];
  #path = 0;
  #result: unknown;
  readonly #outputs = new ReplayOutputs();
  readonly #payload = new Payload();

  /** A fresh device of the header's features, with the hardware of the header, and `beside` it another iommufd. */
  constructor(
    header: TraceHeader,
    make: DeviceMaker = (options) => new SmmuV3(options),
    beside?: Beside,
  ) {
    this.#known = new KnownMemory(header.log2known);
    const { iommufd } = header;
    this.#hardware = iommufd && new ReplayHardware({ ...header, iommufd }, this.#memory(), beside);
    this.#endpoints = new ReplayEndpoints({
      outputs: this.#outputs,
      payload: this.#payload,
      port: (streamId) => this.#port(streamId),
    });
    this.#device = make({
      memory: this.#memory(),
      host: this.#hardware?.host,
      features: header.features,
      log2tlbSets: header.log2tlbSets,
      page: pageOf(header),
      lines: {
        eventq: this.#wire("eventq"),
        gerror: this.#wire("gerror"),
        priq: this.#wire("priq"),
      },
      msi: { send: (gpa, data) => this.#outputs.answer(["msi", gpa, data >>> 0, false]) },
      // Older recordings do not tell what endpoints are told.
      ...(isSince(4, header) ? { endpoints: this.#endpoints.port } : {}),
      observer: this.#observer(),
    });
    this.#endpoints.attach(this.#device);
    this.#hardware?.host.listen((words) => this.#device.hostEvent(words));
  }

  /** Takes the hardware down, if there is any. */
  end(): void {
    this.#hardware?.end();
  }

  /** The device that is replayed against. */
  get device(): SmmuV3 {
    return this.#device;
  }

  /** The line of the operation that was done last; the header is line 1. */
  get line(): number {
    return this.#line;
  }

  /** What came of the operation that was done last. */
  get outcome(): Outcome {
    return {
      result: this.#result,
      out: this.#outputs.got,
      fetches: this.#fetches,
      unknown: this.#unknown,
    };
  }

  /** CMDQ_CONS, EVENTQ_PROD and GERROR before the operation that was done last. */
  get before(): readonly [cmdqCons: number, eventqProd: number, gerror: number] {
    return [this.#before[0], this.#before[1], this.#before[2]];
  }

  /** Does one operation, of the next line unless told otherwise; returns what came out differently. */
  step(operation: Operation, line: number = this.#line + 1): readonly Difference[] {
    this.#line = line;
    for (let i = 0; i < MOVING.length; i++) this.#before[i] = this.#device.read32(MOVING[i]);
    return this.#compare(operation);
  }

  /**
   * What the operation that was done last would come to on a device in another state: `change` alters a snapshot of the
   * state before it. With `isKept` the device stays in the state that this leads to.
   */
  again(
    operation: Operation,
    change: (snapshot: SmmuV3Snapshot) => SmmuV3Snapshot,
    isKept: boolean = false,
  ): readonly Difference[] {
    // Neither the state of hardware nor who waited before is known: nothing can be said about it.
    if (this.#hardware !== undefined || operation.op.startsWith("stallable-")) return UNKNOWABLE;
    const after = this.#device.snapshot();
    const { result, out, fetches, unknown } = this.outcome;
    const registers = withRegisters(after.registers, MOVING.map((at, i) => [at, this.#before[i]]));
    this.#isExperiment = true;
    try {
      this.#restore(change({ ...after, registers }));
      return this.#compare(operation);
    } finally {
      this.#isExperiment = false;
      this.#result = result;
      this.#outputs.got = [...out];
      this.#fetches = [...fetches];
      this.#unknown = unknown;
      if (!isKept) this.#restore(after);
    }
  }

  /** Sets registers, without any effect of a write. */
  adjust(registers: readonly (readonly [offset: number, value: number])[]): void {
    const snapshot = this.#device.snapshot();
    this.#restore({ ...snapshot, registers: withRegisters(snapshot.registers, registers) });
  }

  /** Memory as far as it is known. */
  recall(gpa: number, sizeBytes: number): Uint32Array | undefined {
    const words = new Uint32Array(sizeBytes / 4);
    for (let at = 0; at < sizeBytes; at += 8) {
      if (!this.#known.has(gpa + at)) return undefined;
      this.#known.recall(gpa + at, words, at / 4);
    }
    return words;
  }

  /** The replay as it stands. */
  snapshot(): ReplaySnapshot {
    const { line } = this;
    const waiting = [...this.#endpoints.waiting];
    return { line, device: this.#device.snapshot(), known: [...this.#known.entries()], waiting };
  }

  /** Goes on where a snapshot was taken. Throws a RangeError when that is of another device. */
  restore({ line, device, known, waiting }: ReplaySnapshot): void {
    this.#restore(device, waiting);
    this.#known.clear();
    for (const [gpa, lo, hi] of known) this.#known.learn(gpa, lo, hi);
    this.#line = line;
  }

  #restore(
    snapshot: SmmuV3Snapshot,
    waiting: readonly WaitingTransaction[] = this.#endpoints.waiting,
  ): void {
    this.#device.restore(snapshot, this.#endpoints.restore(waiting));
  }

  #compare(operation: Operation): readonly Difference[] {
    this.#changes = operation.mem ?? NONE;
    this.#nextChange = 0;
    this.#unknown = undefined;
    this.#fetches = [];
    this.#path = 0;
    this.#outputs.begin(operation.out ?? NONE);
    this.#payload.begin(undefined);
    const done = this.#do(operation);
    this.#learnRest();
    if (done === undefined) this.#hardware?.forget();
    if (done === undefined) return NONE;
    const calls = this.#hardware?.compare(operation.calls) ?? NONE;
    const [expected, got] = done;
    this.#result = got;
    const isSame = expected === got && this.#unknown === undefined &&
      (operation.fetches ?? 0) === this.#fetches.length && (operation.path ?? 0) === this.#path &&
      this.#outputs.expected.length === 0 && this.#outputs.got.length === 0;
    return isSame ? calls : [...this.#differences(operation, expected, got), ...calls];
  }

  #differences(operation: Operation, expected: unknown, got: unknown): readonly Difference[] {
    const differences: Difference[] = [];
    const compare = (what: string, expected: unknown, got: unknown): void => {
      if (expected !== got) differences.push({ what, expected, got });
    };
    compare("result", expected, got);
    const unknown = this.#unknown as number | undefined;
    if (unknown !== undefined) {
      const got = `0x${unknown.toString(16)}`;
      differences.push({ what: "fetch", expected: "an address that the recording fetched", got });
    }
    compare("number of fetches", operation.fetches ?? 0, this.#fetches.length);
    compare("addresses of fetches (hash)", operation.path ?? 0, this.#path);
    compareOutputs(
      this.#outputs.expected,
      this.#outputs.got,
      this.#payload.isRecorded,
      differences,
    );
    return differences;
  }

  /** What the recording fetched and this device did not is known all the same. */
  #learnRest(): void {
    for (; this.#nextChange < this.#changes.length; this.#nextChange++) {
      this.#learn(this.#changes[this.#nextChange]);
    }
  }

  #observer(): Observer {
    const nothing = (): void => {};
    return {
      command: (words, error) => {
        if (!this.#isExperiment) this.history.add(this.#line, words, error);
      },
      translation: nothing,
      transfer: nothing,
      event: nothing,
      interrupt: nothing,
    };
  }

  /** Does it; undefined for what a newer minor version of the format added. */
  #do(operation: Operation): Compared | undefined {
    const device = this.#device;
    switch (operation.op) {
      case "write":
        (device as MmioDevice).write(operation.at, fromHex(operation.bytes));
        return [undefined, undefined];
      case "read": {
        const into = new Uint8Array(operation.bytes.length / 2);
        device.read(operation.at, into);
        return [operation.bytes, toHex(into)];
      }
      case "reset":
        device.reset();
        return [undefined, undefined];
      case "hardware-event":
        device.hostEvent(new Uint32Array(fromHex(operation.bytes).slice().buffer));
        return [undefined, undefined];
      case "stream-move":
        this.#hardware?.move(operation.moves);
        device.refreshHost();
        return [undefined, undefined];
      case "stream-gone":
        this.#hardware?.withdraw(operation.gone);
        return [undefined, undefined];
      case "ram-map":
        return [operation.ok, this.#hardware?.map(operation) ?? operation.ok];
      case "start":
      case "ram-unmap":
        if (operation.op === "ram-unmap") this.#hardware?.unmap(operation);
        return [undefined, undefined];
      default:
        return this.#endpoints.ask(operation);
    }
  }

  /** The way of an endpoint: through hardware where the recording had it. */
  #port(streamId: number): DmaPort {
    const send = (gpa: number, data: number): boolean =>
      this.#outputs.answer(["msi", gpa, data >>> 0, false]);
    return this.#hardware?.port(streamId, send) ?? this.#device.dma;
  }

  /** Memory as the recording found it. */
  #memory(): GuestMemory {
    return {
      fetch: (gpa, into) => this.#fetch(gpa, into),
      store: (gpa, from) => this.#outputs.answer(["store", gpa, toHex(from.bytes), true]),
      store32: (gpa, value) => this.#outputs.answer(["store32", gpa, value >>> 0, true]),
      compareExchange: (gpa, expected, desired) =>
        this.#outputs.exchange(gpa, toHex(expected.bytes), toHex(desired.bytes)),
      read: (gpa, into) =>
        this.#outputs.answer(["read", gpa, into.length, this.#payload.supply(into), true]),
      write: (gpa, from) =>
        this.#outputs.answer(["write", gpa, from.length, this.#payload.sum(from), true]),
    };
  }

  #fetch(gpa: number, { words, bytes }: Entry): boolean {
    const fetch = this.#fetches.push(gpa) - 1;
    this.#path = hashAddress(this.#path, gpa);
    const change = this.#changes[this.#nextChange];
    if (change !== undefined && change[0] === fetch) {
      this.#nextChange++;
      if (change[1] === gpa) return this.#apply(change, words, bytes);
      // A device that goes another way reads what the guest has there, as far as that was recorded.
      this.#unknown ??= gpa;
      this.#learn(change);
      const other = this.#changes.find((change) => change[1] === gpa);
      if (other !== undefined) return this.#apply(other, words, bytes);
    }
    for (let i = 0; i < words.length; i += 2) {
      if (!this.#known.has(gpa + i * 4)) {
        this.#unknown ??= gpa;
        return false;
      }
      this.#known.recall(gpa + i * 4, words, i);
    }
    return true;
  }

  #apply(change: Change, words: Uint32Array, bytes: Uint8Array): boolean {
    const [, gpa, text] = change;
    if (text === null) return false;
    bytes.setFromHex(text);
    this.#known.learnAll(gpa, words);
    return true;
  }

  #learn([, gpa, text]: Change): void {
    if (text !== null) this.#known.learnAll(gpa, new Uint32Array(fromHex(text).slice().buffer));
  }

  #wire(name: string): { pulse(): void; set(): void } {
    return { pulse: () => this.#outputs.note(["irq", name]), set: () => {} };
  }
}
