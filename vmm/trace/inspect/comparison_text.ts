/**
 * A comparison as lines for a terminal: what is worth a look begins with a star.
 * @module
 */
import type {
  Comparison,
  ComparisonHistogram,
  ComparisonRow,
  ComparisonSection,
} from "./comparison.ts";
import { amount, bucketLabel, duration, percent, printable, size } from "./wording.ts";

/** All of it. */
export function comparisonLines(comparison: Comparison, nameA: string, nameB: string): string[] {
  const { sections, histograms, faults } = comparison;
  const notable = sections.flatMap(({ rows }) => rows).filter(({ isNotable }) => isNotable).length;
  return [
    `A  ${nameA}`,
    `B  ${nameB}`,
    notable === 0
      ? "Nothing below is worth a look"
      : `${amount(notable)} below ${
        notable === 1 ? "is" : "are"
      } worth a look, marked *: other words, or numbers a quarter apart`,
    ...sections.flatMap(sectionLines),
    "",
    "Faults",
    ...(faults.length === 0
      ? ["  none"]
      : faults.map(({ text, a, b }) =>
        `${a === b ? " " : "*"} ${text}: A ${amount(a)}, B ${amount(b)}`
      )),
    ...histograms.filter(({ isNotable }) => isNotable).flatMap(histogramLines),
    ...alike(histograms),
  ].map(printable);
}

/** Distributions that say nothing new. */
function alike(histograms: Comparison["histograms"]): string[] {
  const titles = histograms.filter(({ isNotable }) => !isNotable).map(({ title }) => title);
  return titles.length === 0
    ? []
    : ["", "Distributed alike", ...titles.map((title) => `  ${title}`)];
}

function sectionLines({ title, rows }: ComparisonSection): string[] {
  if (rows.every((row) => !isNumeric(row) && row.a === row.b)) return ["", `${title}: the same`];
  const names = rows.map(({ name }) => name.replace(/^(commands|rates|pages|ranges)\./, ""));
  const cells = rows.map((row) => [shown(row.a, row.unit), shown(row.b, row.unit)] as const);
  const width = Math.max(...names.map((name) => name.length));
  const [widthA, widthB] = [0, 1].map((side) =>
    Math.max(...cells.map((cell) => Math.min(cell[side].length, 40)))
  );
  return [
    "",
    title,
    ...rows.map((row, i) => {
      const [a, b] = cells[i];
      const start = `${row.isNotable ? "*" : " "} ${names[i].padEnd(width)}`;
      return isNumeric(row)
        ? `${start}  ${a.padStart(widthA)}  ${b.padStart(widthB)}  ${factor(row)}`.trimEnd()
        : a === b
        ? `${start}  ${a}`
        : `${start}  ${a.padEnd(widthA)} | ${b}`;
    }),
  ];
}

function isNumeric({ a, b }: ComparisonRow): boolean {
  return typeof a !== "string" && typeof b !== "string";
}

function shown(value: number | string | null, unit: ComparisonRow["unit"]): string {
  if (value === null) return "-";
  if (typeof value === "string") return value;
  if (unit === "bytes") return size(value);
  if (unit === "seconds") return duration(value);
  return unit === "part" ? percent(value) : amount(value);
}

function factor({ ratio, isNotable }: ComparisonRow): string {
  if (ratio === null || !isNotable) return "";
  if (ratio === 0) return "none";
  return ratio >= 1 ? `${amount(ratio)} times` : `1/${amount(1 / ratio)}`;
}

const BAR = 20;

function histogramLines(
  { title, unit, isNotable, meanA, meanB, buckets }: ComparisonHistogram,
): string[] {
  const labels = buckets.map((bucket) => bucketLabel({ ...bucket, count: 0 }, unit));
  const width = Math.max(...labels.map((label) => label.length));
  const mean = (value: number): string =>
    unit === "count" ? amount(value) : unit === "bytes" ? size(value) : duration(value / 1e6);
  return [
    "",
    `${isNotable ? "* " : ""}${title}: ${mean(meanA)} | ${mean(meanB)} on average`,
    ...buckets.map(({ partA, partB }, i) =>
      `  ${labels[i].padEnd(width)}  ${percent(partA).padStart(7)}  ${
        percent(partB).padStart(7)
      }  ${bar(partA).padStart(BAR)}|${bar(partB)}`.trimEnd()
    ),
  ];
}

function bar(part: number): string {
  return "█".repeat(Math.ceil(BAR * part));
}
