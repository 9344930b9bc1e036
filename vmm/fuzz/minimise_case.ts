/**
 * A failing case made small: steps are left out, and stores of steps, in ever smaller pieces, while it still fails in the
 * same way.
 * @module
 */
import type { MakeDevice } from "./fuzzed_device.ts";
import { playCase } from "./play_case.ts";
import type { FuzzCase, Step } from "./step.ts";
import type { WatchedMemory } from "./watched_memory.ts";

const MOST_TRIES = 3000;

/** The smallest case that was found, and how it fails. */
export function minimiseCase(
  whole: FuzzCase,
  memory: WatchedMemory,
  make: MakeDevice,
): { readonly case: FuzzCase; readonly message: string } {
  const play = (steps: readonly Step[]): string | undefined =>
    playCase({ ...whole, steps }, memory, make);
  const message = play(whole.steps);
  if (message === undefined) {
    return { case: whole, message: "It fails only while it is thought up" };
  }
  let tries = 0;
  const fails = (steps: readonly Step[]): boolean =>
    ++tries <= MOST_TRIES && kindOf(play(steps)) === kindOf(message);
  let steps = fewer(whole.steps, fails);
  for (const [i, step] of steps.entries()) {
    if (step.do !== "store") continue;
    const replaced = (stores: typeof step.stores): Step[] =>
      steps.map((other, at) => at === i ? { ...step, stores } : other);
    steps = replaced(fewer(step.stores, (stores) => fails(replaced(stores))));
  }
  return { case: { ...whole, steps }, message: play(steps) ?? message };
}

/** What is left of a list when everything that can go has gone. */
function fewer<T>(all: readonly T[], isEnough: (some: readonly T[]) => boolean): readonly T[] {
  let left = all;
  for (let size = all.length; size >= 1; size = Math.floor(size / 2)) {
    for (let at = 0; at < left.length;) {
      const some = [...left.slice(0, at), ...left.slice(at + size)];
      if (some.length < left.length && isEnough(some)) left = some;
      else at += size;
    }
  }
  return left;
}

/** Numbers may differ: it is the same failure all the same. */
function kindOf(message: string | undefined): string | undefined {
  return message?.replaceAll(/0x[0-9a-f]+|\d+/g, "n");
}
