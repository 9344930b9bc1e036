/**
 * Records some operations of a trace again, over the memory that the whole trace tells of.
 * @module
 */
import { type AtsPort, TranslationCompletion } from "../../../hw/ats_port.ts";
import type { DmaPort, MmioDevice, StallableDmaPort } from "../../../hw/device.ts";
import { type Entry, Exchange, type GuestMemory } from "../../../hw/guest_memory.ts";
import { pageOf } from "./page.ts";
import type { EndpointPort } from "../../../hw/smmuv3/endpoint_port.ts";
import { SmmuV3 } from "../../../hw/smmuv3/smmuv3.ts";
import {
  type Asked,
  type Change,
  fromHex,
  type Operation,
  type Output,
  type TraceHeader,
} from "../format.ts";
import { Recorder } from "../recorder.ts";
import { isSince } from "../shape.ts";
import type { DeviceMaker } from "./replayer.ts";
import { requesterOf } from "./replayer_requester.ts";

/** Guest memory as a trace tells of it; where it does not, there is none. */
class ToldMemory implements GuestMemory {
  readonly #quads = new Map<number, readonly [lo: number, hi: number] | null>();
  readonly #answers = new Map<string, boolean>();
  readonly #exchanges = new Map<number, number>();

  /** What changed before an operation, and which of its outputs found something. */
  learn({ mem, out }: Operation): void {
    for (const change of mem ?? []) this.#change(change);
    for (const output of out ?? []) {
      const ok = output.at(-1);
      if (output[0] === "exchange") this.#exchanges.set(output[1], output[4]);
      if (typeof ok === "boolean") this.#answers.set(keyOf(output[0], String(output[1])), ok);
    }
  }

  fetch(gpa: number, { words }: Entry): boolean {
    for (let i = 0; i < words.length; i += 2) {
      const quad = this.#quads.get(gpa + i * 4);
      if (quad === undefined || quad === null) return false;
      [words[i], words[i + 1]] = quad;
    }
    return true;
  }

  store(gpa: number): boolean {
    return this.answer("store", gpa);
  }

  store32(gpa: number): boolean {
    return this.answer("store32", gpa);
  }

  compareExchange(gpa: number): number {
    return this.#exchanges.get(gpa) ?? Exchange.Done;
  }

  read(gpa: number): boolean {
    return this.answer("read", gpa);
  }

  write(gpa: number): boolean {
    return this.answer("write", gpa);
  }

  /** Whether something is there, as it was the last time. */
  answer(kind: Output[0], gpa: number): boolean {
    return this.#answers.get(keyOf(kind, gpa)) ?? true;
  }

  #change([, gpa, bytes]: Change): void {
    if (bytes === null) {
      this.#quads.set(gpa, null);
      return;
    }
    const words = new Uint32Array(fromHex(bytes).slice().buffer);
    for (let i = 0; i < words.length; i += 2) {
      this.#quads.set(gpa + i * 4, [words[i], words[i + 1]]);
    }
  }
}

/** Endpoints that answer, and ask meanwhile, as a trace tells of them. */
class ToldEndpoints implements EndpointPort {
  /** Asks for something. */
  ask: (asked: Asked) => void = () => {};
  readonly #memory: ToldMemory;
  /** What was asked at the end of each thing that they were told in the course of an operation. */
  #asked: Asked[][] = [];

  constructor(memory: ToldMemory) {
    this.#memory = memory;
  }

  /** The next operation. */
  begin({ out }: Operation): void {
    this.#asked = [];
    for (const output of out ?? []) {
      if (output[0] === "asked") this.#asked.at(-1)?.push(output[1]);
      else if (TOLD.includes(output[0])) this.#asked.push([]);
    }
  }

  /** They were told something. */
  told(): void {
    for (const asked of this.#asked.shift() ?? []) this.ask(asked);
  }

  invalidate(streamId: number): boolean {
    const ok = this.#memory.answer("invalidate", streamId);
    this.told();
    return ok;
  }

  respond(): void {
    this.told();
  }
}

const TOLD: readonly Output[0][] = ["invalidate", "respond", "end"];

function keyOf(kind: string, gpa: number | string): string {
  return `${kind} ${gpa}`;
}

/** What a device does with the operations of which `kept` has the indices, over what all up to each tell of memory. */
export function rerecord(
  header: TraceHeader,
  operations: readonly Operation[],
  kept: readonly number[],
  make: DeviceMaker = (options) => new SmmuV3(options),
): Operation[] {
  const lines: string[] = [];
  let seconds = 0;
  const recorder = new Recorder(header, (line) => lines.push(line), () => seconds);
  const memory = new ToldMemory();
  const endpoints = new ToldEndpoints(memory);
  const wire = { pulse: (): void => {}, set: (): void => {} };
  const smmu = make({
    memory: recorder.memory(memory),
    features: header.features,
    log2tlbSets: header.log2tlbSets,
    page: pageOf(header),
    lines: {
      eventq: recorder.wire("eventq", wire),
      gerror: recorder.wire("gerror", wire),
      priq: recorder.wire("priq", wire),
    },
    msi: recorder.msi({ send: (gpa) => memory.answer("msi", gpa) }),
    ...(isSince(4, header) ? { endpoints: recorder.endpoints(endpoints) } : {}),
  });
  const doors = {
    registers: recorder.device(smmu),
    dma: recorder.dma(smmu.dma),
    reset: recorder.reset(() => smmu.reset()),
    ats: recorder.ats(smmu.atsPort()),
    stallable: recorder.stallable(smmu.stallablePort()),
    told: () => endpoints.told(),
  };
  endpoints.ask = (asked) => performAsked(doors, asked);
  let next = 0;
  for (const index of kept) {
    for (; next <= index; next++) memory.learn(operations[next]);
    seconds = operations[index].t;
    endpoints.begin(operations[index]);
    perform(doors, operations[index]);
  }
  return lines.slice(1).map((line) => {
    const { c: _check, ...operation } = JSON.parse(line);
    return operation;
  });
}

interface Doors {
  readonly registers: MmioDevice;
  readonly dma: DmaPort;
  readonly reset: () => void;
  readonly ats: AtsPort;
  readonly stallable: StallableDmaPort;
  /** A transaction that could wait has ended. */
  readonly told: () => void;
}

function perform(doors: Doors, operation: Operation): void {
  const { registers, reset } = doors;
  switch (operation.op) {
    case "reset":
      return reset();
    case "read":
      return registers.read(operation.at, new Uint8Array(operation.bytes.length / 2));
    case "write":
      return registers.write(operation.at, fromHex(operation.bytes));
    case "start":
    case "hardware-event":
    case "ram-map":
    case "ram-unmap":
    case "stream-move":
    case "stream-gone":
      return;
    default:
      performAsked(doors, operation);
  }
}

function performAsked({ dma, ats, stallable, told }: Doors, asked: Asked): void {
  const [requester, lo, hi] = requesterOf(asked);
  const way = asked.op.startsWith("translated-") ? ats.translated : dma;
  const { asks = "" } = "asks" in asked ? asked : {};
  const kind = {
    write: asks.includes("w"),
    execute: asks.includes("x"),
    privileged: asks.includes("p"),
  };
  switch (asked.op) {
    case "dma-message":
    case "translated-message":
      return void way.message(requester, lo, hi, asked.data);
    case "dma-read":
    case "translated-read":
      return void way.read(requester, lo, hi, new Uint8Array(asked.size));
    case "dma-write":
    case "translated-write":
      return void way.write(requester, lo, hi, new Uint8Array(asked.size));
    case "stallable-read":
      return stallable.read(requester, lo, hi, new Uint8Array(asked.size), told);
    case "stallable-write":
      return stallable.write(requester, lo, hi, new Uint8Array(asked.size), told);
    case "translation-request":
      return ats.translate(requester, lo, hi, kind, new TranslationCompletion());
    case "page-request": {
      const { group, last } = asked;
      return ats.requestPage(requester, lo, hi, group, { ...kind, read: asks.includes("r"), last });
    }
  }
}
