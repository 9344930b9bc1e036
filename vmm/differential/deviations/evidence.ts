/**
 * What differences are judged by.
 * @module
 */
import { get } from "../../../hw/bits.ts";
import { RECORD } from "../../../hw/smmuv3/spec/events.ts";
import { type Difference, eventNumber, notesOf } from "../difference.ts";
import type { Step } from "../program.ts";
import type { EventRecord } from "../transcript.ts";
import type { Deviation } from "./deviation.ts";

/** What was seen after a step. */
export type StepDifference = Extract<Difference, { kind: "step" }>;

/** Explains only what was seen after a step. */
export function ofStep(test: (difference: StepDifference) => boolean): Deviation["explains"] {
  return (difference) => difference.kind === "step" && test(difference);
}

/** The numbers of the events that came. */
export function events({ theirs, ours }: StepDifference): { theirs: number[]; ours: number[] } {
  return { theirs: theirs.events.map(eventNumber), ours: ours.events.map(eventNumber) };
}

/** These events came, by number, and no others. */
export function isEvents(difference: StepDifference, theirs: number[], ours: number[]): boolean {
  const seen = events(difference);
  return JSON.stringify(seen) === JSON.stringify({ theirs, ours });
}

/** Whether it is a transaction of an endpoint. */
export function isTransfer(step: Step): step is Extract<Step, { kind: "write" | "fetch" }> {
  return step.kind === "write" || step.kind === "fetch";
}

/** What memory holds has a note like this. */
export function isNoted(difference: Difference, pattern: RegExp): boolean {
  return notesOf(difference).some((note) => pattern.test(note));
}

/** The step reads this register. */
export function reads(difference: StepDifference, offset: number): boolean {
  const { step } = difference;
  return step.kind === "read" && step.offset === offset;
}

/** The number of the last event on each side; 0 without. */
export function last(difference: StepDifference): { theirs: number; ours: number } {
  const seen = events(difference);
  return { theirs: seen.theirs.at(-1) ?? 0, ours: seen.ours.at(-1) ?? 0 };
}

/** What came of a transfer is the same on both sides. */
export function hasSameResult({ theirs, ours }: StepDifference): boolean {
  return ["result", "data"].every((name) => theirs.values[name] === ours.values[name]);
}

/** What was written to a register last, before the step of a difference. */
export function written({ program, index }: Difference, offset: number): number | undefined {
  for (let i = index; i >= 0; i--) {
    const step = program.steps[i];
    if (step?.kind !== "register") continue;
    if (step.offset === offset) return Number(BigInt.asUintN(32, step.value));
    if (step.bytes === 8 && step.offset + 4 === offset) return Number(step.value >> 32n);
  }
  return undefined;
}

/** A field of a record; -1 without a record. */
export function field(record: EventRecord | undefined, name: "S2" | "CLASS" | "RnW"): number {
  return record === undefined ? -1 : get(Uint32Array.from(record), RECORD[name]);
}

/** Such a value was written to a register before. */
export function hasWritten(
  { program, index }: Difference,
  offset: number,
  test: (value: number) => boolean,
): boolean {
  return program.steps.slice(0, index).some((step) =>
    step.kind === "register" && step.offset === offset && test(Number(step.value))
  );
}

/** A command was refused. */
export function isRefused(values: Readonly<Record<string, number>>): boolean {
  return Object.keys(values).some((name) => name.includes("refused"));
}

/** The result is the same, or this one on our side. */
export function onlyResult({ theirs, ours }: StepDifference, result: number): boolean {
  const [one, other] = [theirs.values["result"], ours.values["result"]];
  return one === other || other === result;
}
