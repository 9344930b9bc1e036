/**
 * Records what passes the device's doors: it stands in each of them, lets everything through unchanged, and writes down
 * each operation with what came of it.
 * @module
 */
import { crc32 } from "node:zlib";
import type { AtsPort } from "../../hw/ats_port.ts";
import type { DmaPort, IrqLine, MmioDevice, MsiPort, StallableDmaPort } from "../../hw/device.ts";
import type { Entry, GuestMemory } from "../../hw/guest_memory.ts";
import type { EndpointPort } from "../../hw/smmuv3/endpoint_port.ts";
import { statusOf } from "../../uapi/stat.ts";
import type { RamMirror } from "../guest_ram_map.ts";
import type { StreamMove } from "../host_iommu/nested.ts";
import type { IommufdObserver } from "../iommufd/observed.ts";
import {
  recordedAts,
  recordedEndpoints,
  recordedStalls,
  type Scribe,
  who,
} from "./endpoint_doors.ts";
import { hashAddress, LineWriter, toHex, type TraceHeader } from "./format.ts";
import { iommufdCall } from "./iommufd_call.ts";
import { KnownMemory } from "./known_memory.ts";

/** Where lines go. */
export type LineSink = (line: string) => void;

/** Payload of a larger DMA is left out: a line has an end. No endpoint here moves as much at once. */
const MOST_PAYLOAD_BYTES = 2 ** 24;

/**
 * A recording in progress.
 *
 * Lines are put together as text, because `JSON.stringify` of an object made for it takes as long as the device itself. All
 * that is not a number is hexadecimal, base64, or a name of ours, so nothing has to be escaped.
 */
export class Recorder {
  readonly #sink: LineSink;
  readonly #now: () => number;
  readonly #lines = new LineWriter();
  readonly #known: KnownMemory;
  readonly #hasPayload: boolean;
  #operations = 0;
  #began = 0;
  /** Elements of the arrays, each with a comma before it. */
  #mem = "";
  #out = "";
  #calls = "";
  #fetches = 0;
  #path = 0;
  /** Files of guest RAM, by what tells them apart; a trace names them by number. */
  readonly #files: string[] = [];
  /** Where the outputs of each operation that is under way begin: an endpoint may ask while it is told. */
  readonly #marks: number[] = [];
  readonly #scribe = {
    operation: <T>(act: () => T, fields: (result: T) => string, payload?: Uint8Array): T => {
      this.#begin();
      const result = act();
      this.#finish(fields(result), payload);
      return result;
    },
    told: <T>(act: () => T, elements: (result: T) => string): T => {
      const at = this.#out.length;
      const result = act();
      this.#insert(at, elements(result));
      return result;
    },
  } satisfies Scribe;

  /** Begins with the header; `now` gives the seconds since the recording began. */
  constructor(header: TraceHeader, sink: LineSink, now: () => number) {
    this.#sink = sink;
    this.#now = now;
    this.#known = new KnownMemory(header.log2known);
    this.#hasPayload = header.payload === true;
    this.#sink(this.#lines.line(header));
  }

  /** Ends the recording. */
  end(): void {
    this.#sink(this.#lines.line({ end: true, operations: this.#operations }));
  }

  /** Guest memory, for the device. */
  memory(inner: GuestMemory): GuestMemory {
    return {
      fetch: (gpa, into) => {
        const ok = inner.fetch(gpa, into);
        this.#fetched(gpa, into, ok);
        return ok;
      },
      store: (gpa, from) => {
        const ok = inner.store(gpa, from);
        this.#out += `,["store",${gpa},"${toHex(from.bytes)}",${ok}]`;
        return ok;
      },
      store32: (gpa, value) => {
        const ok = inner.store32(gpa, value);
        this.#out += `,["store32",${gpa},${value >>> 0},${ok}]`;
        return ok;
      },
      compareExchange: (gpa, expected, desired) => {
        const outcome = inner.compareExchange(gpa, expected, desired);
        const [before, after] = [toHex(expected.bytes), toHex(desired.bytes)];
        this.#out += `,["exchange",${gpa},"${before}","${after}",${outcome}]`;
        return outcome;
      },
      read: (gpa, into) => {
        const ok = inner.read(gpa, into);
        this.#out += `,["read",${gpa},${into.length},${ok ? crc32(into) : 0},${ok}]`;
        return ok;
      },
      write: (gpa, from) => {
        const ok = inner.write(gpa, from);
        this.#out += `,["write",${gpa},${from.length},${crc32(from)},${ok}]`;
        return ok;
      },
    };
  }

  /** A wire of the device. */
  wire(name: string, inner: IrqLine): IrqLine {
    return {
      pulse: () => {
        this.#out += `,["irq","${name}"]`;
        inner.pulse();
      },
      set: (asserted) => inner.set(asserted),
    };
  }

  /** The way of messages to where no RAM is. */
  msi(inner: MsiPort): MsiPort {
    return {
      send: (gpa, data) => {
        const ok = inner.send(gpa, data);
        this.#out += `,["msi",${gpa},${data >>> 0},${ok}]`;
        return ok;
      },
    };
  }

  /** The registers, for the guest. */
  device(inner: MmioDevice): MmioDevice {
    return {
      read: (at, into) => {
        this.#begin();
        inner.read(at, into);
        this.#finish(`"op":"read","at":${at},"bytes":"${toHex(into)}"`);
      },
      write: (at, from) => {
        this.#begin();
        const bytes = toHex(from);
        inner.write(at, from);
        this.#finish(`"op":"write","at":${at},"bytes":"${bytes}"`);
      },
    };
  }

  /** A reset of the device. */
  reset(inner: () => void): () => void {
    return () => {
      this.#begin();
      inner();
      this.#finish('"op":"reset"');
    };
  }

  /** What makes the device and the hardware behind it, before anything else happens. */
  start<T>(make: () => T): T {
    this.#begin();
    const made = make();
    this.#finish('"op":"start"');
    return made;
  }

  /** Calls of iommufd. */
  iommufd(): IommufdObserver {
    return (name, args, errno, result) => {
      const call = iommufdCall(name, args, errno, result, (fd) => this.#fileOf(fd));
      this.#calls += `,${JSON.stringify(call)}`;
    };
  }

  /** Takes events of the hardware to the device. */
  hardwareEvent(inner: (words: Uint32Array) => void): (words: Uint32Array) => void {
    return (words) => {
      this.#begin();
      const bytes = toHex(new Uint8Array(words.buffer, words.byteOffset, words.byteLength));
      inner(words);
      this.#finish(`"op":"hardware-event","bytes":"${bytes}"`);
    };
  }

  /** Tells hardware that streams have other StreamIDs. */
  moves(inner: (moves: readonly StreamMove[]) => void): (moves: readonly StreamMove[]) => void {
    return (moves) => {
      this.#begin();
      inner(moves);
      this.#finish(`"op":"stream-move","moves":${JSON.stringify(moves)}`);
    };
  }

  /** Takes the device of a stream from hardware. */
  gone(inner: (streamId: number) => void): (streamId: number) => void {
    return (streamId) => {
      this.#begin();
      inner(streamId);
      this.#finish(`"op":"stream-gone","gone":${streamId}`);
    };
  }

  /** Hardware that sees guest RAM. */
  ram(inner: RamMirror): RamMirror {
    return {
      map: (range, fd) => {
        const { gpa, sizeBytes, offset, writable } = range;
        this.#begin();
        let ok = false;
        try {
          inner.map(range, fd);
          ok = true;
        } finally {
          this.#finish(
            `"op":"ram-map","gpa":${gpa},"size":${sizeBytes},"offset":${offset},` +
              `"file":${this.#fileOf(fd.number)},"writable":${writable},"ok":${ok}`,
          );
        }
      },
      unmap: (range) => {
        this.#begin();
        inner.unmap(range);
        this.#finish(`"op":"ram-unmap","gpa":${range.gpa},"size":${range.sizeBytes}`);
      },
    };
  }

  /** An endpoint's way to memory. */
  dma(inner: DmaPort): DmaPort {
    return this.#transactions("dma", inner);
  }

  /** An endpoint's way to translations, and by them to memory. */
  ats(inner: AtsPort): AtsPort {
    return recordedAts(this.#scribe, inner, this.#transactions("translated", inner.translated));
  }

  /** The way to memory of endpoints that can wait; one for all of them, as it numbers what passes. */
  stallable(inner: StallableDmaPort): StallableDmaPort {
    return recordedStalls(this.#scribe, inner);
  }

  /** What endpoints are told. */
  endpoints(inner: EndpointPort): EndpointPort {
    return recordedEndpoints(this.#scribe, inner);
  }

  #transactions(kind: "dma" | "translated", inner: DmaPort): DmaPort {
    const { operation } = this.#scribe;
    return {
      read: (requester, lo, hi, into) =>
        operation(
          () => inner.read(requester, lo, hi, into),
          (ok) => `"op":"${kind}-read",${who(requester, lo, hi)},"size":${into.length},"ok":${ok}`,
          into,
        ),
      write: (requester, lo, hi, from) =>
        operation(
          () => inner.write(requester, lo, hi, from),
          (ok) => `"op":"${kind}-write",${who(requester, lo, hi)},"size":${from.length},"ok":${ok}`,
          from,
        ),
      message: (requester, lo, hi, data) =>
        operation(
          () => inner.message(requester, lo, hi, data),
          (ok) =>
            `"op":"${kind}-message",${who(requester, lo, hi)},"data":${data >>> 0},"ok":${ok}`,
        ),
    };
  }

  #fileOf(fd: number): number {
    const { identity } = statusOf({ number: fd });
    const known = this.#files.indexOf(identity);
    return known >= 0 ? known : this.#files.push(identity) - 1;
  }

  #begin(): void {
    if (this.#marks.length === 0) this.#began = this.#now();
    this.#marks.push(this.#out.length);
  }

  /** What an endpoint asks in the course of an operation is among its outputs, where it was asked. */
  #finish(body: string, payload?: Uint8Array): void {
    const at = this.#marks.pop()!;
    let fields = body;
    if (this.#hasPayload && payload !== undefined && payload.length <= MOST_PAYLOAD_BYTES) {
      fields += `,"payload":"${payload.toBase64()}"`;
    }
    if (this.#marks.length > 0) return this.#insert(at, `"asked",{${fields}}`);
    let text = `{"t":${Math.round(this.#began * 1e6) / 1e6},${fields}`;
    if (this.#mem !== "") text += `,"mem":[${this.#mem.slice(1)}]`;
    if (this.#fetches > 0) text += `,"fetches":${this.#fetches},"path":${this.#path}`;
    if (this.#out !== "") text += `,"out":[${this.#out.slice(1)}]`;
    if (this.#calls !== "") text += `,"calls":[${this.#calls.slice(1)}]`;
    this.#sink(this.#lines.close(text));
    this.#operations++;
    this.#mem = "";
    this.#out = "";
    this.#calls = "";
    this.#fetches = 0;
    this.#path = 0;
  }

  #insert(at: number, elements: string): void {
    this.#out = `${this.#out.slice(0, at)},[${elements}]${this.#out.slice(at)}`;
  }

  #fetched(gpa: number, { words, bytes }: Entry, ok: boolean): void {
    const known = this.#known;
    const fetch = this.#fetches++;
    this.#path = hashAddress(this.#path, gpa);
    if (!ok) {
      this.#mem += `,[${fetch},${gpa},null]`;
      return;
    }
    let isKnown = true;
    for (let i = 0; i < words.length; i += 2) {
      if (!known.holds(gpa + i * 4, words[i], words[i + 1])) isKnown = false;
    }
    if (isKnown) return;
    known.learnAll(gpa, words);
    this.#mem += `,[${fetch},${gpa},"${toHex(bytes)}"]`;
  }
}
