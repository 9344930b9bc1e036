/**
 * A trace on disk: written piece by piece, so that what is there can be read whatever happens next; read line by line in
 * constant memory, with every damage named and placed.
 * @module
 */
import { gzipSync } from "node:zlib";
import { delay } from "@std/async/delay";
import { EnvironmentError } from "../environment_error.ts";
import { LineReader, LONGEST_LINE_BYTES, type Operation, type TraceHeader } from "./format.ts";
import { uncompressed } from "./gunzip.ts";
import type { TextRing } from "./ring.ts";
import { headerOf, isNewerMinor, wrongIn } from "./shape.ts";

/** How often what was recorded goes to disk. */
const PIECE_MS = 200;

/** Writes what comes through `ring` to `file` until the ring is closed and empty, and closes it. Throws when the disk refuses. */
export async function writeTrace(file: Deno.FsFile, ring: TextRing): Promise<void> {
  using _file = file;
  while (!ring.isDone) {
    const text = ring.read();
    if (text.length > 0) {
      // Each piece is a gzip member of its own: whole members are readable however the file ends.
      const member = gzipSync(text, { level: 1 });
      for (let done = 0; done < member.length;) done += await file.write(member.subarray(done));
    }
    // Small members would be many; and the writer must not wait.
    if (text.length < ring.sizeBytes / 4) await delay(PIECE_MS);
  }
}

/** Where a trace is damaged. */
export interface TracePlace {
  /** The line, from 1. */
  readonly line: number;
  /** Bytes before that line in the uncompressed trace. */
  readonly offset: number;
  /** Operations before it; all were given. */
  readonly operations: number;
}

/** What is wrong with a trace, and where. */
export class TraceError extends EnvironmentError {
  /** Where; undefined when not even its header can be read. */
  readonly place: TracePlace | undefined;

  /** A message, which names the place too. */
  constructor(message: string, place?: TracePlace) {
    super(message);
    this.place = place;
  }
}

/** A line of a trace with its place. */
export interface TraceLine {
  /** From 1: the header is line 1. */
  readonly number: number;
  /** Bytes before it in the uncompressed trace. */
  readonly offset: number;
  /** What happened. */
  readonly operation: Operation;
}

/** A trace that is being read. */
export interface OpenTrace {
  /** Its first line, with all features filled in. */
  readonly header: TraceHeader;
  /** Its operations, once; throws a {@linkcode TraceError} where the trace is damaged, after everything before it. */
  readonly operations: AsyncIterable<TraceLine>;
}

/**
 * Opens a trace, compressed or not. Throws a {@linkcode TraceError} when it is not one, of a version that this reader does not
 * know, or of a device with features that this one does not have.
 */
export async function openTrace(path: string): Promise<OpenTrace> {
  const reading = new TraceReading(path, await open(path));
  return { header: await reading.header(), operations: new Flat(reading.batches()) };
}

async function open(path: string): Promise<Deno.FsFile> {
  try {
    return await Deno.open(path);
  } catch (error) {
    throw new TraceError(`Cannot read ${path}: ${reasonOf(error)}`);
  }
}

/** Why the host refused something, without the path that Deno repeats behind it. */
export function reasonOf(error: unknown): string {
  return (error instanceof Error ? error.message : String(error)).replace(/: \w+ '.*'$/s, "");
}

/** A trace from its first line to its last. */
class TraceReading {
  readonly #path: string;
  readonly #texts: AsyncGenerator<readonly string[], boolean>;
  readonly #reader = new LineReader();
  #waiting: readonly string[] = [];
  #line = 1;
  #offset = 0;
  #operations = 0;
  #isEnded = false;
  #isNewer = false;

  constructor(path: string, file: Deno.FsFile) {
    this.#path = path;
    this.#texts = lines(file);
  }

  /** Takes the first line. */
  async header(): Promise<TraceHeader> {
    const first = await this.#take();
    try {
      const text = first?.[0];
      if (text === undefined) throw this.#refusal("it is empty, or cut within its first line");
      const checked = this.#reader.line(text);
      // Another version may check its lines in another way, and is to be refused as what it is.
      const result = headerOf(checked ?? fieldsOf(text));
      if ("wrong" in result) throw this.#refusal(result.wrong);
      if (checked === undefined) throw this.#refusal("its first line was changed or cut");
      this.#isNewer = isNewerMinor(result.header);
      this.#advance(text);
      this.#waiting = first!.slice(1);
      return result.header;
    } catch (error) {
      await this.#texts.return(false);
      throw error;
    }
  }

  /** Takes the others, many at a time. */
  async *batches(): AsyncGenerator<readonly TraceLine[]> {
    try {
      for (
        let texts: readonly string[] | undefined = this.#waiting;
        texts !== undefined;
        texts = await this.#take()
      ) {
        const batch: TraceLine[] = [];
        const error = this.#parse(texts, batch);
        yield batch;
        if (error !== undefined) throw error;
      }
      if (!this.#isEnded) {
        throw this.#damage("is cut", "it has no end: its recording was interrupted, or it was cut");
      }
    } finally {
      await this.#texts.return(false);
    }
  }

  /** Adds operations to `batch` up to the first line that is none. */
  #parse(texts: readonly string[], batch: TraceLine[]): TraceError | undefined {
    for (const text of texts) {
      const value = this.#reader.line(text);
      if (value === undefined) return this.#damage("is damaged", "the line was changed or cut");
      if (this.#isEnded) return this.#damage("goes on behind its end", "there should be nothing");
      if (value["end"] === true) {
        if (value["operations"] !== this.#operations) {
          return this.#damage("is damaged", `its end counts ${value["operations"]} operations`);
        }
        this.#isEnded = true;
      } else {
        const wrong = wrongIn(value, this.#isNewer);
        if (wrong !== undefined) return this.#damage("cannot be read", wrong);
        const operation = value as unknown as Operation;
        batch.push({ number: this.#line, offset: this.#offset, operation });
        this.#operations++;
      }
      this.#advance(text);
    }
    return undefined;
  }

  /** Lines that were read; undefined at the end. */
  async #take(): Promise<readonly string[] | undefined> {
    try {
      const next = await this.#texts.next();
      if (!next.done) return next.value;
      if (next.value) return undefined;
    } catch (error) {
      if (error instanceof RangeError) throw this.#damage("is damaged", error.message);
      throw this.#refusal(reasonOf(error));
    }
    throw this.#damage("is damaged", "what follows cannot be uncompressed: it was changed or cut");
  }

  #advance(text: string): void {
    this.#line++;
    this.#offset += text.length + 1;
  }

  #refusal(why: string): TraceError {
    return new TraceError(`Cannot read ${this.#path}: ${why}`);
  }

  #damage(what: string, why: string): TraceError {
    const place = { line: this.#line, offset: this.#offset, operations: this.#operations };
    return new TraceError(
      `${this.#path} ${what} in line ${place.line}, at byte ${place.offset} of the uncompressed trace: ${why}; ` +
        `${place.operations} operations before it are whole`,
      place,
    );
  }
}

/** The lines of a file, many at a time, and what `uncompressed` returns. An unfinished last one is a line too. */
async function* lines(file: Deno.FsFile): AsyncGenerator<readonly string[], boolean> {
  using _file = file;
  const decoder = new TextDecoder("utf-8", { ignoreBOM: true });
  const bytes = uncompressed(file);
  let begun: string[] = [];
  let begunBytes = 0;
  for (;;) {
    const next = await bytes.next();
    if (next.done) {
      if (begunBytes > 0) yield [begun.join("")];
      return next.value;
    }
    const text = decoder.decode(next.value, { stream: true });
    const end = text.lastIndexOf("\n");
    const rest = text.slice(end + 1);
    if (end >= 0) {
      yield (begun.join("") + text.slice(0, end)).split("\n");
      begun = [];
      begunBytes = 0;
    }
    begun.push(rest);
    begunBytes += rest.length;
    if (begunBytes > LONGEST_LINE_BYTES) throw new RangeError("the line has no end");
  }
}

/** The elements of batches: a generator would take longer than all the rest. */
class Flat<T> implements AsyncIterableIterator<T> {
  readonly #batches: AsyncGenerator<readonly T[]>;
  #batch: readonly T[] = [];
  #at = 0;

  constructor(batches: AsyncGenerator<readonly T[]>) {
    this.#batches = batches;
  }

  next(): Promise<IteratorResult<T>> {
    if (this.#at < this.#batch.length) {
      return Promise.resolve({ done: false, value: this.#batch[this.#at++] });
    }
    return this.#more();
  }

  async return(): Promise<IteratorResult<T>> {
    await this.#batches.return(undefined);
    return { done: true, value: undefined };
  }

  [Symbol.asyncIterator](): this {
    return this;
  }

  async #more(): Promise<IteratorResult<T>> {
    const next = await this.#batches.next();
    if (next.done) return { done: true, value: undefined };
    this.#batch = next.value;
    this.#at = 0;
    return this.next();
  }
}

/** What a line of JSON says, whether its check is right or not; nothing when it is none. */
function fieldsOf(text: string): Record<string, unknown> {
  try {
    const value: unknown = JSON.parse(text);
    return typeof value === "object" && value !== null ? { ...value } : {};
  } catch {
    return {};
  }
}
