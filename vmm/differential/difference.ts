/**
 * Where two devices went different ways.
 * @module
 */
import { get } from "../../hw/bits.ts";
import { EVENT, RECORD } from "../../hw/smmuv3/spec/events.ts";
import { PLACE } from "./ground.ts";
import { hex, type Program, type Step, stepText } from "./program.ts";
import type { EventRecord, Seen } from "./transcript.ts";

/** Something of both sides. */
export interface Pair<T> {
  readonly theirs: T;
  readonly ours: T;
}

/** A difference: of what was seen after a step, or of memory at the end. */
export type Difference =
  | {
    readonly kind: "step";
    readonly program: Program;
    /** Which step, counted from 0. */
    readonly index: number;
    readonly step: Step;
    readonly theirs: Seen;
    readonly ours: Seen;
    /** Records that came until then, as they came. */
    readonly earlier: Pair<readonly EventRecord[]>;
    /** How many of them software had taken when it last took any. */
    readonly taken: Pair<number>;
  }
  | {
    readonly kind: "memory";
    readonly program: Program;
    readonly index: number;
    readonly gpa: number;
    readonly theirs: bigint;
    readonly ours: bigint;
  };

const EVENT_NAMES = new Map<number, string>(
  Object.entries(EVENT).map(([name, number]) => [number, name]),
);

/** The number of a record's event. */
export function eventNumber(record: EventRecord): number {
  return get(Uint32Array.from(record), RECORD.ID);
}

/** A record in a line. */
export function eventText(record: EventRecord): string {
  const words = record.map((word) => word.toString(16).padStart(8, "0")).join(" ");
  return `${EVENT_NAMES.get(eventNumber(record)) ?? "no event"} ${words}`;
}

/** The difference in lines for people. */
export function differenceLines(difference: Difference): string[] {
  if (difference.kind === "memory") {
    const { gpa, theirs, ours } = difference;
    return [`  memory at ${hex(gpa)}: QEMU has ${hex(theirs)}, ours ${hex(ours)}`];
  }
  const { step, index, theirs, ours } = difference;
  const lines = [`  step ${index}: ${stepText(step)}`];
  const names = new Set([...Object.keys(theirs.values), ...Object.keys(ours.values)]);
  for (const name of names) {
    const [one, other] = [theirs.values[name], ours.values[name]];
    if (one !== other) lines.push(`    ${name}: QEMU ${value(one)}, ours ${value(other)}`);
  }
  const count = Math.max(theirs.events.length, ours.events.length);
  for (let i = 0; i < count; i++) {
    const [one, other] = [theirs.events[i], ours.events[i]].map((record) =>
      record === undefined ? "nothing" : eventText(record)
    );
    if (one !== other) lines.push(`    event: QEMU ${one}`, `           ours ${other}`);
  }
  return lines;
}

function value(number: number | undefined): string {
  return number === undefined ? "nothing" : hex(number);
}

/**
 * Notes of what memory holds when the step of a difference begins; of descriptors only those on its way, where the step
 * knows them.
 */
export function notesOf({ program, index }: Difference): string[] {
  const notes = new Map<number, string>();
  for (const step of program.steps.slice(0, index)) {
    if (step.kind === "store") notes.set(step.gpa, step.note ?? "");
  }
  const step = program.steps[index];
  const through = step !== undefined && "through" in step ? step.through : undefined;
  return [...notes].filter(([gpa, note]) =>
    note !== "" && (through === undefined || gpa < PLACE.tables || through.includes(gpa))
  ).map(([, note]) => note);
}
