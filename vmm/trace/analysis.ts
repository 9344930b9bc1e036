/**
 * What a trace tells of its guest: who did DMA, what was commanded, what it cost. One analysis feeds the text, the JSON,
 * the page and the comparison; the names in it are stable.
 * @module
 */
import type { Summary } from "../counters.ts";
import type { FaultStory } from "./fault_story.ts";
import type { TraceHeader } from "./format.ts";
import type { HistogramSummary } from "./histogram.ts";
import type { TimelineSummary } from "./timeline.ts";

/** Version of the names below: it grows when one changes its meaning or goes. */
export const ANALYSIS_VERSION = 1;

/** A way in which a stream was configured. */
export interface Configuration {
  /** When it was fetched first. */
  readonly seconds: number;
  /** Null for transactions without one. */
  readonly substreamId: number | null;
  readonly mode: "abort" | "bypass" | "stage 1" | "invalid";
  /** STE and CD in words. */
  readonly ste: string;
  readonly cd: string | null;
  /** Null unless stage 1. */
  readonly asid: number | null;
}

/** A stream: an endpoint as the SMMU knows it. */
export interface StreamAnalysis {
  readonly streamId: number;
  /** As Linux writes it; null when the StreamID is no requester ID. */
  readonly pciAddress: string | null;
  readonly configurations: readonly Configuration[];
  readonly reads: number;
  readonly writes: number;
  readonly messages: number;
  readonly readBytes: number;
  readonly writtenBytes: number;
  /** Transactions that failed. */
  readonly failed: number;
  readonly faults: number;
}

/** An address space that streams share. */
export interface DomainAnalysis {
  readonly asid: number;
  readonly streamIds: readonly number[];
}

/** A command by name. */
export interface CommandAnalysis {
  readonly name: string;
  readonly count: number;
  /** From the first command to the last. */
  readonly perSecond: number;
}

/** TLB invalidations of one name. */
export interface ScopeAnalysis {
  readonly name: string;
  readonly count: number;
  /** Those that name a range. */
  readonly ranges: number;
  /** Pages of 4 KiB that were named. */
  readonly pages: number;
}

/** A register by name. */
export interface RegisterAnalysis {
  readonly name: string;
  readonly reads: number;
  readonly writes: number;
}

/** Everything. Sizes in bytes, times in seconds since the recording began, pages of 4 KiB. */
export interface Analysis {
  readonly version: typeof ANALYSIS_VERSION;
  readonly guest: TraceHeader["guest"];
  readonly features: TraceHeader["features"];
  /** ISO 8601. */
  readonly began: string;
  /** Time of the last operation. */
  readonly seconds: number;
  readonly operations: number;
  /** What is wrong with the file; all else is about what precedes it. Null when nothing is. */
  readonly damage: string | null;
  /** Where our device does otherwise than the trace; what follows is less certain. Null when it never does. */
  readonly divergence: { readonly line: number; readonly what: string } | null;
  /** When the guest enabled translation (SMMU_CR0.SMMUEN), each time. At most 16. */
  readonly enabledAt: readonly number[];
  readonly resets: number;
  /** By StreamID. At most 256, see `streamsLeftOut`. */
  readonly streams: readonly StreamAnalysis[];
  readonly streamsLeftOut: number;
  readonly domains: readonly DomainAnalysis[];
  /** The most frequent first. */
  readonly commands: readonly CommandAnalysis[];
  readonly invalidations: readonly ScopeAnalysis[];
  /** Counts as `microvm --json` has them. */
  readonly summary: Summary;
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
  readonly histograms: {
    readonly commandsPerProdWrite: HistogramSummary;
    readonly commandsPerSync: HistogramSummary;
    readonly pagesPerTlbi: HistogramSummary;
    readonly pagesPerSync: HistogramSummary;
    /** Microseconds from one CMD_SYNC to the next. */
    readonly microsecondsBetweenSyncs: HistogramSummary;
    /** Microseconds from one write of CMDQ_PROD to the next. */
    readonly microsecondsBetweenProdWrites: HistogramSummary;
    readonly bytesPerTransaction: HistogramSummary;
  };
  /**
   * Sums `commands`, `syncs`, `tlbis`, `hits`, `walks`, `faults`, and for each stream `read 0x8` and `write 0x8` in
   * bytes; levels `livePages`.
   */
  readonly timeline: TimelineSummary;
}
