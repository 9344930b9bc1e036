/**
 * Two analyses side by side: what is chosen differently, and what costs more. The names in it are stable.
 * @module
 */
import type { Analysis } from "./analysis.ts";
import type { HistogramSummary } from "./histogram.ts";
import { HISTOGRAMS } from "./wording.ts";

/** Version of the names below: it grows when one changes its meaning or goes. */
export const COMPARISON_VERSION = 1;

/** A pair of numbers or words. */
export interface ComparisonRow {
  /** Such as `summary.dma.readBytes` or `commands.CMD_SYNC`. */
  readonly name: string;
  /** Of the first trace; null when it has no such thing. */
  readonly a: number | string | null;
  /** Of the second trace; null when it has no such thing. */
  readonly b: number | string | null;
  /** b divided by a; null when one is no number, or a is 0. */
  readonly ratio: number | null;
  /** Worth a look: different words, or numbers that are a quarter apart. */
  readonly isNotable: boolean;
  /** What numbers are. */
  readonly unit: "count" | "bytes" | "seconds" | "part";
}

/** Rows that belong together. */
export interface ComparisonSection {
  /** For people. */
  readonly title: string;
  /** First those that the first trace has. */
  readonly rows: readonly ComparisonRow[];
}

/** A histogram of both. */
export interface ComparisonHistogram {
  /** As in an analysis. */
  readonly name: keyof Analysis["histograms"];
  /** For people. */
  readonly title: string;
  /** What values are. */
  readonly unit: "count" | "microseconds" | "bytes";
  /** Worth a look: a fifth of the values lies elsewhere. */
  readonly isNotable: boolean;
  /** Of the first trace. */
  readonly meanA: number;
  /** Of the second trace. */
  readonly meanB: number;
  /** Parts of all values, 0 to 1. */
  readonly buckets: readonly {
    readonly from: number;
    readonly below: number;
    readonly partA: number;
    readonly partB: number;
  }[];
}

/** A kind of fault and how often each side has it. */
export interface ComparisonFault {
  /** The story of the first one. */
  readonly text: string;
  /** How often the first trace has it. */
  readonly a: number;
  /** How often the second trace has it. */
  readonly b: number;
}

/** Everything. */
export interface Comparison {
  /** See {@linkcode COMPARISON_VERSION}. */
  readonly version: typeof COMPARISON_VERSION;
  /** Guest, features, time, DMA, transactions, cost, commands, events; without empty ones. */
  readonly sections: readonly ComparisonSection[];
  /** All that either trace has values for. */
  readonly histograms: readonly ComparisonHistogram[];
  /** By event, stream, substream and access: addresses of tables differ from boot to boot. */
  readonly faults: readonly ComparisonFault[];
  /** What is wrong with the files. */
  readonly damage: { readonly a: string | null; readonly b: string | null };
}

type Side = Readonly<Record<string, number | string>>;
type Unit = ComparisonRow["unit"];

const NOTABLE = 1.25;
/** Parts of a histogram that lie in other buckets. */
const NOTABLE_PART = 0.2;

/** Puts two analyses side by side. */
export function compare(a: Analysis, b: Analysis): Comparison {
  const section = (
    title: string,
    sideOf: (analysis: Analysis) => Side,
    unit: Unit = "count",
  ): ComparisonSection => ({ title, rows: rows(sideOf(a), sideOf(b), unit) });
  const sections = [
    section("Guest", ({ guest }) => guest),
    section("Features", ({ features }) => words(features)),
    section("Time", times, "seconds"),
    section("DMA", ({ summary }) => summary.dma, "bytes"),
    section("Transactions", transactions),
    section("Cost", cost),
    section("Parts", parts, "part"),
    section("Commands", ({ commands }) => byName("commands", commands, ({ count }) => count)),
    section(
      "Commands a second",
      ({ commands }) => byName("rates", commands, ({ perSecond }) => perSecond),
    ),
    section(
      "Pages of 4 KiB invalidated",
      ({ invalidations }) => byName("pages", invalidations, ({ pages }) => pages),
    ),
    section(
      "TLBIs that name a range",
      ({ invalidations }) => byName("ranges", invalidations, ({ ranges }) => ranges),
    ),
    section("Events", ({ summary }) => summary.events),
  ];
  return {
    version: COMPARISON_VERSION,
    sections: sections.filter(({ rows }) => rows.length > 0),
    histograms: HISTOGRAMS.map(({ key, title, unit }) => ({
      name: key,
      title,
      unit,
      ...histogram(a.histograms[key], b.histograms[key]),
    })).filter(({ buckets }) => buckets.length > 0),
    faults: faults(a, b),
    damage: { a: a.damage, b: b.damage },
  };
}

function words(values: object): Side {
  return Object.fromEntries(Object.entries(values).map(([name, value]) => [name, String(value)]));
}

function times({ seconds, enabledAt }: Analysis): Side {
  return { seconds, ...(enabledAt.length === 0 ? {} : { enabledAt: enabledAt[0] }) };
}

function transactions({ streams, summary, faultCount }: Analysis): Side {
  const sum = (of: (stream: Analysis["streams"][number]) => number): number =>
    streams.reduce((sum, stream) => sum + of(stream), 0);
  return {
    streams: streams.length,
    reads: sum(({ reads }) => reads),
    writes: sum(({ writes }) => writes),
    messages: sum(({ messages }) => messages),
    failed: sum(({ failed }) => failed),
    faults: faultCount,
    tlbHits: summary.translations.tlbHits,
    walks: summary.translations.walks,
    bypassed: summary.translations.bypass,
  };
}

function cost({ summary, prodWrites, syncsPerMiB, livePages }: Analysis): Side {
  return {
    syncs: summary.syncs,
    syncsPerMiB,
    tlbis: summary.tlbis,
    prodWrites,
    mmioReads: summary.mmio.reads,
    mmioWrites: summary.mmio.writes,
    readsPerSync: summary.mmio.readsPerSync,
    writesPerSync: summary.mmio.writesPerSync,
    livePagesPeak: livePages.peak,
    commandErrors: summary.commandErrors,
    eventsDropped: summary.eventsDropped,
    interrupts: summary.interrupts,
  };
}

function parts({ summary }: Analysis): Side {
  return { tlbHitRate: summary.translations.hitRate };
}

function byName<T extends { readonly name: string }>(
  prefix: string,
  items: readonly T[],
  valueOf: (item: T) => number,
): Side {
  return Object.fromEntries(items.map((item) => [`${prefix}.${item.name}`, valueOf(item)]));
}

function rows(a: Side, b: Side, unit: Unit): ComparisonRow[] {
  const names = [...new Set([...Object.keys(a), ...Object.keys(b)])];
  return names.map((name) => {
    const left = Object.hasOwn(a, name) ? a[name] : null;
    const right = Object.hasOwn(b, name) ? b[name] : null;
    const ratio = typeof left === "number" && typeof right === "number" && left !== 0
      ? right / left
      : null;
    return { name, a: left, b: right, ratio, isNotable: isNotable(left, right, ratio), unit };
  });
}

function isNotable(
  a: number | string | null,
  b: number | string | null,
  ratio: number | null,
): boolean {
  if (ratio === null) return a !== b && !(isNothing(a) && isNothing(b));
  return ratio >= NOTABLE || ratio <= 1 / NOTABLE;
}

function isNothing(value: number | string | null): boolean {
  return value === null || value === 0;
}

function histogram(
  a: HistogramSummary,
  b: HistogramSummary,
): Omit<ComparisonHistogram, "name" | "title" | "unit"> {
  const used = [...a.buckets, ...b.buckets].sort((x, y) => x.from - y.from);
  const partOf = ({ buckets, count }: HistogramSummary, from: number): number =>
    count === 0 ? 0 : (buckets.find((bucket) => bucket.from === from)?.count ?? 0) / count;
  const buckets = used.filter(({ from }, i) => from !== used[i - 1]?.from)
    .map(({ from, below }) => ({ from, below, partA: partOf(a, from), partB: partOf(b, from) }));
  const apart = buckets.reduce((sum, { partA, partB }) => sum + Math.abs(partA - partB), 0) / 2;
  return { isNotable: apart >= NOTABLE_PART, meanA: a.mean, meanB: b.mean, buckets };
}

/** Faults are the same when the same stream met the same event; addresses of tables differ from boot to boot. */
function faults(a: Analysis, b: Analysis): ComparisonFault[] {
  const found = new Map<string, { text: string; a: number; b: number }>();
  for (const [side, analysis] of [["a", a], ["b", b]] as const) {
    for (const { event, streamId, substreamId, access, text, count } of analysis.faults) {
      const key = `${event} ${streamId} ${substreamId} ${access}`;
      const known = found.get(key) ?? { text, a: 0, b: 0 };
      known[side] += count;
      found.set(key, known);
    }
  }
  return [...found.values()];
}
