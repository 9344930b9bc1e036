/**
 * Two transcripts side by side, to the first difference that nothing explains.
 * @module
 */
import { Buffer } from "node:buffer";
import { DEVIATIONS } from "./deviations.ts";
import type { Deviation } from "./deviations/deviation.ts";
import type { Difference } from "./difference.ts";
import { WINDOW } from "./ground.ts";
import type { Program, Step } from "./program.ts";
import { REWRITES } from "./rewrites.ts";
import type { EventRecord, Seen, Transcript } from "./transcript.ts";

/** What came of a comparison. */
export interface Comparison {
  /** How often each deviation was met, by name. */
  readonly deviations: ReadonlyMap<string, number>;
  /** What no deviation explains. */
  readonly difference: Difference | undefined;
  /** Steps that were compared: a deviation that lasts ends it. */
  readonly compared: number;
}

/** Compares what was seen of QEMU's device and of ours. */
export function compare(program: Program, theirs: Transcript, ours: Transcript): Comparison {
  const deviations = new Map<string, number>();
  const count = (name: string): void => void deviations.set(name, (deviations.get(name) ?? 0) + 1);
  const explain = (difference: Difference): Deviation | undefined => {
    const found = DEVIATIONS.find((deviation) =>
      deviation.explains(difference) && (deviation.lasts || hasSameState(difference))
    );
    if (found !== undefined) count(found.name);
    return found;
  };
  const recorded = { theirs: [] as EventRecord[], ours: [] as EventRecord[] };
  let taken = { theirs: 0, ours: 0 };
  for (const [index, step] of program.steps.entries()) {
    const earlier = { theirs: [...recorded.theirs], ours: [...recorded.ours] };
    recorded.theirs.push(...theirs.seen[index].events);
    recorded.ours.push(...ours.seen[index].events);
    if (step.kind === "drain") {
      taken = { theirs: recorded.theirs.length, ours: recorded.ours.length };
    }
    if (isSame(theirs.seen[index], ours.seen[index])) continue;
    const pair = { theirs: rewritten(theirs.seen[index], step, count), ours: ours.seen[index] };
    if (isSame(pair.theirs, pair.ours)) continue;
    const difference: Difference = {
      kind: "step",
      program,
      index,
      step,
      earlier,
      taken,
      ...pair,
    };
    const found = explain(difference);
    if (found === undefined) return { deviations, difference, compared: index };
    if (found.lasts) return { deviations, difference: undefined, compared: index + 1 };
  }
  const compared = program.steps.length;
  const at = firstDifference(theirs.memory, ours.memory);
  if (at === undefined) return { deviations, difference: undefined, compared };
  const difference: Difference = {
    kind: "memory",
    program,
    index: compared,
    gpa: WINDOW.base + at,
    theirs: quadAt(theirs.memory, at),
    ours: quadAt(ours.memory, at),
  };
  return { deviations, difference: explain(difference) ? undefined : difference, compared };
}

/** What outlives a step is the same on both sides. */
function hasSameState(difference: Difference): boolean {
  if (difference.kind === "memory") return false;
  const { theirs, ours } = difference;
  return ["GERROR", "EVENTQ_PROD.OVFLG"].every((name) => theirs.values[name] === ours.values[name]);
}

function rewritten(seen: Seen, step: Step, count: (name: string) => void): Seen {
  const events = REWRITES.reduce((records, { name, events }) => {
    const changed = events(records, step);
    if (changed !== records) count(name);
    return changed;
  }, seen.events);
  return { ...seen, events };
}

function isEqualBytes(one: Uint8Array, other: Uint8Array): boolean {
  return Buffer.compare(one, other) === 0;
}

function isSame(one: Seen, other: Seen): boolean {
  return JSON.stringify(one) === JSON.stringify(other);
}

/** Where two pieces of memory differ first, as the offset of a quad. */
function firstDifference(
  one: Uint8Array<ArrayBuffer>,
  other: Uint8Array<ArrayBuffer>,
): number | undefined {
  if (isEqualBytes(one, other)) return undefined;
  const [a, b] = [one, other].map(({ buffer }) => new BigUint64Array(buffer));
  for (let i = 0; i < a.length; i++) if (a[i] !== b[i]) return i * 8;
  return undefined;
}

function quadAt(bytes: Uint8Array<ArrayBuffer>, offset: number): bigint {
  return new DataView(bytes.buffer).getBigUint64(offset, true);
}
