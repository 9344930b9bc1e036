/**
 * A replay of a whole trace: where to begin and to end, what to do about divergences, what to tell on the way.
 * @module
 */
import { RegisterFile } from "../../../hw/smmuv3/register_file.ts";
import { REG } from "../../../hw/smmuv3/spec/registers.ts";
import { type Divergence, divergenceOf, type Found } from "./divergence.ts";
import { operationText, wordsOf } from "./explain.ts";
import type { Operation, TraceHeader } from "../format.ts";
import { type DeviceMaker, Replayer, type ReplaySnapshot } from "./replayer.ts";
import type { Beside } from "./replayer_hardware.ts";
import { TraceError, type TraceLine } from "../trace_file.ts";

/** What to do. */
export interface RunOptions {
  /** Divergences before this line are passed over, and the operations around it told. */
  readonly seek?: number | undefined;
  /** The last line that is replayed. */
  readonly until?: number | undefined;
  /** Goes on after a divergence. */
  readonly all?: boolean;
  /** Begins after this instead of with a fresh device. */
  readonly from?: ReplaySnapshot | undefined;
  /** Makes the device. */
  readonly make?: DeviceMaker | undefined;
  /** Another iommufd beside the model, where the recording has one. */
  readonly beside?: Beside | undefined;
  /** Called for each line; may throw to end the run. */
  readonly onLine?: (line: number) => void;
}

/** Divergences of one kind. */
export interface Kind {
  readonly kind: string;
  readonly first: Divergence;
  /** How many there were. */
  count: number;
}

/** What came of it. */
export interface RunResult {
  /** How many operations were replayed. */
  operations: number;
  /** The last line that was replayed; the header is line 1. */
  line: number;
  /** Divergences by kind, in the order of the first of each. */
  readonly kinds: Kind[];
  /** Divergences before `seek`. */
  passedOver: number;
  /** The operations around `seek`, in words. */
  readonly around: { readonly line: number; readonly what: string }[];
  /** What ended it early: what is wrong with the trace. */
  damage?: Error;
}

/** How many operations are told on each side of `seek`. */
const AROUND = 5;

/** Explaining one takes milliseconds; of more than these, only the number is told. */
const MOST_EXPLAINED = 1000;

/** Replays `lines`. What the trace is damaged by is in the result, after everything before it. */
export async function runReplay(
  header: TraceHeader,
  lines: AsyncIterable<TraceLine> | Iterable<TraceLine>,
  options: RunOptions = {},
): Promise<{ result: RunResult; replayer: Replayer }> {
  const replayer = new Replayer(header, options.make, options.beside);
  if (options.from !== undefined) restore(replayer, options.from);
  const begin = options.from?.line ?? 1;
  const { seek = 0, until = Infinity } = options;
  const result: RunResult = {
    operations: 0,
    line: begin,
    kinds: [],
    passedOver: 0,
    around: [],
  };
  const iterator = lines as AsyncIterable<TraceLine>;
  try {
    for await (const { number, operation } of iterator) {
      if (number <= begin) continue;
      if (number > until) break;
      options.onLine?.(number);
      if (seek > 0 && Math.abs(number - seek) <= AROUND) {
        result.around.push({ line: number, what: operationText(operation) });
      }
      const differences = replayer.step(operation, number);
      result.operations++;
      result.line = number;
      if (differences.length === 0) continue;
      if (number < seek && result.passedOver >= MOST_EXPLAINED) {
        result.passedOver++;
        continue;
      }
      const isCounted = count(result) >= MOST_EXPLAINED;
      if (isCounted) {
        result.kinds.at(-1)!.count++;
        continue;
      }
      const found = divergenceOf(replayer, operation, differences, header.features);
      if (number < seek) result.passedOver++;
      else note(result, found.divergence);
      if (number >= seek && options.all !== true) break;
      resync(replayer, operation, found);
    }
  } catch (error) {
    if (!(error instanceof TraceError)) throw error;
    result.damage = error;
  }
  replayer.end();
  return { result, replayer };
}

function restore(replayer: Replayer, snapshot: ReplaySnapshot): void {
  try {
    replayer.restore(snapshot);
  } catch (error) {
    throw new TraceError(`Cannot begin with the snapshot: ${(error as Error).message}`);
  }
}

function count({ kinds }: RunResult): number {
  return kinds.reduce((sum, { count }) => sum + count, 0);
}

function note({ kinds }: RunResult, first: Divergence): void {
  const known = kinds.find(({ kind }) => kind === first.kind);
  if (known !== undefined) known.count++;
  else kinds.push({ kind: first.kind, first, count: 1 });
}

/**
 * Brings the device as far as it is known to where the recorded one was: what it cached too long is dropped and the
 * operation done again, a register gets the value that was read from it, queue indices move by what was recorded.
 * What was cached but not asked for, and registers that the guest has not read, stay as they are.
 */
export function resync(replayer: Replayer, operation: Operation, { cause, evidence }: Found): void {
  if (cause.repair !== undefined) {
    replayer.again(operation, cause.repair, true);
    return;
  }
  const { device } = replayer;
  if (operation.op === "read") {
    const words = wordsOf(operation.bytes);
    replayer.adjust(
      [...words].map((word, i) => [RegisterFile.resolve(operation.at + i * 4), word]),
    );
    return;
  }
  const registers: [number, number][] = [];
  const { expected, got } = evidence.events;
  if (expected.length !== got.length) {
    const base = device.read32(REG.EVENTQ_BASE.offset);
    const mask = (2 << (base & 31)) - 1;
    const prod = evidence.before[1];
    const moved = ((prod & mask) + expected.length) & mask;
    registers.push([REG.EVENTQ_PROD.offset, ((prod & 0x8000_0000) | moved) >>> 0]);
  }
  if (operation.op === "write" && operation.at === REG.CMDQ_PROD.offset) {
    const prod = device.read32(REG.CMDQ_PROD.offset);
    if (operation.fetches !== evidence.outcome.fetches.length) {
      registers.push([REG.CMDQ_CONS.offset, prod]);
    }
  }
  if (registers.length > 0) replayer.adjust(registers);
}
