/**
 * Many programs on both sides, and what came of it.
 * @module
 */
import { EnvironmentError } from "../environment_error.ts";
import { compare, type Comparison } from "./comparison.ts";
import { DEVIATIONS } from "./deviations.ts";
import { generate } from "./generate.ts";
import { cutTo, minimise, type Minimised } from "./minimise.ts";
import type { Program } from "./program.ts";
import { REWRITES } from "./rewrites.ts";
import type { Subject } from "./subject.ts";
import { run } from "./transcript.ts";

/** The two sides. */
export interface Sides {
  readonly theirs: Subject;
  readonly ours: Subject;
}

/** What a campaign does. */
export interface CampaignOptions {
  readonly sides: Sides;
  /** The first seed; the others follow it. */
  readonly seed: number;
  readonly count: number;
  /** Steps of the program that are left, for one program alone. */
  readonly only?: readonly number[] | undefined;
  /** After so many differences it ends. */
  readonly most: number;
  /** Told after each program. */
  readonly onProgram?: (done: number) => void;
}

/** What came of it. */
export interface CampaignResult {
  readonly programs: number;
  /** Steps of all programs, and how many of them were compared. */
  readonly steps: number;
  readonly compared: number;
  /** Deviations of QEMU by name, and how often each was met. */
  readonly deviations: ReadonlyMap<string, number>;
  /** Differences that no deviation explains, cut down. */
  readonly differences: readonly Minimised[];
}

/** So many programs meet nearly every deviation. */
export const LONG_RUN = 2000;

/** Runs the programs of `count` seeds. Throws what a subject throws. */
export async function campaign(options: CampaignOptions): Promise<CampaignResult> {
  const { sides, seed, count, only, most } = options;
  const deviations = new Map<string, number>();
  const differences: Minimised[] = [];
  let steps = 0;
  let compared = 0;
  let programs = 0;
  while (programs < count && differences.length < most) {
    const whole = generate(seed + programs);
    const program = only === undefined ? whole : cutTo(whole, only);
    const comparison = await trial(program, sides).catch((error) => {
      if (!(error instanceof EnvironmentError)) throw error;
      throw new EnvironmentError(
        `Cannot finish the program of seed ${program.seed}: ${error.message}`,
      );
    });
    for (const [name, times] of comparison.deviations) {
      deviations.set(name, (deviations.get(name) ?? 0) + times);
    }
    steps += program.steps.length;
    compared += comparison.compared;
    const { difference } = comparison;
    if (difference !== undefined) {
      const kept = program.steps.map((_, i) => i);
      differences.push(
        only === undefined
          ? await minimise(program, difference, (cut) => trial(cut, sides))
          : { program, kept: only ?? kept, difference },
      );
    }
    programs++;
    options.onProgram?.(programs);
  }
  return { programs, steps, compared, deviations, differences };
}

/** Deviations that were never met: QEMU may have been mended, or the programs no longer get there. */
export function stale({ deviations }: CampaignResult): string[] {
  return [...REWRITES, ...DEVIATIONS].map(({ name }) => name)
    .filter((name) => !deviations.has(name));
}

async function trial(program: Program, { theirs, ours }: Sides): Promise<Comparison> {
  const own = await run(program, ours);
  return compare(program, await run(program, theirs), own);
}
