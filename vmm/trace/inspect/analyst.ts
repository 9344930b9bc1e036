/**
 * Makes an analysis of what happens in a trace, in memory that does not grow with it.
 * @module
 */
import type { Requester } from "../../../hw/device.ts";
import { Translation } from "../../../hw/smmuv3/observer.ts";
import { EVENT, EVENT_SIZE } from "../../../hw/smmuv3/spec/events.ts";
import { REG } from "../../../hw/smmuv3/spec/registers.ts";
import { Counters } from "../../counters.ts";
import { type Analysis, ANALYSIS_VERSION } from "./analysis.ts";
import type { FaultStory } from "./fault_story.ts";
import type { TraceHeader } from "../format.ts";
import { Histogram } from "./histogram.ts";
import { LivePages } from "./live_pages.ts";
import { commandName, hex, registerName, scopeOf } from "./naming.ts";
import { StreamBook } from "./stream_book.ts";
import { Timeline } from "./timeline.ts";
import type { EndpointHappening, Happening, Transaction } from "./witness.ts";

const MOST_FAULTS = 100;
const MOST_ENABLES = 16;
const MOST_REGISTERS = 256;
/** Streams with rows of their own in the timeline. */
const MOST_ROWS = 32;

const EVENT_NUMBERS: Readonly<Record<string, number>> = EVENT;

/** Takes happenings and sums them up. */
export class Analyst {
  readonly #header: TraceHeader;
  readonly #counters = new Counters();
  readonly #streams: StreamBook;
  readonly #live = new LivePages();
  readonly #timeline = new Timeline();
  readonly #registers = new Map<string, { reads: number; writes: number }>();
  readonly #scopes = new Map<string, { count: number; ranges: number; pages: number }>();
  readonly #faults = new Map<string, { story: FaultStory; count: number }>();
  readonly #rows = new Set<number>();
  readonly #endpoints = new Map<EndpointHappening, number>();
  readonly #enabledAt: number[] = [];
  readonly #commandsPerProdWrite = new Histogram();
  readonly #commandsPerSync = new Histogram();
  readonly #pagesPerTlbi = new Histogram();
  readonly #pagesPerSync = new Histogram();
  readonly #syncGaps = new Histogram();
  readonly #prodGaps = new Histogram();
  readonly #sizes = new Histogram();
  #isEnabled = false;
  #resets = 0;
  #operations = 0;
  #seconds = 0;
  #firstCommand = -1;
  #lastCommand = 0;
  #lastSync = -1;
  #lastProd = -1;
  #prodWrites = 0;
  #commandsSinceSync = 0;
  #pagesSinceSync = 0;
  #faultCount = 0;
  #divergence: Analysis["divergence"] = null;

  /** An analyst of a trace with this header. */
  constructor(header: TraceHeader) {
    this.#header = header;
    this.#streams = new StreamBook(header.features);
  }

  /** Takes a happening. */
  take(happening: Happening): void {
    this.#seconds = happening.seconds;
    switch (happening.kind) {
      case "access":
        return this.#access(happening);
      case "reset":
        return this.#reset();
      case "command":
        return this.#command(happening);
      case "transaction":
        return this.#transaction(happening);
      case "configuration": {
        const { seconds, requester, ste, cd } = happening;
        return this.#streams.configure(seconds, requester, ste, cd);
      }
      case "fault":
        return this.#fault(happening.seconds, happening.story);
      case "endpoint":
        this.#endpoints.set(happening.what, (this.#endpoints.get(happening.what) ?? 0) + 1);
        return;
      case "interrupt":
        return this.#counters.interrupt(happening.source);
      case "divergence":
        this.#divergence = { line: happening.line, what: happening.what };
    }
  }

  #access(
    { seconds, isWrite, offset, value, commands }: Happening & { kind: "access" },
  ): void {
    this.#operations++;
    this.#counters.access(isWrite, offset);
    this.#timeline.add(seconds, isWrite ? "registerWrites" : "registerReads", 1);
    const name = registerName(offset);
    const known = this.#registers.size < MOST_REGISTERS || this.#registers.has(name);
    const key = known ? name : "others";
    const counts = this.#registers.get(key) ?? { reads: 0, writes: 0 };
    this.#registers.set(key, counts);
    counts[isWrite ? "writes" : "reads"]++;
    if (!isWrite) return;
    if (offset === REG.CR0.offset) this.#enable(seconds, (Number(value) & 1) === 1);
    if (offset !== REG.CMDQ_PROD.offset) return;
    this.#prodWrites++;
    this.#commandsPerProdWrite.add(commands);
    if (this.#lastProd >= 0) this.#prodGaps.add((seconds - this.#lastProd) * 1e6);
    this.#lastProd = seconds;
  }

  #enable(seconds: number, isEnabled: boolean): void {
    if (isEnabled && !this.#isEnabled && this.#enabledAt.length < MOST_ENABLES) {
      this.#enabledAt.push(seconds);
    }
    this.#isEnabled = isEnabled;
  }

  #reset(): void {
    this.#operations++;
    this.#resets++;
    this.#isEnabled = false;
    this.#live.clear();
    this.#streams.reset();
    this.#timeline.level(this.#seconds, "livePages", 0);
  }

  #command({ seconds, words, error }: Happening & { kind: "command" }): void {
    this.#counters.command(words, error);
    if (error !== 0) return;
    if (this.#firstCommand < 0) this.#firstCommand = seconds;
    this.#lastCommand = seconds;
    this.#commandsSinceSync++;
    this.#timeline.add(seconds, "commands", 1);
    const name = commandName(words);
    if (name === "CMD_SYNC") return this.#sync(seconds);
    const scope = scopeOf(words);
    if (scope === undefined) return;
    this.#timeline.add(seconds, "tlbis", 1);
    const sum = this.#scopes.get(name) ?? { count: 0, ranges: 0, pages: 0 };
    this.#scopes.set(name, sum);
    sum.count++;
    sum.pages += scope.pages;
    if (scope.isRange) sum.ranges++;
    if (scope.kind === "va") this.#pagesPerTlbi.add(scope.pages);
    this.#pagesSinceSync += scope.pages;
    this.#live.invalidate(scope);
    this.#timeline.level(seconds, "livePages", this.#live.count);
  }

  #sync(seconds: number): void {
    this.#timeline.add(seconds, "syncs", 1);
    this.#commandsPerSync.add(this.#commandsSinceSync - 1);
    this.#pagesPerSync.add(this.#pagesSinceSync);
    this.#commandsSinceSync = 0;
    this.#pagesSinceSync = 0;
    if (this.#lastSync >= 0) this.#syncGaps.add((seconds - this.#lastSync) * 1e6);
    this.#lastSync = seconds;
  }

  #transaction(transaction: Transaction & { seconds: number }): void {
    const { seconds, access, requester, page, sizeBytes, movedBytes, translations } = transaction;
    this.#operations++;
    this.#streams.count(transaction);
    if (access !== "message") this.#sizes.add(sizeBytes);
    if (movedBytes > 0) {
      this.#counters.transfer(requester, access === "write", movedBytes);
      this.#timeline.add(seconds, `${access} ${this.#row(requester)}`, movedBytes);
    }
    for (const [how, count] of translations.entries()) {
      for (let i = 0; i < count; i++) this.#counters.translation(requester, how);
    }
    this.#timeline.add(seconds, "hits", translations[Translation.TlbHit]);
    this.#timeline.add(seconds, "walks", translations[Translation.Walk]);
    const asid = this.#streams.asidOf(requester);
    const used = translations[Translation.TlbHit] + translations[Translation.Walk] > 0;
    if (asid === undefined || !transaction.ok || !used) return;
    const offset = parseInt(transaction.iova.slice(-3), 16) & 0xfff;
    this.#live.use(asid, page, Math.ceil((offset + sizeBytes) / 4096));
    this.#timeline.level(seconds, "livePages", this.#live.count);
  }

  #row({ streamId }: Requester): string {
    if (this.#rows.size < MOST_ROWS) this.#rows.add(streamId);
    return this.#rows.has(streamId) ? hex(streamId) : "others";
  }

  #fault(seconds: number, story: FaultStory): void {
    this.#faultCount++;
    this.#streams.fault(story.streamId);
    this.#timeline.add(seconds, "faults", 1);
    if (story.event !== null) {
      const number = EVENT_NUMBERS[story.event] ?? Number(story.event);
      this.#counters.event(new Uint32Array(EVENT_SIZE / 4).fill(number, 0, 1), story.recorded);
    }
    const key = `${story.event} ${story.streamId} ${story.substreamId} ${story.reason}`;
    const known = this.#faults.get(key);
    if (known !== undefined) known.count++;
    else if (this.#faults.size < MOST_FAULTS) this.#faults.set(key, { story, count: 1 });
  }

  /** What was summed up; `damage` is what is wrong with the file. */
  analysis(damage: string | null = null): Analysis {
    const { guest, features, began } = this.#header;
    const summary = this.#counters.summary();
    const mib = (summary.dma.readBytes + summary.dma.writtenBytes) / 2 ** 20;
    const span = Math.max(this.#lastCommand - this.#firstCommand, 1e-6);
    return {
      version: ANALYSIS_VERSION,
      guest,
      features,
      began,
      seconds: this.#seconds,
      operations: this.#operations,
      damage,
      divergence: this.#divergence,
      enabledAt: this.#enabledAt,
      resets: this.#resets,
      streams: this.#streams.streams(),
      streamsLeftOut: this.#streams.leftOut,
      domains: this.#streams.domains(),
      endpoints: Object.fromEntries(this.#endpoints),
      commands: Object.entries(summary.commands).sort(([, a], [, b]) => b - a)
        .map(([name, count]) => ({ name, count, perSecond: count / span })),
      invalidations: [...this.#scopes].map(([name, sum]) => ({ name, ...sum })),
      summary,
      registers: [...this.#registers].map(([name, counts]) => ({ name, ...counts })),
      prodWrites: this.#prodWrites,
      syncsPerMiB: mib === 0 ? 0 : summary.syncs / mib,
      livePages: { peak: this.#live.peak, atEnd: this.#live.count, isCut: this.#live.isCut },
      faults: [...this.#faults.values()].map(({ story, count }) => ({ ...story, count })),
      faultCount: this.#faultCount,
      histograms: {
        commandsPerProdWrite: this.#commandsPerProdWrite.summary(),
        commandsPerSync: this.#commandsPerSync.summary(),
        pagesPerTlbi: this.#pagesPerTlbi.summary(),
        pagesPerSync: this.#pagesPerSync.summary(),
        microsecondsBetweenSyncs: this.#syncGaps.summary(),
        microsecondsBetweenProdWrites: this.#prodGaps.summary(),
        bytesPerTransaction: this.#sizes.summary(),
      },
      timeline: this.#timeline.summary(),
    };
  }
}
