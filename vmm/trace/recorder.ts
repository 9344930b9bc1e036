/**
 * Records what passes the device's doors: it stands in each of them, lets everything through unchanged, and writes down
 * each operation with what came of it.
 * @module
 */
import { crc32 } from "node:zlib";
import type { DmaPort, IrqLine, MmioDevice, MsiPort, Requester } from "../../hw/device.ts";
import type { Entry, GuestMemory } from "../../hw/guest_memory.ts";
import {
  type Change,
  type Effects,
  hashAddress,
  LineWriter,
  type Operation,
  type Output,
  toHex,
  type TraceHeader,
} from "./format.ts";
import { KnownMemory } from "./known_memory.ts";

/** Where lines go. */
export type LineSink = (line: string) => void;

type Body<T> = T extends unknown ? Omit<T, "t" | keyof Effects> : never;

/** A recording in progress. */
export class Recorder {
  readonly #sink: LineSink;
  readonly #now: () => number;
  readonly #lines = new LineWriter();
  readonly #known: KnownMemory;
  #operations = 0;
  #began = 0;
  #mem: Change[] = [];
  #out: Output[] = [];
  #fetches = 0;
  #path = 0;

  /** Begins with the header; `now` gives the seconds since the recording began. */
  constructor(header: TraceHeader, sink: LineSink, now: () => number) {
    this.#sink = sink;
    this.#now = now;
    this.#known = new KnownMemory(header.log2known);
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
        this.#out.push(["store", gpa, toHex(from.bytes), ok]);
        return ok;
      },
      store32: (gpa, value) => {
        const ok = inner.store32(gpa, value);
        this.#out.push(["store32", gpa, value >>> 0, ok]);
        return ok;
      },
      read: (gpa, into) => {
        const ok = inner.read(gpa, into);
        this.#out.push(["read", gpa, into.length, ok ? crc32(into) : 0, ok]);
        return ok;
      },
      write: (gpa, from) => {
        const ok = inner.write(gpa, from);
        this.#out.push(["write", gpa, from.length, crc32(from), ok]);
        return ok;
      },
    };
  }

  /** A wire of the device. */
  wire(name: string, inner: IrqLine): IrqLine {
    return {
      pulse: () => {
        this.#out.push(["irq", name]);
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
        this.#out.push(["msi", gpa, data >>> 0, ok]);
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
        this.#finish({ op: "read", at, bytes: toHex(into) });
      },
      write: (at, from) => {
        this.#begin();
        const bytes = toHex(from);
        inner.write(at, from);
        this.#finish({ op: "write", at, bytes });
      },
    };
  }

  /** A reset of the device. */
  reset(inner: () => void): () => void {
    return () => {
      this.#begin();
      inner();
      this.#finish({ op: "reset" });
    };
  }

  /** An endpoint's way to memory. */
  dma(inner: DmaPort): DmaPort {
    return {
      read: (requester, lo, hi, into) => {
        this.#begin();
        const ok = inner.read(requester, lo, hi, into);
        this.#finish({ op: "dma-read", ...who(requester, lo, hi), size: into.length, ok });
        return ok;
      },
      write: (requester, lo, hi, from) => {
        this.#begin();
        const ok = inner.write(requester, lo, hi, from);
        this.#finish({ op: "dma-write", ...who(requester, lo, hi), size: from.length, ok });
        return ok;
      },
      message: (requester, lo, hi, data) => {
        this.#begin();
        const ok = inner.message(requester, lo, hi, data);
        this.#finish({ op: "dma-message", ...who(requester, lo, hi), data: data >>> 0, ok });
        return ok;
      },
    };
  }

  #begin(): void {
    this.#began = this.#now();
  }

  #finish(body: Body<Operation>): void {
    const operation = {
      t: Math.round(this.#began * 1e6) / 1e6,
      ...body,
      ...(this.#mem.length > 0 ? { mem: this.#mem } : {}),
      ...(this.#fetches > 0 ? { fetches: this.#fetches, path: this.#path } : {}),
      ...(this.#out.length > 0 ? { out: this.#out } : {}),
    } as Operation;
    this.#sink(this.#lines.line(operation));
    this.#operations++;
    if (this.#mem.length > 0) this.#mem = [];
    if (this.#out.length > 0) this.#out = [];
    this.#fetches = 0;
    this.#path = 0;
  }

  #fetched(gpa: number, { words, bytes }: Entry, ok: boolean): void {
    const known = this.#known;
    const fetch = this.#fetches++;
    this.#path = hashAddress(this.#path, gpa);
    if (!ok) {
      this.#mem.push([fetch, gpa, null]);
      return;
    }
    let isKnown = true;
    for (let i = 0; i < words.length; i += 2) {
      if (!known.holds(gpa + i * 4, words[i], words[i + 1])) isKnown = false;
    }
    if (isKnown) return;
    for (let i = 0; i < words.length; i += 2) known.learn(gpa + i * 4, words[i], words[i + 1]);
    this.#mem.push([fetch, gpa, toHex(bytes)]);
  }
}

function who(
  { streamId, substreamId }: Requester,
  lo: number,
  hi: number,
): { stream: number; substream?: number; iova: string } {
  const iova = `0x${hi === 0 ? "" : hi.toString(16)}${
    lo.toString(16).padStart(hi === 0 ? 1 : 8, "0")
  }`;
  return substreamId < 0
    ? { stream: streamId, iova }
    : { stream: streamId, substream: substreamId, iova };
}
