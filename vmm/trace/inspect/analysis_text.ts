/**
 * An analysis as lines for a terminal.
 * @module
 */
import type { Analysis, StreamAnalysis } from "./analysis.ts";
import type { HistogramSummary } from "./histogram.ts";
import { hex } from "./naming.ts";
import type { EndpointHappening } from "./witness.ts";
import {
  amount,
  bucketLabel,
  counted,
  duration,
  HISTOGRAMS,
  moment,
  percent,
  printable,
  sentences,
  size,
  streamName,
} from "./wording.ts";

/** All of it, the most important first. */
export function analysisLines(analysis: Analysis): string[] {
  const { guest } = analysis;
  const line = guest["commandLine"];
  return [
    sentences(analysis).join(" "),
    ...(line === undefined ? [] : [`Command line: ${line}`]),
    `Recorded ${analysis.began}, ${counted(analysis.operations, "operation")}`,
    ...section("Faults", faultLines(analysis)),
    ...section("Who", whoLines(analysis)),
    ...section("What", whatLines(analysis)),
    ...section("Cost", costLines(analysis)),
  ].map(printable);
}

function section(title: string, lines: readonly string[]): string[] {
  return lines.length === 0 ? [] : ["", title, ...lines.map((line) => `  ${line}`)];
}

function faultLines({ faults, faultCount }: Analysis): string[] {
  const shown = faults.reduce((sum, { count }) => sum + count, 0);
  return [
    ...faults.flatMap(({ text, seconds, count, steps, line }) => [
      `${moment(seconds)}, line ${amount(line)}${count > 1 ? `, ${amount(count)} times` : ""}`,
      `  ${text}`,
      ...table(steps.map(({ what, gpa, value, says }) => [
        `    ${what}`,
        gpa,
        value ?? "-",
        says,
      ])),
    ]),
    ...(shown < faultCount ? [`and ${amount(faultCount - shown)} of other kinds`] : []),
  ];
}

function whoLines({ streams, streamsLeftOut, domains }: Analysis): string[] {
  return [
    ...streams.flatMap((stream) => [streamName(stream), ...streamLines(stream)]),
    ...(streamsLeftOut > 0 ? [`and ${counted(streamsLeftOut, "stream")} more`] : []),
    ...domains.map(({ asid, streamIds }) =>
      `ASID ${asid}: ${streamIds.length === 1 ? "stream" : "streams"} ${
        streamIds.map(hex).join(", ")
      }`
    ),
  ];
}

function streamLines(stream: StreamAnalysis): string[] {
  const { configurations, reads, writes, messages, readBytes, writtenBytes } = stream;
  return [
    ...configurations.map(({ seconds, substreamId, ste, cd }) =>
      `  from ${moment(seconds)}${
        substreamId === null ? "" : `, SubstreamID ${substreamId}`
      }: ${ste}${cd === null ? "" : `; ${cd}`}`
    ),
    `  ${size(readBytes)} in ${counted(reads, "read")}, ` +
    `${size(writtenBytes)} in ${counted(writes, "write")}, ${counted(messages, "message")}` +
    (stream.failed > 0 ? `, ${amount(stream.failed)} failed` : ""),
  ];
}

function whatLines(analysis: Analysis): string[] {
  const { commands, summary, invalidations, livePages, streams } = analysis;
  const { translations, events } = summary;
  return [
    ...table(commands.map(({ name, count, perSecond }) => [
      name,
      amount(count),
      `${amount(perSecond)} a second`,
    ])),
    ...(summary.commandErrors > 0 ? [`${amount(summary.commandErrors)} commands refused`] : []),
    ...invalidations.filter(({ pages }) => pages > 0).map(({ name, count, ranges, pages }) =>
      `${name}: ${counted(pages, "page")} of 4 KiB, ${amount(pages / count)} each; ${
        amount(ranges)
      } of ${amount(count)} name a range`
    ),
    `Pages in use: at most ${amount(livePages.peak)}${livePages.isCut ? " or more" : ""}, ` +
    `${amount(livePages.atEnd)} at the end`,
    `Translations: ${amount(translations.tlbHits)} TLB hits, ${amount(translations.walks)} walks ` +
    `(${percent(translations.hitRate)} hits), ${amount(translations.bypass)} bypassed, ` +
    `${amount(translations.faults)} faulted`,
    `Events: ${
      Object.entries(events).map(([name, count]) => `${name} ${amount(count)}`).join(", ") || "none"
    }, ${amount(summary.eventsDropped)} dropped; ${counted(summary.interrupts, "interrupt")}`,
    ...endpointLines(analysis),
    ...(streams.length === 0 ? ["No DMA"] : []),
  ];
}

function endpointLines({ endpoints }: Analysis): string[] {
  const count = (what: EndpointHappening): number => endpoints[what] ?? 0;
  const requests = count("translation granted") + count("translation refused");
  const unanswered = count("invalidation without an answer");
  const invalidations = count("invalidation") + unanswered;
  const [asked, answered] = [count("page request"), count("page response")];
  const stalls = count("stall");
  return [
    ...(requests + invalidations + asked + answered === 0 ? [] : [
      `ATS: ${counted(requests, "translation request")}, ${
        amount(count("translation refused"))
      } of them granted nothing; ${counted(invalidations, "invalidation")}, ${
        amount(unanswered)
      } without an answer; ${counted(asked, "page request")}, ${counted(answered, "answer")}`,
    ]),
    ...(stalls === 0 ? [] : [
      `${counted(stalls, "transaction")} waited for software, ${
        amount(count("end of a stall"))
      } of them to an end`,
    ]),
  ];
}

function costLines(analysis: Analysis): string[] {
  const { summary, prodWrites, syncsPerMiB, histograms } = analysis;
  return [
    `${amount(summary.syncs)} CMD_SYNCs, ${amount(syncsPerMiB)} for each MiB of DMA; ` +
    `${amount(prodWrites)} writes of CMDQ_PROD`,
    `For each CMD_SYNC ${amount(summary.mmio.readsPerSync)} reads and ${
      amount(summary.mmio.writesPerSync)
    } writes of CMDQ_CONS and CMDQ_PROD; ${amount(summary.mmio.reads)} reads and ${
      amount(summary.mmio.writes)
    } writes of registers in all`,
    ...HISTOGRAMS.flatMap(({ key, title, unit }) => histogramLines(title, histograms[key], unit)),
  ];
}

const BAR = 32;

function histogramLines(
  title: string,
  { count, mean, buckets }: HistogramSummary,
  unit: "count" | "microseconds" | "bytes",
): string[] {
  if (count === 0) return [];
  const average = unit === "count"
    ? amount(mean)
    : unit === "bytes"
    ? size(mean)
    : duration(mean / 1e6);
  const most = Math.max(...buckets.map(({ count }) => count));
  return [
    `${title}: ${average} on average`,
    ...table(buckets.map((bucket) => [
      `  ${bucketLabel(bucket, unit)}`,
      amount(bucket.count),
      "█".repeat(Math.ceil(BAR * bucket.count / most)),
    ])),
  ];
}

/** Aligns columns: the second to the right when it is a number. */
function table(rows: readonly (readonly string[])[]): string[] {
  const widths = (rows[0] ?? []).map((_, i) => Math.max(...rows.map((row) => row[i].length)));
  return rows.map((row) =>
    row.map((cell, i) =>
      i === row.length - 1
        ? cell
        : i > 0 && /^[\d.,]+$/.test(cell)
        ? cell.padStart(widths[i])
        : cell.padEnd(widths[i])
    ).join("  ").trimEnd()
  );
}
