/**
 * The pictures of the page: the timeline with a row for each thing that is counted, and histograms.
 * @module
 */
import type { Analysis } from "./analysis.ts";
import type { HistogramSummary } from "./histogram.ts";
import { type Html, html } from "./html.ts";
import { hex } from "./naming.ts";
import { amount, bucketLabel, counted, percent, size, streamName } from "./wording.ts";

const WIDTH = 1280;
const GUTTER = 230;
const TOP = 44;
const ROW = 58;
const DMA_ROW = 84;
const GAP = 22;
const MOST_STREAMS = 8;
/** Room for the label of a mark. */
const LABEL = 230;

/** One row of the timeline. */
interface Row {
  readonly title: string;
  readonly note: string;
  readonly up: readonly number[];
  readonly upClass: string;
  /** Drawn downwards from the middle. */
  readonly down?: readonly number[];
  readonly most: number;
  /** The stream that the row is about. */
  readonly streamId?: number;
}

/** Times to places on the page. */
interface Axis {
  readonly firstSlot: number;
  readonly from: number;
  readonly to: number;
  readonly slotSeconds: number;
  readonly at: (seconds: number) => number;
}

/** A row in its place. */
interface Placed extends Row {
  readonly top: number;
  readonly base: number;
  readonly height: number;
}

/** The timeline as one picture. */
export function timelineChart(analysis: Analysis): Html {
  const rows = place(rowsOf(analysis));
  const axis = axisOf(analysis, rows);
  const bottom = rows.reduce((y, { top, height }) => Math.max(y, top + height), TOP) + GAP / 2;
  return html`<svg viewBox="0 0 ${WIDTH} ${bottom + 28}" role="img" aria-label="${label(analysis)}">
${
    ticks(axis).map((seconds) =>
      html`
        <line class="grid" x1="${axis.at(seconds)}" x2="${axis.at(
          seconds,
        )}" y1="${TOP}" y2="${bottom}" />
        <text class="soft mid" x="${axis.at(seconds)}" y="${bottom + 18}">${amountOf(
          seconds,
        )} s</text>
      `
    )
  }
${rows.map((row) => rowChart(row, axis))}
${enableMarks(analysis, axis, bottom)}
${faultMarks(analysis, axis, rows, bottom)}
</svg>`;
}

function place(rows: readonly Row[]): Placed[] {
  let y = TOP;
  return rows.map((row) => {
    const height = row.down === undefined ? ROW : DMA_ROW;
    const top = y;
    y += height + GAP;
    return { ...row, top, height, base: row.down === undefined ? top + height : top + height / 2 };
  });
}

/** From shortly before the first thing that is shown, to the end. */
function axisOf({ timeline, enabledAt, faults }: Analysis, rows: readonly Row[]): Axis {
  const { slotSeconds } = timeline;
  const slots = Math.max(...rows.map(({ up, down }) => Math.max(up.length, down?.length ?? 0)), 1);
  const used = rows.flatMap(({ up, down }) => [up, down ?? []])
    .map((values) => values.findIndex((value) => value > 0)).filter((slot) => slot >= 0);
  const marks = [...enabledAt, ...faults.map(({ seconds }) => seconds)]
    .map((seconds) => Math.floor(seconds / slotSeconds));
  const first = Math.min(...used, ...marks, slots - 1);
  const firstSlot = Math.max(first - Math.ceil((slots - first) * 0.03), 0);
  const from = firstSlot * slotSeconds;
  const to = slots * slotSeconds;
  const at = (seconds: number): number =>
    Math.round((GUTTER + (WIDTH - GUTTER) * (seconds - from) / (to - from)) * 100) / 100;
  return { firstSlot, from, to, slotSeconds, at };
}

function rowsOf({ timeline, streams, faults, faultCount }: Analysis): Row[] {
  const { slotSeconds, sums, levels } = timeline;
  const rate = (name: string): number[] => (sums[name] ?? []).map((sum) => sum / slotSeconds);
  const shown = streams.filter(({ streamId, faults }) =>
    faults > 0 || sums[`read ${hex(streamId)}`] !== undefined ||
    sums[`write ${hex(streamId)}`] !== undefined
  );
  const dma = shown.slice(0, MOST_STREAMS).map((stream): Row => {
    const up = rate(`read ${hex(stream.streamId)}`);
    const down = rate(`write ${hex(stream.streamId)}`);
    const most = Math.max(...up, ...down, 0);
    const title = `DMA of ${streamName(stream)}`;
    const note = most === 0 ? "moved nothing" : `up to ${size(most)}/s`;
    return { title, note, up, upClass: "read", down, most, streamId: stream.streamId };
  });
  const simple = (title: string, name: string, upClass: string = "count"): Row => {
    const up = rate(name);
    const most = Math.max(...up, 0);
    return {
      title,
      note: `up to ${amount(most >= 10 ? Math.round(most) : most)} a second`,
      up,
      upClass,
      most,
    };
  };
  const pages = [...levels["livePages"] ?? []];
  const mostPages = Math.max(...pages, 0);
  const hits = sums["hits"] ?? [];
  const rates = hits.map((hit, i) => hit === 0 ? 0 : hit / (hit + sums["walks"][i]));
  const used = rates.filter((value) => value > 0);
  return [
    ...dma,
    // Each kind of fault is marked once, where it came first.
    ...(faultCount > faults.length ? [simple("Faults", "faults", "badfill")] : []),
    simple("Commands", "commands"),
    simple("CMD_SYNCs", "syncs"),
    simple("TLB invalidations", "tlbis"),
    {
      title: "Pages in use",
      note: `up to ${counted(mostPages, "page")}`,
      up: pages,
      upClass: "level",
      most: mostPages,
    },
    {
      title: "TLB hit rate",
      note: used.length === 0 ? "no translation" : `up to ${percent(Math.max(...used))}`,
      up: rates,
      upClass: "level",
      most: 1,
    },
  ];
}

function rowChart(row: Placed, axis: Axis): Html {
  const { title, note, up, upClass, down, most, top, base, height } = row;
  const reach = down === undefined ? height : height / 2;
  return html`
    <text x="0" y="${top + 16}">${title}</text>
    <text class="soft" x="0" y="${top + 34}">${note}</text>${down === undefined || most === 0
      ? ""
      : legend(top + 46)}
    <line class="axis" x1="${GUTTER}" x2="${WIDTH}" y1="${base}" y2="${base}" />
    <path class="${upClass}" d="${area(up, axis, base, -reach, most)}" />
    ${down === undefined ? "" : html`
      <path class="write" d="${area(down, axis, base, reach, most)}" />
    `}
  `;
}

function legend(y: number): Html {
  return html`
    <rect class="read" x="0" y="${y}" width="10" height="10" />
    <text class="soft" x="15" y="${y + 9}">read, above</text>
    <rect class="write" x="95" y="${y}" width="10" height="10" />
    <text class="soft" x="110" y="${y + 9}">written, below</text>
  `;
}

/** Bars from the base line as one path; what is not zero is never too small to be seen. */
function area(
  values: readonly number[],
  { firstSlot, slotSeconds, at, from }: Axis,
  base: number,
  height: number,
  most: number,
): string {
  const drawn = Math.max(at(from + slotSeconds) - at(from), 1.4);
  return values.map((value, slot) => {
    if (value <= 0 || slot < firstSlot) return "";
    const size = Math.max(Math.abs(height) * value / most, 1.5) * Math.sign(height);
    return `M${at(slot * slotSeconds)} ${base}h${fixed(drawn)}v${fixed(size)}h${fixed(-drawn)}z`;
  }).join("");
}

function enableMarks({ enabledAt }: Analysis, { at }: Axis, bottom: number): Html[] {
  const places = enabledAt.map(at);
  const free = withRoom(places);
  return places.map((x, i) =>
    html`
      <line class="mark" x1="${x}" x2="${x}" y1="${TOP - 8}" y2="${bottom}" />${free[i]
        ? markLabel("SMMU on", x, TOP - 12, "soft")
        : ""}
    `
  );
}

function faultMarks(
  { faults }: Analysis,
  { at }: Axis,
  rows: readonly Placed[],
  bottom: number,
): Html[] {
  const free = withRoom(faults.map(({ seconds }) => at(seconds)));
  return faults.map(({ seconds, event, text, streamId }, i) => {
    const x = at(seconds);
    const row = rows.find((row) => row.streamId === streamId);
    const name = `${event ?? "Silent abort"} of ${hex(streamId)}`;
    return html`<g><title>${text}</title>
<line class="badmark" x1="${x}" x2="${x}" y1="${TOP - 30}" y2="${bottom}"/>
<circle class="badfill" cx="${x}" cy="${row?.base ?? TOP - 30}" r="6"/>
${free[i] ? markLabel(name, x, TOP - 26, "bad") : ""}</g>`;
  });
}

/** Which labels do not run into the one before them. */
function withRoom(places: readonly number[]): boolean[] {
  let taken = -Infinity;
  return places.map((x) => {
    const isFree = x >= taken;
    if (isFree) taken = x + LABEL;
    return isFree;
  });
}

function markLabel(text: string, x: number, y: number, kind: string): Html {
  const isRight = x > WIDTH - LABEL;
  return html`<text class="${kind}${isRight ? " n" : ""}" x="${
    fixed(isRight ? x - 9 : x + 9)
  }" y="${y}">${text}</text>`;
}

function label({ seconds, streams, faultCount }: Analysis): string {
  return `Timeline of ${amount(seconds)} seconds: DMA of ${counted(streams.length, "stream")}, ` +
    `commands, CMD_SYNCs, TLB invalidations, pages in use and TLB hit rate; ` +
    `${counted(faultCount, "fault")} marked. The tables below have the same in numbers.`;
}

const STEPS = [1, 2, 5];

/** Round times that divide the axis in six to twelve. */
function ticks({ from, to }: Axis): number[] {
  const rough = (to - from) / 12;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = power * (STEPS.find((factor) => factor * power >= rough) ?? 10);
  const first = Math.ceil(from / step);
  return Array.from({ length: Math.floor(to / step) - first + 1 }, (_, i) => (first + i) * step);
}

function amountOf(seconds: number): string {
  return String(Number(seconds.toPrecision(6)));
}

function fixed(value: number): string {
  return String(Math.round(value * 100) / 100);
}

const BAR_ROW = 22;
const BAR_WIDTH = 400;
const BAR_GUTTER = 112;
const BAR_END = 56;

/** A histogram as horizontal bars. */
export function histogramChart(
  title: string,
  { buckets, count }: HistogramSummary,
  unit: "count" | "microseconds" | "bytes",
): Html {
  const most = Math.max(...buckets.map(({ count }) => count), 1);
  const room = BAR_WIDTH - BAR_GUTTER - BAR_END;
  const height = buckets.length * BAR_ROW;
  return html`
    <svg viewBox="0 0 ${BAR_WIDTH} ${height}" role="img"
      aria-label="${title}, ${amount(count)} values: ${buckets.map((bucket) =>
        `${bucketLabel(bucket, unit)}: ${amount(bucket.count)}`
      ).join("; ")}">
    ${buckets.map((bucket, i) => {
      const width = bucket.count === 0 ? 0 : Math.max(room * bucket.count / most, 2);
      return html`
        <text class="soft n" x="${BAR_GUTTER - 8}" y="${i * BAR_ROW + 15}">${bucketLabel(
          bucket,
          unit,
        )}</text>
        <rect class="count" x="${BAR_GUTTER}" y="${i * BAR_ROW + 4}" width="${fixed(
          width,
        )}" height="${BAR_ROW - 8}"
          rx="2" />
        <text class="soft" x="${fixed(BAR_GUTTER + width + 6)}" y="${i * BAR_ROW + 15}">${amount(
          bucket.count,
        )}</text>
      `;
    })}</svg>
  `;
}

/** A bar of a table: how much of the whole. */
export function bar(part: number): Html {
  return html`
    <svg viewBox="0 0 120 12" width="120" height="12" aria-hidden="true">
      <rect class="count" x="0" y="2" width="${fixed(
        Math.max(120 * part, part > 0 ? 1.5 : 0),
      )}" height="8" rx="2" />
    </svg>
  `;
}
