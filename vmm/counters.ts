/**
 * What the device did, counted in memory that two threads share: the device thread counts, the main thread reads.
 * @module
 */
import type { Requester } from "../hw/device.ts";
import { COMMANDS } from "../hw/smmuv3/queues/commands.ts";
import { type Observer, Translation } from "../hw/smmuv3/observer.ts";
import { EVENT } from "../hw/smmuv3/spec/events.ts";
import { REG } from "../hw/smmuv3/spec/registers.ts";
import { IOMMUFD_CALLS } from "./iommufd/observed.ts";

// Layout, in 64-bit floats: exact up to 2^53 and written in one go.
const COMMAND = 0;
const EVENT_RECORDED = 256;
const EVENT_DROPPED = 512;
const TRANSLATION = 768;
const DMA_READ = 772;
const DMA_WRITTEN = 773;
const COMMAND_ERRORS = 774;
const INTERRUPTS = 775;
const ACCESSES = 776;
const QUEUE_ACCESSES = 778;
const IOMMUFD_REFUSED = 780;
const COMMANDS_PASSED = 781;
const EVENTS_PASSED = 782;
const EVENTS_LOST = 783;
const IOMMUFD_CALL = 784;
const NOTICED = IOMMUFD_CALL + IOMMUFD_CALLS.length;
const ATC_INVALIDATIONS = NOTICED + 1;
const PAGE_RESPONSES = ATC_INVALIDATIONS + 1;
const COUNT = PAGE_RESPONSES + 1;

const CALL_INDEX = new Map(IOMMUFD_CALLS.map((name, index) => [name, index]));

/** Counts at one moment, ready for JSON. */
export interface Summary {
  /** Commands consumed, by the manual's name. */
  readonly commands: Readonly<Record<string, number>>;
  /** Commands refused. */
  readonly commandErrors: number;
  /** CMD_SYNC consumed. */
  readonly syncs: number;
  /** CMD_TLBI_* consumed. */
  readonly tlbis: number;
  /** Pages translated, and how. `hitRate` is the part of TLB hits among hits and walks, 0 to 1. */
  readonly translations: {
    readonly bypass: number;
    readonly tlbHits: number;
    readonly walks: number;
    readonly faults: number;
    readonly hitRate: number;
  };
  /** Bytes that endpoints moved. */
  readonly dma: { readonly readBytes: number; readonly writtenBytes: number };
  /** Register accesses of the guest that trapped. */
  readonly mmio: {
    readonly reads: number;
    readonly writes: number;
    /** Accesses of CMDQ_PROD and CMDQ_CONS for each CMD_SYNC; 0 when there was none. */
    readonly readsPerSync: number;
    readonly writesPerSync: number;
    /** Writes that did not trap and were found in memory. */
    readonly noticed: number;
  };
  /** Events recorded, by the manual's name. */
  readonly events: Readonly<Record<string, number>>;
  /** Events that found the queue full or disabled. */
  readonly eventsDropped: number;
  /** What reached endpoints that translate for themselves. */
  readonly endpoints: {
    /** CMD_ATC_INV. */
    readonly invalidations: number;
    /** Answers to page requests, those of the SMMU itself among them. */
    readonly pageResponses: number;
  };
  /** What was asked of iommufd; all zero without. */
  readonly iommufd: {
    /** Calls, by the ioctl's name. */
    readonly calls: Readonly<Record<string, number>>;
    /** How many of them were refused. */
    readonly refused: number;
    /** Invalidation commands that were passed on. */
    readonly commandsPassed: number;
    /** Events of the hardware that were passed to the guest. */
    readonly eventsPassed: number;
    /** Events of the hardware that were lost on the way. */
    readonly eventsLost: number;
  };
  /** Interrupts of the SMMU itself; the completion messages of CMD_SYNC not among them. */
  readonly interrupts: number;
}

/** Counts what an SMMU does. */
export class Counters implements Observer {
  /** The shared memory, to be handed to another thread. */
  readonly buffer: SharedArrayBuffer;
  readonly #counts: Float64Array;

  /** Counters in new memory, or in that of another thread's counters. */
  constructor(buffer: SharedArrayBuffer = new SharedArrayBuffer(COUNT * 8)) {
    this.buffer = buffer;
    this.#counts = new Float64Array(buffer);
  }

  /** Counts a command by its opcode, or as one that was refused. */
  command(words: Uint32Array, error: number): void {
    if (error === 0) this.#counts[COMMAND + (words[0] & 0xff)]++;
    else this.#counts[COMMAND_ERRORS]++;
  }

  /** Counts one page. */
  translation(_requester: Requester, how: number): void {
    this.#counts[TRANSLATION + how]++;
  }

  /** Adds up what was moved, each way. */
  transfer(_requester: Requester, write: boolean, sizeBytes: number): void {
    this.#counts[write ? DMA_WRITTEN : DMA_READ] += sizeBytes;
  }

  /** Counts an event by its number. */
  event(words: Uint32Array, recorded: boolean): void {
    this.#counts[(recorded ? EVENT_RECORDED : EVENT_DROPPED) + (words[0] & 0xff)]++;
  }

  /** Counts an interrupt of the event queue or of a global error. */
  interrupt(source: string): void {
    if (source !== "cmd_sync") this.#counts[INTERRUPTS]++;
  }

  /** The guest read or wrote the register at `offset`. */
  access(isWrite: boolean, offset: number): void {
    this.#counts[ACCESSES + Number(isWrite)]++;
    if (offset === REG.CMDQ_PROD.offset || offset === REG.CMDQ_CONS.offset) {
      this.#counts[QUEUE_ACCESSES + Number(isWrite)]++;
    }
  }

  /** The guest had written a register in memory. */
  noticed(): void {
    this.#counts[NOTICED]++;
  }

  /** A CMD_ATC_INV has reached an endpoint, or an answer to a page request. */
  reached(what: "invalidation" | "page response"): void {
    this.#counts[what === "invalidation" ? ATC_INVALIDATIONS : PAGE_RESPONSES]++;
  }

  /** Counts a call of iommufd; of `IOMMU_HWPT_INVALIDATE`, the `result` is how many commands were handled. */
  iommufdCall(name: string, errno: number, result: unknown): void {
    const index = CALL_INDEX.get(name);
    if (index !== undefined) this.#counts[IOMMUFD_CALL + index]++;
    if (errno !== 0) this.#counts[IOMMUFD_REFUSED]++;
    else if (name === "IOMMU_HWPT_INVALIDATE") this.#counts[COMMANDS_PASSED] += Number(result);
  }

  /** How many events of the hardware were passed on, and lost, up to now. */
  hostEvents(passed: number, lost: number): void {
    this.#counts[EVENTS_PASSED] = passed;
    this.#counts[EVENTS_LOST] = lost;
  }

  /** The counts of now. */
  summary(): Summary {
    const counts = this.#counts;
    const commands = named(counts, COMMAND, (code) => COMMANDS[code]?.name);
    const hits = counts[TRANSLATION + Translation.TlbHit];
    const walks = counts[TRANSLATION + Translation.Walk];
    const syncs = commands["CMD_SYNC"] ?? 0;
    const perSync = (count: number): number => syncs === 0 ? 0 : count / syncs;
    return {
      commands,
      commandErrors: counts[COMMAND_ERRORS],
      syncs,
      tlbis: Object.entries(commands)
        .reduce((sum, [name, count]) => name.startsWith("CMD_TLBI_") ? sum + count : sum, 0),
      translations: {
        bypass: counts[TRANSLATION + Translation.Bypass],
        tlbHits: hits,
        walks,
        faults: counts[TRANSLATION + Translation.Fault],
        hitRate: hits + walks === 0 ? 0 : hits / (hits + walks),
      },
      dma: { readBytes: counts[DMA_READ], writtenBytes: counts[DMA_WRITTEN] },
      mmio: {
        reads: counts[ACCESSES],
        writes: counts[ACCESSES + 1],
        readsPerSync: perSync(counts[QUEUE_ACCESSES]),
        writesPerSync: perSync(counts[QUEUE_ACCESSES + 1]),
        noticed: counts[NOTICED],
      },
      events: named(counts, EVENT_RECORDED, eventName),
      eventsDropped: counts.subarray(EVENT_DROPPED, EVENT_DROPPED + 256)
        .reduce((sum, count) => sum + count, 0),
      endpoints: {
        invalidations: counts[ATC_INVALIDATIONS],
        pageResponses: counts[PAGE_RESPONSES],
      },
      iommufd: {
        calls: Object.fromEntries(
          IOMMUFD_CALLS.map((name, index): [string, number] => [name, counts[IOMMUFD_CALL + index]])
            .filter(([, count]) => count > 0),
        ),
        refused: counts[IOMMUFD_REFUSED],
        commandsPassed: counts[COMMANDS_PASSED],
        eventsPassed: counts[EVENTS_PASSED],
        eventsLost: counts[EVENTS_LOST],
      },
      interrupts: counts[INTERRUPTS],
    };
  }
}

/** The manual's name of an event number. */
export function eventName(number: number): string | undefined {
  return Object.entries(EVENT).find(([, value]) => value === number)?.[0];
}

function named(
  counts: Float64Array,
  first: number,
  nameOf: (code: number) => string | undefined,
): Record<string, number> {
  const result: Record<string, number> = {};
  for (let code = 0; code < 256; code++) {
    const count = counts[first + code];
    if (count > 0) result[nameOf(code) ?? `0x${code.toString(16)}`] = count;
  }
  return result;
}
