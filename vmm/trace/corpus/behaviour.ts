/**
 * What a guest did to its SMMU and saw of it, without what no two runs share: addresses that it chose, times, and how
 * often it did what depends on them.
 * @module
 */
import { type AddressField, get } from "../../../hw/bits.ts";
import type { Requester } from "../../../hw/device.ts";
import type { Observer } from "../../../hw/smmuv3/observer.ts";
import { SmmuV3 } from "../../../hw/smmuv3/smmuv3.ts";
import { CFGI, TLBI } from "../../../hw/smmuv3/spec/commands.ts";
import { RECORD } from "../../../hw/smmuv3/spec/events.ts";
import {
  CR0,
  PAGE0_ALIAS,
  QUEUE_BASE,
  REG,
  STRTAB_BASE,
} from "../../../hw/smmuv3/spec/registers.ts";
import { eventName } from "../../counters.ts";
import { fromHex, type Operation, type Output, type TraceHeader } from "../format.ts";
import { commandName, hex, registerName } from "../inspect/naming.ts";
import { Replayer } from "../replay/replayer.ts";

/** A behaviour: lines that two runs of one guest have in common, and counts that they need not. */
export interface Behaviour {
  /** Features of the device that the guest found. */
  readonly features: string;
  /** Register accesses and resets in order, but those of the indexes of running queues; with values, without addresses. */
  readonly registers: readonly string[];
  /** Commands in order that are neither CMD_SYNC nor about what is mapped. */
  readonly configuration: readonly string[];
  /** Kinds of invalidations: command and ASID. */
  readonly invalidations: readonly string[];
  /** Events in order. */
  readonly events: readonly string[];
  /** Refused commands in order. */
  readonly refusals: readonly string[];
  /** Who asked for what, and what came of it: streams, directions, messages with their data. */
  readonly requests: readonly string[];
  /** Interrupts of the SMMU in order. */
  readonly interrupts: readonly string[];
  /** How often each command came, by the manual's name, and each operation of the trace. */
  readonly counts: Readonly<Record<string, number>>;
}

/** What two behaviours have in common, and what not. */
export interface Likeness {
  /** What differs and must not: a line each, empty when the guest behaved in the same way. */
  readonly differences: readonly string[];
  /** What differs and may: counts, a line each. */
  readonly liberties: readonly string[];
}

/** Where a trace diverges from the device of today; its behaviour is not known beyond. */
export class DivergedError extends Error {}

/** Replays a trace and watches. Throws {@linkcode DivergedError} where it diverges, and what `operations` throws. */
export async function behaviourOf(
  header: TraceHeader,
  operations: AsyncIterable<{ readonly number: number; readonly operation: Operation }>,
): Promise<Behaviour> {
  const watcher = new Watcher();
  const replayer = new Replayer(
    header,
    (options) => new SmmuV3({ ...options, observer: watcher }),
  );
  for await (const { number, operation } of operations) {
    const [difference] = replayer.step(operation);
    if (difference !== undefined) {
      const { what, expected, got } = difference;
      throw new DivergedError(
        `Line ${number}: ${what}: expected ${JSON.stringify(expected)}, got ${JSON.stringify(got)}`,
      );
    }
    watcher.operation(operation);
  }
  return watcher.behaviour(header);
}

/** Compares two behaviours. */
export function compareBehaviours(a: Behaviour, b: Behaviour): Likeness {
  const differences: string[] = [];
  for (const what of ["registers", "configuration", "events", "refusals", "interrupts"] as const) {
    const difference = firstDifference(a[what], b[what]);
    if (difference !== undefined) differences.push(`${what} ${difference}`);
  }
  const kinds = {
    features: [[a.features], [b.features]],
    invalidations: [a.invalidations, b.invalidations],
    requests: [a.requests, b.requests],
    kinds: [Object.keys(a.counts), Object.keys(b.counts)],
  };
  for (const [what, [ofA, ofB]] of Object.entries(kinds)) {
    differences.push(...alone(what, ofA, ofB, "first"), ...alone(what, ofB, ofA, "second"));
  }
  const names = Object.keys(a.counts).filter((name) => a.counts[name] !== b.counts[name]);
  return {
    differences,
    liberties: names.map((name) => `${name}: ${a.counts[name]} and ${b.counts[name] ?? 0}`),
  };
}

function firstDifference(a: readonly string[], b: readonly string[]): string | undefined {
  const length = Math.max(a.length, b.length);
  for (let i = 0; i < length; i++) {
    if (a[i] !== b[i]) return `${i + 1}: ${a[i] ?? "nothing"}, then ${b[i] ?? "nothing"}`;
  }
}

function alone(what: string, a: readonly string[], b: readonly string[], run: string): string[] {
  return a.filter((line) => !b.includes(line)).map((line) =>
    `${what}, only in the ${run}: ${line}`
  );
}

/** Sees a replay from both sides: the operations, and the device's own account. */
class Watcher implements Observer {
  readonly #registers: string[] = [];
  readonly #configuration: string[] = [];
  readonly #invalidations = new Set<string>();
  readonly #events: string[] = [];
  readonly #refusals: string[] = [];
  readonly #requests = new Set<string>();
  readonly #interrupts: string[] = [];
  readonly #counts: Record<string, number> = {};
  #cr0 = new Uint32Array(1);

  /** An operation that has been replayed. */
  operation(operation: Operation): void {
    this.#count(operation.op);
    for (const [name] of operation.calls ?? []) this.#count(`iommufd ${name}`);
    for (const output of operation.out ?? []) this.#told(output);
    switch (operation.op) {
      case "reset":
        this.#cr0[0] = 0;
        this.#registers.push("reset");
        break;
      case "read":
      case "write":
        this.#access(operation.op, operation.at, fromHex(operation.bytes));
        break;
      case "dma-read":
      case "dma-write":
      case "translated-read":
      case "translated-write":
        this.#requests.add(`${operation.op} ${whoOf(operation)} ${operation.ok ? "done" : "not"}`);
        break;
      case "dma-message":
      case "translated-message": {
        const { op, data, ok } = operation;
        this.#requests.add(`${op} ${whoOf(operation)} data ${data} ${ok ? "done" : "not"}`);
        break;
      }
      case "translation-request": {
        const { grants = "nothing", status } = operation;
        const came = status === 0 ? grants : `status ${status}`;
        this.#requests.add(`translation-request ${whoOf(operation)} ${came}`);
        break;
      }
      case "page-request":
      case "stallable-read":
      case "stallable-write":
        this.#requests.add(`${operation.op} ${whoOf(operation)}`);
        break;
    }
  }

  /** What endpoints are told. */
  #told(output: Output): void {
    switch (output[0]) {
      case "invalidate":
        return this.#count("endpoint invalidated");
      case "respond":
        return this.#count(`endpoint answered ${output[4]}`);
      case "end":
        return this.#count(`wait ended ${output[2] ? "done" : "not"}`);
    }
  }

  command(words: Uint32Array, error: number): void {
    const name = commandName(words);
    if (error !== 0) {
      this.#refusals.push(`${name} ${error}`);
      return;
    }
    this.#count(name);
    if (name.startsWith("CMD_TLBI_NH_")) {
      this.#invalidations.add(`${name} ASID ${get(words, TLBI.ASID)}`);
    } else if (name !== "CMD_SYNC") {
      const stream = hex(get(words, CFGI.StreamID));
      this.#configuration.push(`${name} StreamID ${stream} Range ${get(words, CFGI.Range)}`);
    }
  }

  event(words: Uint32Array, recorded: boolean): void {
    const number = get(words, RECORD.ID);
    const name = eventName(number) ?? hex(number);
    const stream = hex(get(words, RECORD.StreamID));
    this.#events.push(`${name} StreamID ${stream}${recorded ? "" : " dropped"}`);
  }

  interrupt(source: string): void {
    if (source !== "cmd_sync") this.#interrupts.push(source);
  }

  translation(_requester: Requester, _how: number): void {}

  transfer(_requester: Requester, _write: boolean, _sizeBytes: number): void {}

  /** What was seen. */
  behaviour({ features }: TraceHeader): Behaviour {
    // A reset with nothing behind it is the end of the machine, and the guest does not see it.
    const end = this.#registers.findLastIndex((line) => line !== "reset") + 1;
    return {
      features: JSON.stringify(features),
      registers: this.#registers.slice(0, end),
      configuration: this.#configuration,
      invalidations: [...this.#invalidations].sort(),
      events: this.#events,
      refusals: this.#refusals,
      requests: [...this.#requests].sort(),
      interrupts: this.#interrupts,
      counts: this.#counts,
    };
  }

  #access(op: "read" | "write", at: number, bytes: Uint8Array): void {
    const words = new Uint32Array(bytes.slice(0, bytes.length & ~3).buffer);
    const offset = PAGE0_ALIAS[at] ?? at;
    if (op === "write" && offset === REG.CR0.offset) this.#cr0 = words;
    if (this.#isRunningIndex(offset)) return;
    const values = Array.from(words, (word, i) => {
      const mask = ADDRESS_BITS.get(offset + 4 * i) ?? 0;
      return `0x${((word & ~mask) >>> 0).toString(16).padStart(8, "0")}`;
    });
    const line = `${op} ${registerName(offset)} ${values.join(" ")}`;
    // A driver that waits reads until it sees what it waits for.
    if (op === "write" || this.#registers.at(-1) !== line) this.#registers.push(line);
  }

  #isRunningIndex(offset: number): boolean {
    if (offset === REG.CMDQ_PROD.offset || offset === REG.CMDQ_CONS.offset) {
      return get(this.#cr0, CR0.CMDQEN) === 1;
    }
    if (offset === REG.EVENTQ_PROD.offset || offset === REG.EVENTQ_CONS.offset) {
      return get(this.#cr0, CR0.EVENTQEN) === 1;
    }
    return false;
  }

  #count(name: string): void {
    this.#counts[name] = (this.#counts[name] ?? 0) + 1;
  }
}

/** The bits of each word of a register that hold an address which the guest chose. */
const ADDRESS_BITS = new Map([
  ...addressBits(REG.STRTAB_BASE.offset, STRTAB_BASE.ADDR),
  ...addressBits(REG.CMDQ_BASE.offset, QUEUE_BASE.ADDR),
  ...addressBits(REG.EVENTQ_BASE.offset, QUEUE_BASE.ADDR),
]);

function addressBits(offset: number, { lowMask, highMask }: AddressField): [number, number][] {
  return [[offset, lowMask], [offset + 4, highMask]];
}

function whoOf({ stream, substream }: { stream: number; substream?: number }): string {
  return `StreamID ${hex(stream)}${substream === undefined ? "" : ` SubstreamID ${substream}`}`;
}
