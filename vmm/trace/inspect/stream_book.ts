/**
 * Who did DMA: streams with their configurations and what they moved, bounded whatever the trace says.
 * @module
 */
import { get } from "../../../hw/bits.ts";
import type { Requester } from "../../../hw/device.ts";
import { Context, Mode } from "../../../hw/smmuv3/configuration/context.ts";
import type { Features } from "../../../hw/smmuv3/features.ts";
import { CD } from "../../../hw/smmuv3/spec/cd.ts";
import { Config, STE } from "../../../hw/smmuv3/spec/ste.ts";
import type { Configuration, DomainAnalysis, StreamAnalysis } from "./analysis.ts";
import { describeCd, describeSte, type Fetched } from "./fault_story.ts";
import { pciAddress } from "./naming.ts";
import type { Transaction } from "./witness.ts";

const MOST_STREAMS = 256;
const MOST_CONFIGURATIONS = 16;
const MOST_SUBSTREAMS = 4096;

interface Page {
  readonly configurations: Configuration[];
  reads: number;
  writes: number;
  messages: number;
  readBytes: number;
  writtenBytes: number;
  failed: number;
  faults: number;
}

/** Streams by StreamID. */
export class StreamBook {
  readonly #features: Features;
  readonly #pages = new Map<number, Page>();
  readonly #leftOut = new Set<number>();
  readonly #asids = new Map<string, number>();
  readonly #domains = new Map<number, Set<number>>();

  /** An empty book for a device of these features. */
  constructor(features: Features) {
    this.#features = features;
  }

  /** A configuration was fetched; one that is known already changes nothing. */
  configure(seconds: number, requester: Requester, ste: Fetched, cd: Fetched | undefined): void {
    const { streamId } = requester;
    const page = this.#page(streamId);
    const configuration = decode(seconds, requester, ste, cd, this.#features);
    const { asid } = configuration;
    const key = keyOf(requester);
    if (this.#asids.size < MOST_SUBSTREAMS || this.#asids.has(key)) {
      this.#asids.set(key, asid ?? -1);
    }
    if (page === undefined) return;
    if (asid !== null) {
      if (!this.#domains.has(asid)) this.#domains.set(asid, new Set());
      this.#domains.get(asid)!.add(streamId);
    }
    const { configurations } = page;
    const isKnown = configurations.some((known) =>
      known.ste === configuration.ste && known.cd === configuration.cd &&
      known.substreamId === configuration.substreamId
    );
    if (!isKnown && configurations.length < MOST_CONFIGURATIONS) configurations.push(configuration);
  }

  /** A transaction ended. */
  count({ access, requester, movedBytes, ok }: Transaction): void {
    const page = this.#page(requester.streamId);
    if (page === undefined) return;
    if (!ok) page.failed++;
    if (access === "message") page.messages++;
    else if (access === "read") {
      page.reads++;
      page.readBytes += movedBytes;
    } else {
      page.writes++;
      page.writtenBytes += movedBytes;
    }
  }

  /** A transaction of this stream faulted. */
  fault(streamId: number): void {
    const page = this.#page(streamId);
    if (page !== undefined) page.faults++;
  }

  /** The ASID that a requester's translations have; undefined when it has none. */
  asidOf(requester: Requester): number | undefined {
    const asid = this.#asids.get(keyOf(requester)) ?? -1;
    return asid < 0 ? undefined : asid;
  }

  /** The device was reset: no configuration holds any more. */
  reset(): void {
    this.#asids.clear();
  }

  /** By StreamID. */
  streams(): StreamAnalysis[] {
    return [...this.#pages].sort(([a], [b]) => a - b).map(([streamId, page]) => ({
      streamId,
      pciAddress: pciAddress(streamId) ?? null,
      ...page,
    }));
  }

  /** How many streams have no place in the book. */
  get leftOut(): number {
    return this.#leftOut.size;
  }

  /** By ASID. */
  domains(): DomainAnalysis[] {
    return [...this.#domains].sort(([a], [b]) => a - b).map(([asid, streamIds]) => ({
      asid,
      streamIds: [...streamIds].sort((a, b) => a - b),
    }));
  }

  #page(streamId: number): Page | undefined {
    let page = this.#pages.get(streamId);
    if (page !== undefined) return page;
    if (this.#pages.size >= MOST_STREAMS) {
      if (this.#leftOut.size < 2 ** 16) this.#leftOut.add(streamId);
      return undefined;
    }
    page = {
      configurations: [],
      reads: 0,
      writes: 0,
      messages: 0,
      readBytes: 0,
      writtenBytes: 0,
      failed: 0,
      faults: 0,
    };
    this.#pages.set(streamId, page);
    return page;
  }
}

function keyOf({ streamId, substreamId }: Requester): string {
  return `${streamId}:${substreamId}`;
}

function decode(
  seconds: number,
  { streamId, substreamId }: Requester,
  ste: Fetched,
  cd: Fetched | undefined,
  features: Features,
): Configuration {
  const words = cd?.words;
  const source = { ste: ste.words, cd: words };
  const context = words && new Context(streamId, substreamId, Mode.Translate, features, source);
  return {
    seconds,
    substreamId: substreamId < 0 ? null : substreamId,
    mode: modeOf(ste.words),
    ste: ste.words ? describeSte(ste.words) : "no RAM is there",
    cd: cd === undefined ? null : words ? describeCd(words, context) : "no RAM is there",
    asid: words ? get(words, CD.ASID) : null,
  };
}

function modeOf(ste: Uint32Array | undefined): Configuration["mode"] {
  if (ste === undefined || get(ste, STE.V) === 0) return "invalid";
  const config = get(ste, STE.Config);
  if (config < Config.Bypass) return "abort";
  if (config === Config.Bypass) return "bypass";
  return config === Config.Stage1 ? "stage 1" : config === Config.Stage2 ? "stage 2" : "nested";
}
