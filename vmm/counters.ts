/**
 * What the device did, counted in memory that two threads share: the device thread counts, the main thread reads.
 * @module
 */
import type { Requester } from "../hw/device.ts";
import { COMMANDS } from "../hw/smmuv3/commands.ts";
import { type Observer, Translation } from "../hw/smmuv3/observer.ts";
import { EVENT } from "../hw/smmuv3/spec/events.ts";
import { REG } from "../hw/smmuv3/spec/registers.ts";

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
const COUNT = 780;

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
  /** Register accesses of the guest. */
  readonly mmio: {
    readonly reads: number;
    readonly writes: number;
    /** Accesses of CMDQ_PROD and CMDQ_CONS for each CMD_SYNC; 0 when there was none. */
    readonly readsPerSync: number;
    readonly writesPerSync: number;
  };
  /** Events recorded, by the manual's name. */
  readonly events: Readonly<Record<string, number>>;
  /** Events that found the queue full or disabled. */
  readonly eventsDropped: number;
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
      },
      events: named(counts, EVENT_RECORDED, eventName),
      eventsDropped: counts.subarray(EVENT_DROPPED, EVENT_DROPPED + 256)
        .reduce((sum, count) => sum + count, 0),
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
