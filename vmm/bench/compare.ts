/**
 * Times two pieces of work in turns, so that both meet the same noise.
 * @module
 */
import { delay } from "@std/async/delay";

/** Nanoseconds that one call of each took: the median over all turns. */
export interface Comparison {
  readonly subjectNs: number;
  readonly yardstickNs: number;
  /** `subjectNs / yardstickNs`. */
  readonly ratio: number;
}

const WARM_UP_MS = 100;
const TURN_MS = 4;

/**
 * Runs `subject` and `yardstick` alternately, `turns` times some milliseconds each. Throws the reason of `signal` when that is
 * aborted.
 */
export async function compare(
  subject: () => void,
  yardstick: () => void,
  signal: AbortSignal,
  turns: number = 60,
): Promise<Comparison> {
  const times = [subject, yardstick].map((work) => ({
    work,
    count: calibrate(work),
    ns: [] as number[],
  }));
  for (let turn = 0; turn < turns; turn++) {
    await delay(0, { signal });
    for (const { work, count, ns } of times) ns.push(time(work, count));
  }
  const [subjectNs, yardstickNs] = times.map(({ ns }) => median(ns));
  return { subjectNs, yardstickNs, ratio: subjectNs / yardstickNs };
}

/** The middle of some numbers. */
export function median(values: readonly number[]): number {
  const sorted = values.toSorted((a, b) => a - b);
  const middle = sorted.length >> 1;
  return sorted.length % 2 === 1 ? sorted[middle] : (sorted[middle - 1] + sorted[middle]) / 2;
}

/** How many calls fill a turn, after the compiler has seen enough of them. */
function calibrate(work: () => void): number {
  const began = performance.now();
  while (performance.now() - began < WARM_UP_MS) work();
  return Math.max(1, Math.round(TURN_MS * 1e6 / time(work, 20)));
}

function time(work: () => void, count: number): number {
  const began = performance.now();
  for (let i = 0; i < count; i++) work();
  return (performance.now() - began) * 1e6 / count;
}
