/**
 * Two transcripts side by side, to the first difference that nothing explains.
 * @module
 */
import { type Deviation, DEVIATIONS } from "./deviations.ts";
import type { Difference } from "./difference.ts";
import { WINDOW } from "./ground.ts";
import type { Program } from "./program.ts";
import type { Seen, Transcript } from "./transcript.ts";

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
  const explain = (difference: Difference): Deviation | undefined => {
    const found = DEVIATIONS.find((deviation) => deviation.explains(difference));
    if (found !== undefined) deviations.set(found.name, (deviations.get(found.name) ?? 0) + 1);
    return found;
  };
  for (const [index, step] of program.steps.entries()) {
    const pair = { theirs: theirs.seen[index], ours: ours.seen[index] };
    if (isSame(pair.theirs, pair.ours)) continue;
    const difference: Difference = { kind: "step", program, index, step, ...pair };
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

function isSame(one: Seen, other: Seen): boolean {
  return JSON.stringify(one) === JSON.stringify(other);
}

/** Where two pieces of memory differ first, as the offset of a quad. */
function firstDifference(one: Uint8Array<ArrayBuffer>, other: Uint8Array<ArrayBuffer>): number | undefined {
  const [a, b] = [one, other].map(({ buffer }) => new Float64Array(0).constructor && new BigUint64Array(buffer));
  for (let i = 0; i < a.length; i++) if (a[i] !== b[i]) return i * 8;
  return undefined;
}

function quadAt(bytes: Uint8Array<ArrayBuffer>, offset: number): bigint {
  return new DataView(bytes.buffer).getBigUint64(offset, true);
}
