/**
 * An analysis in sentences, and its numbers as people read them.
 * @module
 */
import type { Analysis, StreamAnalysis } from "./analysis.ts";
import type { Bucket } from "./histogram.ts";
import { hex } from "./naming.ts";

/** A whole number with separators, or three digits of a small one. */
export function amount(value: number): string {
  const digits = Number.isInteger(value) || value >= 100 ? 0 : value >= 10 ? 1 : 2;
  return value.toLocaleString("en", {
    minimumFractionDigits: digits,
    maximumFractionDigits: digits,
  });
}

/** A count with its noun: `1 stream`, `2 streams`. */
export function counted(count: number, noun: string): string {
  return `${amount(count)} ${noun}${count === 1 ? "" : noun.endsWith("s") ? "es" : "s"}`;
}

/** A size with its unit. */
export function size(bytes: number): string {
  const units = ["B", "KiB", "MiB", "GiB", "TiB", "PiB"];
  const unit = bytes < 1 ? 0 : Math.min(Math.floor(Math.log2(bytes) / 10), units.length - 1);
  return `${amount(bytes / 1024 ** unit)} ${units[unit]}`;
}

/** A duration, given in seconds, with its unit. */
export function duration(seconds: number): string {
  if (seconds >= 7200) {
    return `${amount(Math.floor(seconds / 3600))} h ${Math.floor(seconds % 3600 / 60)} min`;
  }
  if (seconds >= 120) return `${amount(Math.floor(seconds / 60))} min ${amount(seconds % 60)} s`;
  if (seconds >= 1 || seconds === 0) return `${amount(seconds)} s`;
  return seconds >= 1e-3 ? `${amount(seconds * 1e3)} ms` : `${amount(seconds * 1e6)} µs`;
}

/** A moment of the trace. */
export function moment(seconds: number): string {
  return `${seconds.toFixed(3)} s`;
}

/** Text of a trace without what a terminal would obey. */
export function printable(text: string): string {
  return text.replaceAll(/\p{Cc}/gu, "\ufffd");
}

/** A part of one. */
export function percent(part: number): string {
  return `${(100 * part).toFixed(1)} %`;
}

/** What ran: `Linux 7.3.4+deb13-arm64`, or as the header has it. */
export function guestName({ guest }: Pick<Analysis, "guest">): string {
  const kernel = guest["kernel"] ?? guest["name"] ?? "An unnamed guest";
  return /^\d/.test(kernel) ? `Linux ${kernel}` : kernel;
}

/** What a stream is called. */
export function streamName({ streamId, pciAddress }: StreamAnalysis): string {
  return pciAddress === null ? hex(streamId) : `${hex(streamId)} (${pciAddress})`;
}

/** The whole trace in a few sentences, the most important first. */
export function sentences(analysis: Analysis): string[] {
  const { enabledAt, streams, streamsLeftOut, faultCount, summary, resets, seconds } = analysis;
  const moved = summary.dma.readBytes + summary.dma.writtenBytes;
  const name = guestName(analysis);
  const up = enabledAt.length === 0
    ? `${name} never enabled translation`
    : `${name} brought the SMMU up at ${enabledAt[0].toFixed(2)} s`;
  const again = enabledAt.length < 2
    ? ""
    : enabledAt.length === 2
    ? `, and again at ${enabledAt[1].toFixed(2)} s`
    : `, and ${amount(enabledAt.length - 1)} times again`;
  const count = streams.length + streamsLeftOut;
  return [
    `${up}${again}.`,
    `${counted(count, "stream")}, ${size(moved)} of DMA in ${duration(seconds)}.`,
    faultCount === 0 ? "Nothing faulted." : `${counted(faultCount, "fault")}.`,
    ...(resets > 2 ? [`The device was reset ${amount(resets)} times.`] : []),
    ...(analysis.damage === null ? [] : ["The file is damaged; this is what precedes the damage."]),
    ...(analysis.divergence === null ? [] : [divergenceSentence(analysis.divergence)]),
  ];
}

function divergenceSentence({ line, what }: { line: number; what: string }): string {
  return `From line ${amount(line)} on our device does otherwise (${what}): see vsmmu replay.`;
}

/** What an event means to someone who has not read the manual; nothing for those that say it themselves. */
export const MEANINGS: Readonly<Record<string, string>> = {
  C_BAD_STREAMID: "The guest has no place for this device in its stream table",
  C_BAD_STE: "The guest has not set this device up, or wrongly",
  C_BAD_SUBSTREAMID: "The guest has not set up this substream",
  C_BAD_CD: "The guest has not set up the addresses of this device, or wrongly",
  F_STREAM_DISABLED: "The guest allows this device no transactions of this kind",
  F_BAD_ATS_TREQ: "The guest does not let this device translate for itself",
  F_TRANSL_FORBIDDEN: "The guest does not let this device use addresses that it translated itself",
  F_WALK_EABT: "The guest's tables lead to where no memory is",
  F_TRANSLATION: "Nothing is mapped at this address",
  F_ADDR_SIZE: "The address, or what is mapped there, has too many bits",
  F_ACCESS: "What is mapped at this address is not marked as accessible",
  F_PERMISSION: "What is mapped at this address does not permit this access",
};

/** The values of a bucket: `4–7`. */
export function bucketName({ from, below }: Bucket, name: (value: number) => string): string {
  if (from === 0 || below - from === 1) return name(from);
  return `${name(from)}–${name(below - 1)}`;
}

/** How the histograms of an analysis are to be read. */
export const HISTOGRAMS: readonly {
  readonly key: keyof Analysis["histograms"];
  readonly title: string;
  /** Buckets of times and sizes are named by where they begin. */
  readonly unit: "count" | "microseconds" | "bytes";
}[] = [
  { key: "commandsPerProdWrite", title: "Commands per write of CMDQ_PROD", unit: "count" },
  { key: "commandsPerSync", title: "Commands before each CMD_SYNC", unit: "count" },
  { key: "pagesPerTlbi", title: "Pages of 4 KiB per TLBI by address", unit: "count" },
  { key: "pagesPerSync", title: "Pages invalidated before each CMD_SYNC", unit: "count" },
  { key: "microsecondsBetweenSyncs", title: "Time between CMD_SYNCs", unit: "microseconds" },
  {
    key: "microsecondsBetweenProdWrites",
    title: "Time between writes of CMDQ_PROD",
    unit: "microseconds",
  },
  { key: "bytesPerTransaction", title: "Size of DMA transactions", unit: "bytes" },
];

/** What a bucket of a histogram is called. */
export function bucketLabel(bucket: Bucket, unit: "count" | "microseconds" | "bytes"): string {
  if (unit === "count") return bucketName(bucket, amount);
  if (unit === "bytes") return bucket.from === 0 ? "0 B" : `from ${size(bucket.from)}`;
  return bucket.from === 0 ? "below 1 µs" : `from ${duration(bucket.from / 1e6)}`;
}
