/**
 * What a trace tells of its guest: who did DMA, what was commanded, what it cost. One analysis feeds the text, the JSON,
 * the page and the comparison; the names in it are stable.
 * @module
 */
import type { Summary } from "../../counters.ts";
import type { FaultStory } from "./fault_story.ts";
import type { TraceHeader } from "../format.ts";
import type { HistogramSummary } from "./histogram.ts";
import type { TimelineSummary } from "./timeline.ts";
import type { EndpointHappening } from "./witness.ts";

/** Version of the names below: it grows when one changes its meaning or goes. */
export const ANALYSIS_VERSION = 1;

/** A way in which a stream was configured. */
export interface Configuration {
  /** When it was fetched first. */
  readonly seconds: number;
  /** Null for transactions without one. */
  readonly substreamId: number | null;
  /** What STE.Config says; `invalid` when it cannot be followed. */
  readonly mode: "abort" | "bypass" | "stage 1" | "stage 2" | "nested" | "invalid";
  /** The STE in words. */
  readonly ste: string;
  /** The CD in words; null when there is none. */
  readonly cd: string | null;
  /** Tag of its translations; null unless stage 1. */
  readonly asid: number | null;
}

/** A stream: an endpoint as the SMMU knows it. */
export interface StreamAnalysis {
  /** Requester ID of a PCI function. */
  readonly streamId: number;
  /** As Linux writes it; null when the StreamID is no requester ID. */
  readonly pciAddress: string | null;
  /** Different ones in the order in which they were fetched first. At most 16. */
  readonly configurations: readonly Configuration[];
  /** Transactions that read. */
  readonly reads: number;
  /** Transactions that write. */
  readonly writes: number;
  /** Interrupts by message. */
  readonly messages: number;
  /** Bytes that were moved from memory. */
  readonly readBytes: number;
  /** Bytes that were moved to memory. */
  readonly writtenBytes: number;
  /** Transactions that failed. */
  readonly failed: number;
  /** Faults, whether the guest was told or not. */
  readonly faults: number;
}

/** An address space that streams share. */
export interface DomainAnalysis {
  /** CD.ASID. */
  readonly asid: number;
  /** Who was ever configured to use it, ascending. */
  readonly streamIds: readonly number[];
}

/** A command by name. */
export interface CommandAnalysis {
  /** The manual's, such as `CMD_SYNC`. */
  readonly name: string;
  /** How many were consumed. */
  readonly count: number;
  /** From the first command to the last. */
  readonly perSecond: number;
}

/** TLB invalidations of one name. */
export interface ScopeAnalysis {
  /** The manual's, such as `CMD_TLBI_NH_VA`. */
  readonly name: string;
  /** How many were consumed. */
  readonly count: number;
  /** Those that name a range. */
  readonly ranges: number;
  /** Pages of 4 KiB that were named; 0 for those that name no addresses. */
  readonly pages: number;
}

/** A register by name. */
export interface RegisterAnalysis {
  /** The manual's; the offset where no register is. */
  readonly name: string;
  /** Accesses that read it, or its low word. */
  readonly reads: number;
  /** Accesses that write it, or its low word. */
  readonly writes: number;
}

/** Everything. Sizes in bytes, times in seconds since the recording began, pages of 4 KiB. */
export interface Analysis {
  /** See {@linkcode ANALYSIS_VERSION}. */
  readonly version: typeof ANALYSIS_VERSION;
  /** What ran, from the trace's header. */
  readonly guest: TraceHeader["guest"];
  /** Those of the device, from the trace's header. */
  readonly features: TraceHeader["features"];
  /** When the recording began: ISO 8601. */
  readonly began: string;
  /** Time of the last operation. */
  readonly seconds: number;
  /** Operations at the device's doors: lines of the trace without the first and the last. */
  readonly operations: number;
  /** What is wrong with the file; all else is about what precedes it. Null when nothing is. */
  readonly damage: string | null;
  /** Where our device does otherwise than the trace; what follows is less certain. Null when it never does. */
  readonly divergence: { readonly line: number; readonly what: string } | null;
  /** When the guest enabled translation (SMMU_CR0.SMMUEN), each time. At most 16. */
  readonly enabledAt: readonly number[];
  /** Resets of the device, the one at its beginning included. */
  readonly resets: number;
  /** By StreamID. At most 256, see `streamsLeftOut`. */
  readonly streams: readonly StreamAnalysis[];
  /** Streams beyond those. */
  readonly streamsLeftOut: number;
  /** By ASID. */
  readonly domains: readonly DomainAnalysis[];
  /** What endpoints asked that translate for themselves or can wait, and what they were told; absent where they did not. */
  readonly endpoints: Readonly<Partial<Record<EndpointHappening, number>>>;
  /** The most frequent first. */
  readonly commands: readonly CommandAnalysis[];
  /** TLB invalidations by name. */
  readonly invalidations: readonly ScopeAnalysis[];
  /** Counts as `microvm --json` has them. */
  readonly summary: Summary;
  /** Accesses by register, in the order in which they came first. */
  readonly registers: readonly RegisterAnalysis[];
  /** Writes of CMDQ_PROD. */
  readonly prodWrites: number;
  /** CMD_SYNCs for each MiB of DMA; 0 without DMA. */
  readonly syncsPerMiB: number;
  /** Pages that endpoints used since they were invalidated. `isCut` when there were more than are counted. */
  readonly livePages: { readonly peak: number; readonly atEnd: number; readonly isCut: boolean };
  /** The first 100 of different kinds, each with how often it came. */
  readonly faults: readonly (FaultStory & { readonly count: number })[];
  /** All of them. */
  readonly faultCount: number;
  /** In buckets of powers of two. */
  readonly histograms: {
    /** Commands consumed by each write of CMDQ_PROD. */
    readonly commandsPerProdWrite: HistogramSummary;
    /** Commands since the CMD_SYNC before, the CMD_SYNC itself not among them. */
    readonly commandsPerSync: HistogramSummary;
    /** Pages of 4 KiB that each TLB invalidation by address names. */
    readonly pagesPerTlbi: HistogramSummary;
    /** Pages of 4 KiB that were invalidated by address since the CMD_SYNC before. */
    readonly pagesPerSync: HistogramSummary;
    /** Microseconds from one CMD_SYNC to the next. */
    readonly microsecondsBetweenSyncs: HistogramSummary;
    /** Microseconds from one write of CMDQ_PROD to the next. */
    readonly microsecondsBetweenProdWrites: HistogramSummary;
    /** Bytes that each transaction asked for; messages are not among them. */
    readonly bytesPerTransaction: HistogramSummary;
  };
  /**
   * Sums `commands`, `syncs`, `tlbis`, `hits`, `walks`, `faults`, `registerReads`, `registerWrites`, and for each stream
   * such as 0x8 `read 0x8` and `write 0x8` in bytes; levels `livePages`.
   */
  readonly timeline: TimelineSummary;
}
