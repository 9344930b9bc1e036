/**
 * Runs of a hostile guest, one after the other, each on a device of its own with features of its own.
 * @module
 */
import { chooseFeatures } from "./choose_features.ts";
import { Random } from "../random.ts";
import { FuzzedDevice, type MakeDevice, ours } from "./fuzzed_device.ts";
import { HostileGuest } from "./hostile_guest.ts";
import { minimiseCase } from "./minimise_case.ts";
import { messageOf } from "./play_case.ts";
import { Reach } from "./reach.ts";
import type { FuzzCase, Step } from "./step.ts";
import { WatchedMemory } from "./watched_memory.ts";

/** Steps of a run. */
const RUN_STEPS = 2000;
/** How often what is dearer is looked at. */
const INSPECTION_STEPS = 500;
/** The heap may differ by so much, and not grow: it is never the same twice. */
const MOST_GROWTH = 4 * 2 ** 20;
/** Runs that are needed to say something about the heap. */
const LEAST_RUNS = 40;

/** What did not hold. */
export interface FuzzFailure {
  /** What is wrong. */
  readonly message: string;
  /** Which run of the seed it was. */
  readonly run: number;
  /** The smallest case in which it happens that was found. */
  readonly case: FuzzCase;
}

/** What came of it. */
export interface FuzzResult {
  readonly seed: number;
  readonly steps: number;
  readonly runs: number;
  /** The dearest step: accesses to memory, and as many as it might have needed at most. */
  readonly dearest: { readonly accesses: number; readonly most: number };
  /**
   * By how much the heap grew from the second quarter of the runs to the last, in bytes; absent for few runs, and where
   * garbage cannot be collected at will.
   */
  readonly heapGrowthBytes?: number;
  /** What the guest reached. */
  readonly reach: Reach;
  /** Absent when everything held. */
  readonly failure?: FuzzFailure;
}

/** What to run. */
export interface FuzzOptions {
  readonly seed: number;
  /** How many steps in all. */
  readonly steps: number;
  /** Ends it. */
  readonly signal: AbortSignal;
  /** Makes the device; by default ours. */
  readonly make?: MakeDevice;
  /** Told of the steps that are done, after each run. */
  readonly onRun?: (steps: number) => void;
}

/** Plays until something does not hold, or all steps are done. */
export async function fuzz(
  { seed, steps: count, signal, make = ours, onRun }: FuzzOptions,
): Promise<FuzzResult> {
  const memory = new WatchedMemory();
  const reach = new Reach();
  const dearest = { accesses: 0, most: 0 };
  const heap: number[] = [];
  let done = 0;
  let run = 0;
  const result = (failure?: FuzzFailure): FuzzResult => ({
    seed,
    steps: done,
    runs: run,
    dearest,
    reach,
    ...(heap.length < LEAST_RUNS ? {} : { heapGrowthBytes: growth(heap) }),
    ...(failure === undefined ? {} : { failure }),
  });
  for (; done < count; run++) {
    const steps = Math.min(RUN_STEPS, count - done);
    const played = playRun({ seed, run, steps, memory, reach, dearest, make });
    done += played.case.steps.length;
    if (played.error !== undefined) {
      const smallest = minimiseCase(played.case, memory, make);
      return result({ ...smallest, run });
    }
    if (collect !== undefined) heap.push(heapBytes(collect));
    onRun?.(done);
    // Ctrl-C is heard between runs.
    await new Promise((resolve) => setTimeout(resolve));
    signal.throwIfAborted();
  }
  const { heapGrowthBytes = 0 } = result();
  if (heapGrowthBytes <= MOST_GROWTH) return result();
  const message = `The heap grew by ${heapGrowthBytes} bytes`;
  return result({
    message,
    run,
    case: { features: {}, log2tlbSets: 0, hardware: false, steps: [] },
  });
}

/** What a run is made of. */
interface Run {
  readonly seed: number;
  readonly run: number;
  readonly steps: number;
  readonly memory: WatchedMemory;
  readonly reach: Reach;
  readonly dearest: { accesses: number; most: number };
  readonly make: MakeDevice;
}

/** One run: what was played, and the error that ended it. */
function playRun(
  { seed, run, steps: count, memory, reach, dearest, make }: Run,
): { case: FuzzCase; error?: string } {
  const random = new Random(seed, run);
  const steps: Step[] = [];
  const fuzzCase: FuzzCase = {
    features: chooseFeatures(random),
    log2tlbSets: random.of([0, 2, 6]),
    hardware: random.oneIn(4),
    steps,
  };
  memory.clear();
  try {
    const device = new FuzzedDevice(fuzzCase, memory, make, reach);
    const guest = new HostileGuest(
      random,
      fuzzCase.features,
      (offset) => device.read(offset),
      (gpa) => memory.load(gpa),
    );
    let beginning = guest.begin();
    while (steps.length < count) {
      if (guest.beginsAnew()) beginning = guest.begin();
      const step: Step = beginning.next().value ?? guest.next();
      steps.push(step);
      device.play(step);
      if (device.cost.accesses > dearest.accesses) Object.assign(dearest, device.cost);
      if (steps.length % INSPECTION_STEPS === 0) device.inspect();
    }
    return { case: fuzzCase };
  } catch (error) {
    return { case: fuzzCase, error: messageOf(error) };
  }
}

/** Collects what is not in use; absent unless V8 was started with --expose-gc. */
const collect = (globalThis as { gc?: () => void }).gc;

/** What is in use. */
function heapBytes(collect: () => void): number {
  collect();
  const { heapUsed, external } = Deno.memoryUsage();
  return heapUsed + external;
}

/** The least of the last quarter of the runs, less the least of the second. */
function growth(heap: readonly number[]): number {
  const quarter = Math.floor(heap.length / 4);
  return Math.min(...heap.slice(-quarter)) - Math.min(...heap.slice(quarter, 2 * quarter));
}
