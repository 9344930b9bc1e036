/**
 * Records some operations of a trace again, over the memory that the whole trace tells of.
 * @module
 */
import type { DmaPort, MmioDevice } from "../../../hw/device.ts";
import { type Entry, Exchange, type GuestMemory } from "../../../hw/guest_memory.ts";
import { pageOf } from "./page.ts";
import { SmmuV3 } from "../../../hw/smmuv3/smmuv3.ts";
import { type Change, fromHex, type Operation, type Output, type TraceHeader } from "../format.ts";
import { Recorder } from "../recorder.ts";
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
      if (typeof ok === "boolean") this.#answers.set(keyOf(output[0], output[1]), ok);
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
  });
  const doors = {
    registers: recorder.device(smmu),
    dma: recorder.dma(smmu.dma),
    reset: recorder.reset(() => smmu.reset()),
  };
  let next = 0;
  for (const index of kept) {
    for (; next <= index; next++) memory.learn(operations[next]);
    seconds = operations[index].t;
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
}

function perform({ registers, dma, reset }: Doors, operation: Operation): void {
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
  }
  const [requester, lo, hi] = requesterOf(operation);
  if (operation.op === "dma-message") dma.message(requester, lo, hi, operation.data);
  else if (operation.op === "dma-read") dma.read(requester, lo, hi, new Uint8Array(operation.size));
  else dma.write(requester, lo, hi, new Uint8Array(operation.size));
}
