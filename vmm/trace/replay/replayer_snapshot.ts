/**
 * A replay that was put down, as a file: the state of the device and what is known of memory, as JSON.
 * @module
 */
import type { TraceHeader } from "../format.ts";
import type { ReplaySnapshot } from "./replayer.ts";
import { TraceError } from "../trace_file.ts";

const FORMAT = "vsmmu-replay-snapshot";
const VERSION = 1;

/** The text of a snapshot; `header` is that of the trace it belongs to. */
export function snapshotText(header: TraceHeader, snapshot: ReplaySnapshot): string {
  return `${
    JSON.stringify({ format: FORMAT, version: VERSION, trace: traceOf(header), snapshot })
  }\n`;
}

/** What a text says. Throws a {@linkcode TraceError} when it is no snapshot, or one of another version or trace. */
export function parseSnapshot(text: string, path: string, header: TraceHeader): ReplaySnapshot {
  let value;
  try {
    value = JSON.parse(text);
  } catch {
    // Said below.
  }
  if (value?.format !== FORMAT) {
    throw new TraceError(`Cannot read ${path}: it is no snapshot of a replay`);
  }
  if (value.version !== VERSION) {
    throw new TraceError(
      `Cannot read ${path}: it is of version ${value.version}, and this is a reader of version ${VERSION}`,
    );
  }
  if (value.trace !== traceOf(header)) {
    throw new TraceError(
      `Cannot use ${path}: it is of another trace than the one that is replayed`,
    );
  }
  return value.snapshot;
}

/** What tells traces from each other. */
function traceOf({ features, log2tlbSets, log2known, guest, began }: TraceHeader): string {
  return JSON.stringify([features, log2tlbSets, log2known, guest, began]);
}
