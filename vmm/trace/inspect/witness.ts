/**
 * Sees what happens in a trace: replays it and tells, one after the other, the accesses, commands, transactions,
 * configurations, faults and interrupts. Everything that looks at traces rather than checks them starts here.
 * @module
 */
import { get } from "../../../hw/bits.ts";
import type { Requester } from "../../../hw/device.ts";
import type { Entry, GuestMemory } from "../../../hw/guest_memory.ts";
import { type Observer, Translation } from "../../../hw/smmuv3/observer.ts";
import { SmmuV3 } from "../../../hw/smmuv3/smmuv3.ts";
import { CD_SIZE } from "../../../hw/smmuv3/spec/cd.ts";
import { COMMAND_SIZE } from "../../../hw/smmuv3/spec/commands.ts";
import { EVENT, RECORD } from "../../../hw/smmuv3/spec/events.ts";
import { CR0, REG } from "../../../hw/smmuv3/spec/registers.ts";
import { STE_SIZE } from "../../../hw/smmuv3/spec/ste.ts";
import { eventName } from "../../counters.ts";
import { type FaultStory, type Fetched, tellFault } from "./fault_story.ts";
import type { Asked, Operation, TraceHeader } from "../format.ts";
import { hex, hexQuad } from "./naming.ts";
import { Replayer } from "../replay/replayer.ts";

/** Something that happened. Times are seconds since the recording began; `words` may be kept. */
export type Happening =
  & {
    readonly seconds: number;
  }
  & (
    /** The guest read or wrote a register; `commands` were consumed in the course of it. */
    | {
      readonly kind: "access";
      readonly isWrite: boolean;
      readonly offset: number;
      /** As hexadecimal. */
      readonly value: string;
      readonly commands: number;
    }
    /** The device was reset. */
    | { readonly kind: "reset" }
    /** A command was consumed, or refused with this CERROR code. Told before the access that led to it. */
    | { readonly kind: "command"; readonly words: Uint32Array; readonly error: number }
    | Transaction
    /** A stream's configuration was fetched. */
    | {
      readonly kind: "configuration";
      readonly requester: Requester;
      readonly ste: Fetched;
      readonly cd: Fetched | undefined;
    }
    | { readonly kind: "fault"; readonly story: FaultStory }
    /** An endpoint that translates for itself or can wait asked for something, or was told something. */
    | { readonly kind: "endpoint"; readonly what: EndpointHappening }
    /** An interrupt of the SMMU; by message when `gpa` is not negative. */
    | { readonly kind: "interrupt"; readonly source: string; readonly gpa: number }
    /** The device did otherwise than the trace says; told once. */
    | { readonly kind: "divergence"; readonly line: number; readonly what: string }
  );

/** What such an endpoint asks or is told; of a transaction that can wait, that it has not ended at once, or ended later. */
export type EndpointHappening =
  | "translation granted"
  | "translation refused"
  | "page request"
  | "page response"
  | "invalidation"
  | "invalidation without an answer"
  | "stall"
  | "end of a stall";

/** An endpoint's transaction. */
export interface Transaction {
  /** What kind of happening this is. */
  readonly kind: "transaction";
  /** What was wanted. */
  readonly access: "read" | "write" | "message";
  /** By whom. */
  readonly requester: Requester;
  /** Input address, as hexadecimal. */
  readonly iova: string;
  /** Page number of the input address, in pages of 4 KiB. */
  readonly page: number;
  /** Bytes that were wanted; 4 for a message. */
  readonly sizeBytes: number;
  /** Bytes that were moved. */
  readonly movedBytes: number;
  /** Whether the endpoint was told that it worked. */
  readonly ok: boolean;
  /** How its pages were translated, by the numbers of `Translation`. */
  readonly translations: readonly number[];
}

/** What decided about a stream when its configuration was fetched last. */
interface Known {
  readonly ste: Fetched;
  readonly cd: Fetched | undefined;
}

/** Configurations that are remembered; beyond it the oldest are forgotten. */
const MOST_KNOWN = 4096;

/** Replays operations and tells what happens. */
export class Witness {
  readonly #tell: (happening: Happening) => void;
  readonly #replayer: Replayer;
  readonly #features: TraceHeader["features"];
  #smmu!: SmmuV3;
  readonly #known = new Map<string, Known>();
  #seconds = 0;
  #line = 0;
  #operation: Operation | undefined;
  #requester: Requester = { streamId: 0, substreamId: -1 };
  /** What was fetched for the page that is being translated. */
  #way: Fetched[] = [];
  #isWayOver = false;
  #hasLearned = false;
  #commands = 0;
  #movedBytes = 0;
  #translations = [0, 0, 0, 0];
  #hasTold = false;
  #hasDiverged = false;

  /** A fresh device of the header's features; `tell` is called for each happening. */
  constructor(header: TraceHeader, tell: (happening: Happening) => void) {
    this.#tell = tell;
    this.#features = header.features;
    this.#replayer = new Replayer(header, (options) =>
      this.#smmu = new SmmuV3({
        ...options,
        memory: this.#watch(options.memory),
        observer: this.#observer(),
      }));
  }

  /** Does the operation in a line of the trace. */
  step(line: number, operation: Operation): void {
    if (operation.t >= this.#seconds && Number.isFinite(operation.t)) this.#seconds = operation.t;
    this.#line = line;
    this.#operation = operation;
    this.#forgetWay();
    this.#commands = 0;
    this.#movedBytes = 0;
    this.#translations = [0, 0, 0, 0];
    this.#hasTold = false;
    if ("stream" in operation) {
      this.#requester = {
        streamId: operation.stream,
        substreamId: operation.substream ?? -1,
      };
    }
    const differences = this.#replayer.step(operation);
    if (differences.length > 0 && !this.#hasDiverged) {
      this.#hasDiverged = true;
      const what = differences.map(({ what }) => what).join(", ");
      this.#tell({ kind: "divergence", seconds: this.#seconds, line, what });
    }
    this.#tellOperation(operation);
    this.#tellEndpoints(operation);
  }

  #tellEndpoints(operation: Operation): void {
    const tell = (what: EndpointHappening): void =>
      this.#tell({ kind: "endpoint", seconds: this.#seconds, what });
    const asked = [operation as Asked];
    const ended = new Set<number>();
    for (const output of operation.out ?? []) {
      if (output[0] === "asked") asked.push(output[1]);
      else if (output[0] === "end") ended.add(output[1]);
      else if (output[0] === "respond") tell("page response");
      else if (output[0] === "invalidate") {
        tell(output.at(-1) === true ? "invalidation" : "invalidation without an answer");
      }
    }
    for (const one of asked) {
      if (one.op === "page-request") tell("page request");
      if (one.op === "translation-request") {
        tell(/[rw]/.test(one.grants ?? "") ? "translation granted" : "translation refused");
      }
      if ("transaction" in one && !ended.delete(one.transaction)) tell("stall");
    }
    for (const _ of ended) tell("end of a stall");
  }

  #tellOperation(operation: Operation): void {
    const seconds = this.#seconds;
    switch (operation.op) {
      case "reset":
        this.#known.clear();
        return this.#tell({ kind: "reset", seconds });
      case "read":
      case "write": {
        const isWrite = operation.op === "write";
        const value = littleEndian(operation.bytes);
        const { at: offset } = operation;
        const commands = this.#commands;
        return this.#tell({ kind: "access", seconds, isWrite, offset, value, commands });
      }
      case "dma-read":
      case "dma-write":
      case "dma-message":
      case "translated-read":
      case "translated-write":
      case "translated-message":
        return this.#tellTransaction(operation, operation.ok);
      case "stallable-read":
      case "stallable-write": {
        const { transaction } = operation;
        const end = operation.out?.find(([kind, number]) =>
          kind === "end" && number === transaction
        );
        // One that waits has not failed.
        if (end !== undefined) this.#tellTransaction(operation, end.at(-1) === true);
      }
    }
  }

  #tellTransaction(operation: Operation & { iova: string }, ok: boolean): void {
    const [lo, hi] = wordsOf(operation.iova);
    if (!ok && !this.#hasTold) this.#fault(null, false, [lo, hi]);
    this.#tell({
      kind: "transaction",
      seconds: this.#seconds,
      access: accessOf(operation),
      requester: this.#requester,
      iova: hexQuad(lo, hi),
      page: hi * 0x10_0000 + (lo >>> 12),
      sizeBytes: "size" in operation ? operation.size : 4,
      movedBytes: this.#movedBytes,
      ok,
      translations: this.#translations,
    });
  }

  #observer(): Observer {
    return {
      command: (words, error) => {
        this.#commands++;
        this.#tell({ kind: "command", seconds: this.#seconds, words: words.slice(), error });
      },
      translation: (_requester, how) => {
        this.#translations[how]++;
        this.#learn();
        // An event about a fault comes after it, and tells of the way there.
        if (how !== Translation.Fault) this.#forgetWay();
        else this.#isWayOver = true;
      },
      transfer: (_requester, _write, sizeBytes) => void (this.#movedBytes += sizeBytes),
      event: (words, recorded) => {
        this.#learn();
        const id = get(words, RECORD.ID);
        const operation = this.#operation;
        const iova = id >= EVENT.F_WALK_EABT
          ? [get(words, RECORD.InputAddrLow), get(words, RECORD.InputAddrHigh)] as const
          : wordsOf(operation && "iova" in operation ? operation.iova : "0x0");
        this.#fault(eventName(id) ?? hex(id), recorded, iova);
        this.#isWayOver = true;
      },
      interrupt: (source, gpa) =>
        this.#tell({ kind: "interrupt", seconds: this.#seconds, source, gpa }),
    };
  }

  /** Memory whose fetches are remembered until the page that they were for is translated. */
  #watch(inner: GuestMemory): GuestMemory {
    return {
      fetch: (gpa: number, into: Entry): boolean => {
        const ok = inner.fetch(gpa, into);
        const sizeBytes = into.bytes.length;
        if (this.#isWayOver) this.#forgetWay();
        const words = ok ? into.words.slice() : undefined;
        if (sizeBytes !== COMMAND_SIZE) this.#way.push({ gpa, sizeBytes, words });
        return ok;
      },
      store: (gpa, from) => inner.store(gpa, from),
      store32: (gpa, value) => inner.store32(gpa, value),
      compareExchange: (gpa, expected, desired) => inner.compareExchange(gpa, expected, desired),
      read: (gpa, into) => inner.read(gpa, into),
      write: (gpa, from) => inner.write(gpa, from),
    };
  }

  /** Remembers a configuration that is among the fetches. */
  #learn(): void {
    const [ste, cd] = this.#way.filter(isConfiguration);
    if (ste === undefined || this.#hasLearned) return;
    this.#hasLearned = true;
    const key = keyOf(this.#requester);
    this.#known.delete(key);
    this.#known.set(key, { ste, cd });
    if (this.#known.size > MOST_KNOWN) this.#known.delete(this.#known.keys().next().value!);
    const requester = this.#requester;
    this.#tell({ kind: "configuration", seconds: this.#seconds, requester, ste, cd });
  }

  #forgetWay(): void {
    this.#way = [];
    this.#isWayOver = false;
    this.#hasLearned = false;
  }

  #fault(event: string | null, recorded: boolean, iova: readonly [number, number]): void {
    this.#hasTold = true;
    const way = this.#way;
    const isOfTable = event === "C_BAD_STREAMID" || event === "F_STE_FETCH";
    const known = isOfTable ? undefined : this.#known.get(keyOf(this.#requester));
    const { streamId, substreamId } = this.#requester;
    const cr0 = Uint32Array.of(this.#smmu.read32(REG.CR0.offset));
    const story = tellFault({
      seconds: this.#seconds,
      line: this.#line,
      access: accessOf(this.#operation),
      streamId,
      substreamId,
      iova,
      event,
      recorded,
      ste: event === "F_STE_FETCH" ? way.at(-1) : known?.ste,
      cd: known?.cd,
      l1std: event === "C_BAD_STREAMID" ? way[0] : undefined,
      walk: WALKS.has(event) ? way.slice(way.findLastIndex(isConfiguration) + 1) : [],
      isEnabled: get(cr0, CR0.SMMUEN) === 1,
      isAborted: this.#translations[Translation.Fault] > 0 || event !== null,
    }, this.#features);
    this.#tell({ kind: "fault", seconds: this.#seconds, story });
  }
}

const WALKS: ReadonlySet<string | null> = new Set([
  "F_WALK_EABT",
  "F_TRANSLATION",
  "F_ADDR_SIZE",
  "F_ACCESS",
  "F_PERMISSION",
]);

/** Whether it is an STE or a CD: both have the same size, and nothing else has. */
function isConfiguration({ sizeBytes }: Fetched): boolean {
  return sizeBytes === STE_SIZE || sizeBytes === CD_SIZE;
}

function keyOf({ streamId, substreamId }: Requester): string {
  return `${streamId}:${substreamId}`;
}

function accessOf(operation: Operation | undefined): "read" | "write" | "message" {
  if (operation?.op.endsWith("-write")) return "write";
  return operation?.op.endsWith("-message") ? "message" : "read";
}

function wordsOf(iova: string): [lo: number, hi: number] {
  const digits = iova.slice(2).padStart(16, "0");
  return [parseInt(digits.slice(8), 16) >>> 0, parseInt(digits.slice(0, 8), 16) >>> 0];
}

/** Bytes in memory order as one number. */
function littleEndian(bytes: string): string {
  const digits = (bytes.match(/../g) ?? []).reverse().join("");
  return `0x${digits.replace(/^0+(?=.)/, "")}`;
}
