/**
 * Feeds the operations of a trace to a fresh device and compares everything that comes of them.
 * @module
 */
import { crc32 } from "node:zlib";
import type { MmioDevice, Requester } from "../../hw/device.ts";
import type { Entry, GuestMemory } from "../../hw/guest_memory.ts";
import { SmmuV3 } from "../../hw/smmuv3/smmuv3.ts";
import {
  type Change,
  fromHex,
  hashAddress,
  type Operation,
  type Output,
  toHex,
  type TraceHeader,
} from "./format.ts";
import { KnownMemory } from "./known_memory.ts";

/** One thing that is not as recorded. */
export interface Difference {
  /** What differs, such as `read value` or `output 2`. */
  readonly what: string;
  readonly expected: unknown;
  readonly got: unknown;
}

/** The device that is replayed against; `smmu` is what a maker of variants may wrap. */
export type DeviceMaker = (options: ConstructorParameters<typeof SmmuV3>[0]) => SmmuV3;

/** A replay in progress. */
export class Replayer {
  readonly #device: SmmuV3;
  readonly #known: KnownMemory;
  #changes: readonly Change[] = [];
  #nextChange = 0;
  #unknown: number | undefined;
  #fetches = 0;
  #path = 0;
  #out: Output[] = [];
  #expected: readonly Output[] = [];
  /** The endpoint's side of a DMA: one buffer for all, as clearing new ones would take longer than the device. */
  #buffer = new Uint8Array(2 ** 17);
  /** What the payload was, where it was recorded. */
  #payload: Uint8Array | undefined;

  /** A fresh device of the header's features. */
  constructor(header: TraceHeader, make: DeviceMaker = (options) => new SmmuV3(options)) {
    this.#known = new KnownMemory(header.log2known);
    this.#device = make({
      memory: this.#memory(),
      features: header.features,
      log2tlbSets: header.log2tlbSets,
      lines: { eventq: this.#wire("eventq"), gerror: this.#wire("gerror") },
      msi: { send: (gpa, data) => this.#answer(["msi", gpa, data >>> 0, false]) },
    });
  }

  /** Does one operation; returns what came out differently. */
  step(operation: Operation): readonly Difference[] {
    this.#changes = operation.mem ?? [];
    this.#nextChange = 0;
    this.#unknown = undefined;
    this.#fetches = 0;
    this.#path = 0;
    this.#out = [];
    this.#payload = undefined;
    this.#expected = operation.out ?? [];
    const [expected, got] = this.#do(operation);
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
    compare("number of fetches", operation.fetches ?? 0, this.#fetches);
    compare("addresses of fetches (hash)", operation.path ?? 0, this.#path);
    compareOutputs(this.#expected, this.#out, this.#payload !== undefined, differences);
    return differences;
  }

  #do(operation: Operation): [expected: unknown, got: unknown] {
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
      case "dma-read":
      case "dma-write": {
        const bytes = this.#endpointBuffer(operation.size);
        const { payload } = operation;
        if (payload !== undefined) {
          this.#payload = Uint8Array.fromBase64(payload);
          if (operation.op === "dma-write") bytes.set(this.#payload);
        }
        const [requester, lo, hi] = who(operation);
        const ok = operation.op === "dma-read"
          ? device.dma.read(requester, lo, hi, bytes)
          : device.dma.write(requester, lo, hi, bytes);
        return [operation.ok, ok];
      }
      case "dma-message": {
        const [requester, lo, hi] = who(operation);
        return [operation.ok, device.dma.message(requester, lo, hi, operation.data)];
      }
      default:
        return ["an operation that this version knows", (operation as { op: string }).op];
    }
  }

  /** Memory as the recording found it. */
  #memory(): GuestMemory {
    return {
      fetch: (gpa, into) => this.#fetch(gpa, into),
      store: (gpa, from) => this.#answer(["store", gpa, toHex(from.bytes), true]),
      store32: (gpa, value) => this.#answer(["store32", gpa, value >>> 0, true]),
      read: (gpa, into) => this.#answer(["read", gpa, into.length, this.#supply(into), true]),
      write: (gpa, from) => this.#answer(["write", gpa, from.length, this.#sum(from), true]),
    };
  }

  #endpointBuffer(sizeBytes: number): Uint8Array {
    if (sizeBytes > this.#buffer.length) this.#buffer = new Uint8Array(sizeBytes);
    return this.#buffer.subarray(0, sizeBytes);
  }

  /** Puts what was recorded into a part of the endpoint's buffer. */
  #supply(into: Uint8Array): number {
    const from = into.byteOffset - this.#buffer.byteOffset;
    const payload = this.#payload?.subarray(from, from + into.length);
    if (payload?.length === into.length) into.set(payload);
    return this.#sum(into);
  }

  /** The checksum of payload; nothing where it was not recorded. */
  #sum(bytes: Uint8Array): number {
    return this.#payload === undefined ? 0 : crc32(bytes);
  }

  #fetch(gpa: number, { words, bytes }: Entry): boolean {
    const fetch = this.#fetches++;
    this.#path = hashAddress(this.#path, gpa);
    const change = this.#changes[this.#nextChange];
    if (change !== undefined && change[0] === fetch) {
      this.#nextChange++;
      if (change[1] !== gpa) this.#unknown ??= gpa;
      if (change[2] === null) return false;
      bytes.set(fromHex(change[2]).subarray(0, bytes.length));
      for (let i = 0; i < words.length; i += 2) {
        this.#known.learn(gpa + i * 4, words[i], words[i + 1]);
      }
      return true;
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

  #wire(name: string): { pulse(): void; set(): void } {
    return { pulse: () => void this.#out.push(["irq", name]), set: () => {} };
  }

  /** Notes an output, and answers whether there was RAM as the recording has it at the same place. */
  #answer(output: Output): boolean {
    const recorded = this.#expected[this.#out.length];
    const last = recorded?.at(-1);
    const ok = recorded?.[0] === output[0] && typeof last === "boolean" ? last : true;
    this.#out.push([...output.slice(0, -1), ok] as unknown as Output);
    return ok;
  }
}

function compareOutputs(
  expected: readonly Output[],
  got: readonly Output[],
  hasPayload: boolean,
  differences: Difference[],
): void {
  for (let i = 0; i < Math.max(expected.length, got.length); i++) {
    if (!same(expected[i], got[i], hasPayload)) {
      differences.push({
        what: `output ${i + 1}`,
        expected: expected[i] ?? "nothing",
        got: got[i] ?? "nothing",
      });
    }
  }
}

/** Where payload was not recorded, or could not be moved, its checksum says nothing about the device. */
function same(
  expected: Output | undefined,
  got: Output | undefined,
  hasPayload: boolean,
): boolean {
  if (expected === undefined || got === undefined || expected.length !== got.length) return false;
  const isPayload = expected[0] === "read" || expected[0] === "write";
  const isSummed = hasPayload && expected.at(-1) === true;
  for (let i = 0; i < expected.length; i++) {
    if (expected[i] !== got[i] && (isSummed || !isPayload || i !== 3)) return false;
  }
  return true;
}

function who(
  operation: { stream: number; substream?: number; iova: string },
): [Requester, number, number] {
  const digits = operation.iova.slice(2).padStart(16, "0");
  const requester = { streamId: operation.stream, substreamId: operation.substream ?? -1 };
  return [requester, parseInt(digits.slice(8), 16), parseInt(digits.slice(0, 8), 16)];
}
