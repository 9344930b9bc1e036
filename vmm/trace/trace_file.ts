/**
 * A trace on disk: written piece by piece, so that what is there can be read whatever happens next; read line by line in
 * constant memory, with every damage named and placed.
 * @module
 */
import { createGunzip, gzipSync } from "node:zlib";
import { delay } from "@std/async/delay";
import { EnvironmentError } from "../environment_error.ts";
import { LineReader, type Operation, type TraceHeader, VERSION } from "./format.ts";
import type { TextRing } from "./ring.ts";

/** How often what was recorded goes to disk. */
const PIECE_MS = 200;

/** Writes what comes through `ring` to `file` until the ring is closed and empty, and closes it. Throws when the disk refuses. */
export async function writeTrace(file: Deno.FsFile, ring: TextRing): Promise<void> {
  using _file = file;
  while (!ring.isDone) {
    const text = ring.read();
    if (text.length === 0) {
      await delay(PIECE_MS);
      continue;
    }
    // Each piece is a gzip member of its own: whole members are readable however the file ends.
    const member = gzipSync(text, { level: 1 });
    for (let done = 0; done < member.length;) done += await file.write(member.subarray(done));
  }
}

/** What is wrong with a trace, and where. */
export class TraceError extends EnvironmentError {}

/** A line of a trace with its place. */
export interface TraceLine {
  /** From 1: the header is line 1. */
  readonly number: number;
  /** Bytes before it in the uncompressed trace. */
  readonly offset: number;
  readonly operation: Operation;
}

/** A trace that is being read. */
export interface OpenTrace {
  readonly header: TraceHeader;
  /** Its operations; throws a {@linkcode TraceError} where the trace is damaged, after everything before it. */
  readonly operations: AsyncIterable<TraceLine>;
}

/** Opens a trace. Throws a {@linkcode TraceError} when it is not one, or of a version that this reader does not know. */
export async function openTrace(path: string): Promise<OpenTrace> {
  const lines = textLines(path);
  const reader = new LineReader();
  const first = await lines.next();
  const header = first.done ? undefined : reader.line(first.value.text);
  if (header === undefined || header["format"] !== "vsmmu-trace") {
    throw new TraceError(`Cannot read ${path}: it does not begin like a trace of vsmmu`);
  }
  const version = String(header["version"]);
  if (Number(version.split(".")[0]) !== VERSION.major) {
    throw new TraceError(
      `Cannot read ${path}: it is of version ${version}, and this is a reader of version ${VERSION.major}`,
    );
  }
  return {
    header: header as unknown as TraceHeader,
    operations: operations(path, lines, reader),
  };
}

async function* operations(
  path: string,
  lines: AsyncGenerator<PlacedText>,
  reader: LineReader,
): AsyncGenerator<TraceLine> {
  let count = 0;
  let place = { number: 1, offset: 0 };
  for await (const { text, number, offset } of lines) {
    place = { number, offset };
    const value = reader.line(text);
    if (value === undefined) {
      throw new TraceError(
        `${path} is damaged in line ${number}, at byte ${offset} of the uncompressed trace: it was changed or cut`,
      );
    }
    if (value["end"] === true) {
      if (value["operations"] === count) return;
      throw new TraceError(
        `${path} ends in line ${number} after ${count} operations and says ${value["operations"]}`,
      );
    }
    count++;
    yield { number, offset, operation: value as unknown as Operation };
  }
  throw new TraceError(
    `${path} ends after line ${place.number}, at byte ${place.offset} of the uncompressed trace, without an end: ` +
      `its recording was interrupted, or it was cut`,
  );
}

interface PlacedText {
  readonly text: string;
  readonly number: number;
  readonly offset: number;
}

/** The longest line that a recorder writes is far shorter. */
const LONGEST_LINE = 2 ** 24;

/** Lines of a gzip file. What follows a damage of the compression is left out: the caller misses the end. */
async function* textLines(path: string): AsyncGenerator<PlacedText> {
  const decoder = new TextDecoder();
  let rest = "";
  let number = 1;
  let offset = 0;
  for await (const piece of unzipped(path)) {
    rest += decoder.decode(piece, { stream: true });
    let from = 0;
    for (let cut = rest.indexOf("\n"); cut >= 0; cut = rest.indexOf("\n", from)) {
      const text = rest.slice(from, cut);
      yield { text, number, offset };
      number++;
      offset += text.length + 1;
      from = cut + 1;
    }
    rest = rest.slice(from);
    if (rest.length > LONGEST_LINE) {
      throw new TraceError(`${path} is damaged in line ${number}: the line has no end`);
    }
  }
  if (rest !== "") yield { text: rest, number, offset };
}

async function* unzipped(path: string): AsyncGenerator<Uint8Array> {
  let file: Deno.FsFile;
  try {
    file = await Deno.open(path);
  } catch (error) {
    throw new TraceError(`Cannot read ${path}: ${(error as Error).message}`);
  }
  using _file = file;
  const gunzip = createGunzip();
  const feeding = (async (): Promise<void> => {
    for await (const chunk of file.readable) {
      if (!gunzip.write(chunk)) await new Promise((resolve) => gunzip.once("drain", resolve));
    }
    gunzip.end();
  })();
  try {
    yield* gunzip as AsyncIterable<Uint8Array>;
    await feeding;
  } catch {
    // Whoever misses the end says where.
  } finally {
    gunzip.destroy();
  }
}
