/**
 * The fewest steps of a program that still show its difference.
 * @module
 */
import { STE, STE_SIZE } from "../../hw/smmuv3/spec/ste.ts";
import type { Comparison } from "./comparison.ts";
import { type Difference, eventNumber } from "./difference.ts";
import { PLACE } from "./ground.ts";
import type { Program, Step } from "./program.ts";

/** Runs a program on both sides. */
export type Trial = (program: Program) => Promise<Comparison>;

/** A program that was cut down. */
export interface Minimised {
  readonly program: Program;
  /** Which steps of the whole program are left. */
  readonly kept: readonly number[];
  readonly difference: Difference;
}

const MOST_TRIALS = 400;

/** Cuts `program`, whose difference is given; what is left shows a difference of the same kind. */
export async function minimise(
  program: Program,
  difference: Difference,
  trial: Trial,
): Promise<Minimised> {
  const kind = kindOf(difference);
  let best: Minimised = { program, kept: program.steps.map((_, i) => i), difference };
  let trials = 0;
  const tryWith = async (kept: readonly number[]): Promise<boolean> => {
    trials++;
    const cut = cutTo(program, kept);
    const found = (await trial(cut)).difference;
    if (found === undefined || kindOf(found) !== kind) return false;
    best = { program: cut, kept, difference: found };
    return true;
  };
  // What comes after the difference does not matter.
  await tryWith(best.kept.slice(0, difference.index + 1));
  for (let size = Math.ceil(best.kept.length / 2); size >= 1; size = Math.floor(size / 2)) {
    for (let at = 0; at < best.kept.length && trials < MOST_TRIALS;) {
      const isGone = (i: number): boolean => i >= at && i < at + size;
      const rest = best.kept.filter((step, i) => !isGone(i) || endsQemu(program.steps[step]));
      if (rest.length === best.kept.length || !await tryWith(rest)) at += size;
    }
  }
  return best;
}

/** Without it an STE may say stage 2 without S2AA64, which ends QEMU. */
function endsQemu(step: Step): boolean {
  return step.kind === "store" && step.gpa >= PLACE.streamTable && step.gpa < PLACE.contexts &&
    step.gpa % STE_SIZE === (STE.S2AA64.low >>> 6) * 8;
}

/** A program with some of its steps. */
export function cutTo(program: Program, kept: readonly number[]): Program {
  return { ...program, steps: kept.map((i) => program.steps[i]).filter(isThere) };
}

function isThere(step: Step | undefined): step is Step {
  return step !== undefined;
}

/** Two differences of one kind have one cause, for all that can be told. */
export function kindOf(difference: Difference): string {
  if (difference.kind === "memory") return "memory";
  const { step, theirs, ours } = difference;
  const names = [...new Set([...Object.keys(theirs.values), ...Object.keys(ours.values)])]
    .filter((name) => theirs.values[name] !== ours.values[name]);
  const numbers = [theirs, ours].map(({ events }) => events.map(eventNumber).join());
  return [step.kind, ...names, ...numbers].join(" ");
}

/** Numbers as people write them: `0-3,7`. */
export function rangesText(numbers: readonly number[]): string {
  const parts: string[] = [];
  for (let i = 0; i < numbers.length;) {
    let end = i;
    while (numbers[end + 1] === numbers[end] + 1) end++;
    parts.push(end > i ? `${numbers[i]}-${numbers[end]}` : String(numbers[i]));
    i = end + 1;
  }
  return parts.join(",");
}

/** The numbers of such a text; undefined when it is none. */
export function parseRanges(text: string): number[] | undefined {
  const numbers: number[] = [];
  for (const part of text.split(",")) {
    const [, low, high] = /^(\d{1,6})(?:-(\d{1,6}))?$/.exec(part) ?? [];
    if (low === undefined || Number(high ?? low) < Number(low)) return undefined;
    for (let i = Number(low); i <= Number(high ?? low); i++) numbers.push(i);
  }
  return numbers;
}
