/**
 * Cuts a diverging trace to a small one that diverges in the same way: leaves out operations, records what remains
 * again over the memory that the whole trace knows of, and keeps what still diverges (delta debugging).
 * @module
 */
import { SmmuV3 } from "../../../hw/smmuv3/smmuv3.ts";
import type { Divergence } from "./divergence.ts";
import { type Change, LineWriter, type Operation, type TraceHeader } from "../format.ts";
import { rerecord } from "./minimise_record.ts";
import type { DeviceMaker } from "./replayer.ts";
import { runReplay } from "./replayer_run.ts";
import type { TraceLine } from "../trace_file.ts";

/** How to do it. */
export interface MinimiseOptions {
  /** Makes the device that diverges; this build's by default. */
  readonly make?: DeviceMaker | undefined;
  /** Called before each try with the number of operations that are left; may throw to end it. */
  readonly onTry?: (operations: number) => void;
}

/** A small trace. */
export interface Minimised {
  readonly header: TraceHeader;
  readonly operations: readonly Operation[];
  /** What it diverges by. */
  readonly divergence: Divergence;
  /**
   * True when all of it is what this build's device does. Otherwise that device diverges itself, and only the last
   * operation is as it was recorded; those before it are what the device that diverges does.
   */
  readonly isRecordedAnew: boolean;
  /** How many tries it took. */
  readonly tries: number;
}

/** More would only cost: what is forgotten is written down again. */
const LOG2_KNOWN = 13;

/** Cuts a trace; undefined when it does not diverge. */
export async function minimise(
  header: TraceHeader,
  lines: AsyncIterable<TraceLine> | Iterable<TraceLine>,
  { make = (options) => new SmmuV3(options), onTry }: MinimiseOptions = {},
): Promise<Minimised | undefined> {
  const whole: TraceLine[] = [];
  const { result } = await runReplay(header, keep(lines, whole), { make });
  const divergence = result.kinds[0]?.first;
  if (divergence === undefined) return undefined;
  const reference = (await runReplay(header, whole)).result;
  const isRecordedAnew = reference.kinds.length === 0;
  const small = { ...header, log2known: Math.min(header.log2known, LOG2_KNOWN), payload: false };
  const operations = whole.map(({ operation }) => operation);
  let tries = 0;
  let best: { operations: readonly Operation[]; divergence: Divergence } | undefined;
  const diverges = async (kept: readonly number[]): Promise<boolean> => {
    onTry?.(kept.length);
    tries++;
    const again = isRecordedAnew
      ? rerecord(small, operations, kept)
      : withLast(rerecord(small, operations, kept, make), operations[kept.at(-1)!]);
    const { result } = await runReplay(small, placed(again), { make });
    const first = result.kinds[0]?.first;
    if (first?.kind !== divergence.kind) return false;
    best = { operations: again.slice(0, first.line - 1), divergence: first };
    return true;
  };
  const all = operations.map((_, i) => i);
  if (!await diverges(all)) return { header, operations, divergence, isRecordedAnew, tries };
  await cut(all, diverges);
  return { header: small, ...best!, isRecordedAnew, tries };
}

async function* keep(
  lines: AsyncIterable<TraceLine> | Iterable<TraceLine>,
  into: TraceLine[],
): AsyncGenerator<TraceLine> {
  for await (const line of lines as AsyncIterable<TraceLine>) {
    into.push(line);
    yield line;
  }
}

function placed(operations: readonly Operation[]): TraceLine[] {
  return operations.map((operation, i) => ({ number: i + 2, offset: 0, operation }));
}

/** Leaves out ever smaller parts, but never the last operation, as long as `holds`. */
async function cut(
  all: readonly number[],
  holds: (kept: readonly number[]) => Promise<boolean>,
): Promise<void> {
  let kept = [...all];
  for (let size = kept.length >> 1; size >= 1;) {
    let hasShrunk = false;
    for (let end = kept.length - 1; end > 0;) {
      const start = Math.max(0, end - size);
      const candidate = [...kept.slice(0, start), ...kept.slice(end)];
      if (await holds(candidate)) {
        kept = candidate;
        hasShrunk = true;
      }
      end = start;
    }
    if (!hasShrunk || size > kept.length) size >>= 1;
  }
}

/** Puts the expectation of a recorded operation in place of the last one; what that fetched stays known. */
function withLast(again: readonly Operation[], last: Operation): Operation[] {
  const fetched = again.at(-1)?.mem ?? [];
  const others = (last.mem ?? []).filter(([fetch]) => !fetched.some(([own]) => own === fetch));
  const mem: Change[] = [...fetched, ...others].sort(([a], [b]) => a - b);
  return [...again.slice(0, -1), { ...last, ...(mem.length > 0 ? { mem } : {}) }];
}

/** A trace as text, line by line. */
export function* traceText(
  { header, operations }: Pick<Minimised, "header" | "operations">,
): Generator<string> {
  const writer = new LineWriter();
  yield writer.line(header);
  for (const operation of operations) yield writer.line(operation);
  yield writer.line({ end: true, operations: operations.length });
}
