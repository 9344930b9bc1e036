/**
 * What happens in a trace as a file that the Perfetto UI and chrome://tracing open: the JSON object format of the Trace
 * Event Format, <https://docs.google.com/document/d/1CvAClvFfyA5R-PhYUmn5OOQtYMH4h6I0nSsKchNAySU>.
 *
 * Times are microseconds. A trace says when an operation began, not how long it took: what is one moment is an instant
 * (`i`), and a slice (`X`) reaches from the first to the last moment of what belongs together.
 * @module
 */
import { Translation } from "../../../hw/smmuv3/observer.ts";
import type { TraceHeader } from "../format.ts";
import { LivePages } from "./live_pages.ts";
import { commandFields, commandName, hex, pciAddress, registerName, scopeOf } from "./naming.ts";
import { StreamBook } from "./stream_book.ts";
import type { Happening, Transaction } from "./witness.ts";
import { guestName } from "./wording.ts";

/** An event of the Trace Event Format. */
interface TraceEvent {
  readonly ph: "X" | "i" | "C" | "M";
  readonly name: string;
  readonly pid: number;
  readonly tid: number;
  readonly ts: number;
  readonly dur?: number;
  readonly s?: "t" | "p" | "g";
  readonly cat?: string;
  readonly args?: Readonly<Record<string, unknown>>;
}

const SMMU = 1;
const ENDPOINTS = 2;
const TRACKS = { registers: 1, commands: 2, batches: 3, events: 4, interrupts: 5 } as const;
const TITLES: Readonly<Record<keyof typeof TRACKS, string>> = {
  registers: "Registers",
  commands: "Commands",
  batches: "Batches up to CMD_SYNC",
  events: "Events",
  interrupts: "Interrupts",
};

/** Transactions of a stream that are closer than this are one burst. */
const BURST_GAP_US = 100;
/** Counters are told at most this often. */
const COUNTER_US = 1000;
/** Streams with tracks of their own; the rest share one. */
const MOST_TRACKS = 256;

interface Burst {
  readonly tid: number;
  readonly from: number;
  to: number;
  transactions: number;
  readBytes: number;
  writtenBytes: number;
}

/** Writes happenings as trace events. Memory does not grow with them. */
export class PerfettoWriter {
  readonly #write: (text: string) => void;
  readonly #live = new LivePages();
  readonly #streams: StreamBook;
  readonly #bursts = new Map<number, Burst>();
  readonly #named = new Set<number>();
  #batch: { from: number; commands: number; pages: number } | undefined;
  #hits = 0;
  #walks = 0;
  #counted = -Infinity;
  #isFirst = true;

  /** Begins the file; `write` takes its text piece by piece. */
  constructor(header: TraceHeader, write: (text: string) => void) {
    this.#write = write;
    this.#streams = new StreamBook(header.features);
    const otherData = { guest: guestName(header), began: header.began, ...header.guest };
    write(`{"displayTimeUnit":"ns","otherData":${JSON.stringify(otherData)},"traceEvents":[`);
    this.#name("process_name", SMMU, 0, "SMMUv3");
    this.#name("process_name", ENDPOINTS, 0, "Endpoints");
    for (const track of Object.keys(TRACKS) as (keyof typeof TRACKS)[]) {
      this.#name("thread_name", SMMU, TRACKS[track], TITLES[track]);
      this.#order(SMMU, TRACKS[track]);
    }
  }

  /** Writes a happening. */
  take(happening: Happening): void {
    const ts = happening.seconds * 1e6;
    switch (happening.kind) {
      case "access": {
        const { isWrite, offset, value, commands } = happening;
        const name = `${isWrite ? "write" : "read"} ${registerName(offset)}`;
        const args = { offset: hex(offset), value, ...(commands > 0 ? { commands } : {}) };
        return this.#instant("registers", ts, name, args);
      }
      case "reset":
        this.#live.clear();
        this.#streams.reset();
        return this.#instant("registers", ts, "reset", {}, "g");
      case "command":
        return this.#command(ts, happening.words, happening.error);
      case "transaction":
        return this.#transaction(ts, happening);
      case "configuration": {
        const { seconds, requester, ste, cd } = happening;
        return this.#streams.configure(seconds, requester, ste, cd);
      }
      case "fault": {
        const { event, text, steps, line } = happening.story;
        const way = Object.fromEntries(
          steps.map((
            { what, gpa, value, says },
          ) => [what, `${gpa}: ${value ?? "no RAM"}, ${says}`]),
        );
        return this.#instant("events", ts, event ?? "silent abort", { text, line, ...way }, "g");
      }
      case "interrupt": {
        const { source, gpa } = happening;
        const args = gpa < 0 ? { by: "wire" } : { by: "message", address: hex(gpa) };
        return this.#instant("interrupts", ts, source, args);
      }
      case "endpoint":
        return this.#instant("events", ts, happening.what, {});
      case "divergence": {
        const { line, what } = happening;
        return this.#instant("events", ts, "the device does otherwise", { line, what }, "g");
      }
    }
  }

  /** Ends the file. */
  end(): void {
    for (const burst of this.#bursts.values()) this.#tellBurst(burst);
    this.#bursts.clear();
    this.#write("\n]}\n");
  }

  #command(ts: number, words: Uint32Array, error: number): void {
    const name = commandName(words);
    const fields = commandFields(words);
    if (error !== 0) {
      return this.#instant("commands", ts, `${name} refused`, { CERROR: error, ...fields }, "p");
    }
    this.#instant("commands", ts, name, fields);
    const batch = this.#batch ??= { from: ts, commands: 0, pages: 0 };
    const scope = scopeOf(words);
    if (scope !== undefined) {
      batch.pages += scope.pages;
      this.#live.invalidate(scope);
      this.#count(ts);
    }
    if (name !== "CMD_SYNC") {
      batch.commands++;
      return;
    }
    const { from, commands, pages } = batch;
    this.#batch = undefined;
    this.#event({
      ph: "X",
      name: commands === 1 ? "1 command" : `${commands} commands`,
      cat: "commands",
      pid: SMMU,
      tid: TRACKS.batches,
      ts: from,
      dur: ts - from,
      args: { commands, pages },
    });
  }

  #transaction(ts: number, transaction: Transaction): void {
    const { access, requester, iova, page, sizeBytes, movedBytes, ok, translations } = transaction;
    const { streamId, substreamId } = requester;
    const tid = this.#track(streamId);
    this.#event({
      ph: "i",
      s: "t",
      name: ok ? access : `${access} failed`,
      cat: "dma",
      pid: ENDPOINTS,
      tid,
      ts,
      args: {
        iova,
        bytes: sizeBytes,
        ...(substreamId < 0 ? {} : { substream: substreamId }),
        hits: translations[Translation.TlbHit],
        walks: translations[Translation.Walk],
      },
    });
    this.#hits += translations[Translation.TlbHit];
    this.#walks += translations[Translation.Walk];
    const asid = this.#streams.asidOf(requester);
    if (asid !== undefined && ok) {
      const offset = parseInt(iova.slice(-3), 16) & 0xfff;
      this.#live.use(asid, page, Math.ceil((offset + sizeBytes) / 4096));
    }
    this.#count(ts);
    const known = this.#bursts.get(tid);
    const isPart = known !== undefined && ts - known.to <= BURST_GAP_US;
    if (known !== undefined && !isPart) this.#tellBurst(known);
    const burst = isPart
      ? known
      : { tid, from: ts, to: ts, transactions: 0, readBytes: 0, writtenBytes: 0 };
    this.#bursts.set(tid, burst);
    burst.to = ts;
    burst.transactions++;
    if (access === "write") burst.writtenBytes += movedBytes;
    else burst.readBytes += movedBytes;
  }

  #tellBurst({ tid, from, to, transactions, readBytes, writtenBytes }: Burst): void {
    this.#event({
      ph: "X",
      name: transactions === 1 ? "1 transaction" : `${transactions} transactions`,
      cat: "dma",
      pid: ENDPOINTS,
      tid,
      ts: from,
      dur: to - from,
      args: { readBytes, writtenBytes },
    });
  }

  /** The track of a stream, named when it is first met. */
  #track(streamId: number): number {
    const isKnown = this.#named.has(streamId);
    if (!isKnown && this.#named.size >= MOST_TRACKS) return 0;
    const tid = streamId + 1;
    if (!isKnown) {
      this.#named.add(streamId);
      const address = pciAddress(streamId);
      const title = `DMA of ${hex(streamId)}${address === undefined ? "" : ` (${address})`}`;
      this.#name("thread_name", ENDPOINTS, tid, title);
      this.#order(ENDPOINTS, tid);
    }
    return tid;
  }

  #count(ts: number): void {
    if (ts - this.#counted < COUNTER_US) return;
    this.#counted = ts;
    const counter = (name: string, args: Record<string, number>): void =>
      this.#event({ ph: "C", name, pid: SMMU, tid: 0, ts, args });
    counter("live pages of 4 KiB", { pages: this.#live.count });
    const sum = this.#hits + this.#walks;
    if (sum > 0) counter("TLB hits, percent", { hits: 100 * this.#hits / sum });
    this.#hits = 0;
    this.#walks = 0;
  }

  #instant(
    track: keyof typeof TRACKS,
    ts: number,
    name: string,
    args: Readonly<Record<string, unknown>>,
    s: "t" | "p" | "g" = "t",
  ): void {
    this.#event({ ph: "i", s, name, cat: track, pid: SMMU, tid: TRACKS[track], ts, args });
  }

  #name(what: "process_name" | "thread_name", pid: number, tid: number, name: string): void {
    this.#event({ ph: "M", name: what, pid, tid, ts: 0, args: { name } });
  }

  #order(pid: number, tid: number): void {
    const args = { sort_index: tid };
    this.#event({ ph: "M", name: "thread_sort_index", pid, tid, ts: 0, args });
  }

  #event(event: TraceEvent): void {
    const ts = round(event.ts);
    const times = event.dur === undefined ? { ts } : { ts, dur: round(event.dur) };
    this.#write(`${this.#isFirst ? "" : ","}\n${JSON.stringify({ ...event, ...times })}`);
    this.#isFirst = false;
  }
}

/** The recording has whole microseconds; arithmetic on seconds leaves dust. */
function round(microseconds: number): number {
  return Math.max(Math.round(microseconds * 1000) / 1000, 0);
}
