/**
 * Where QEMU's SMMUv3 is known to go another way than the architecture, or may.
 * @module
 */
import { EVENT } from "../../hw/smmuv3/spec/events.ts";
import { GERROR, REG } from "../../hw/smmuv3/spec/registers.ts";
import { type Difference, eventNumber, notesOf } from "./difference.ts";
import type { Step } from "./program.ts";

/** A deviation. */
export interface Deviation {
  readonly name: string;
  /** What QEMU does, and why that is not what we do. */
  readonly reason: string;
  /** Where the architecture says what is right. */
  readonly section: string;
  /** The two cannot be compared afterwards. */
  readonly lasts: boolean;
  /** Whether it explains all of a difference. */
  readonly explains: (difference: Difference) => boolean;
}

type StepDifference = Extract<Difference, { kind: "step" }>;

/** Explains only what was seen after a step. */
function ofStep(test: (difference: StepDifference) => boolean): Deviation["explains"] {
  return (difference) => difference.kind === "step" && test(difference);
}

/** Only these values differ. */
function onlyValues({ theirs, ours }: StepDifference, ...names: string[]): boolean {
  const all = [...Object.keys(theirs.values), ...Object.keys(ours.values)];
  return JSON.stringify(theirs.events) === JSON.stringify(ours.events) &&
    all.every((name) => names.includes(name) || theirs.values[name] === ours.values[name]);
}

/** The numbers of the events that came. */
function events({ theirs, ours }: StepDifference): { theirs: number[]; ours: number[] } {
  return { theirs: theirs.events.map(eventNumber), ours: ours.events.map(eventNumber) };
}

function isEvents(difference: StepDifference, theirs: number[], ours: number[]): boolean {
  const seen = events(difference);
  return JSON.stringify(seen) === JSON.stringify({ theirs, ours });
}

function isTransfer(step: Step): step is Extract<Step, { kind: "write" | "fetch" }> {
  return step.kind === "write" || step.kind === "fetch";
}

function isNoted(difference: Difference, pattern: RegExp): boolean {
  return notesOf(difference).some((note) => pattern.test(note));
}

function reads(difference: StepDifference, offset: number): boolean {
  const { step } = difference;
  return step.kind === "read" && step.offset === offset;
}

const OAS_BITS = 44n;
const WRITE_FAILED = 0xdead_0002;
const EVENTQ_ABT = 1 << GERROR.EVENTQ_ABT_ERR.low;

/** All of them. */
export const DEVIATIONS: readonly Deviation[] = [
  {
    name: "newer ID registers",
    reason: "Ours is an SMMUv3.2 with FWB and small translation tables, which QEMU's has not",
    section: "§6.3.4 IDR3.FWB, IDR3.STT; §6.3.8 AIDR",
    lasts: false,
    explains: ofStep((difference) =>
      onlyValues(difference, "value") &&
      (reads(difference, REG.AIDR.offset) || reads(difference, REG.IDR3.offset) &&
          (difference.theirs.values["value"] ^ difference.ours.values["value"]) === 0x300)
    ),
  },
  {
    name: "overflow as an abort",
    reason: "QEMU raises EVENTQ_ABT_ERR when the event queue is full, and never toggles OVFLG",
    section: "§7.4 Event queue overflow",
    lasts: true,
    explains: ofStep((difference) => {
      const { theirs, ours } = difference;
      return isTransfer(difference.step) &&
        (theirs.values["GERROR"] ^ ours.values["GERROR"]) === EVENTQ_ABT &&
        theirs.values["EVENTQ_PROD.OVFLG"] !== ours.values["EVENTQ_PROD.OVFLG"];
    }),
  },
  {
    name: "bypass of any address",
    reason: "QEMU does not check the input of a stream that bypasses stage 1 against the OAS",
    section: "§3.4 Address sizes; §7.3.14 F_ADDR_SIZE",
    lasts: false,
    explains: ofStep((difference) =>
      isTransfer(difference.step) && difference.step.iova >> OAS_BITS !== 0n &&
      isEvents(difference, [], [EVENT.F_ADDR_SIZE]) && onlyResult(difference, WRITE_FAILED)
    ),
  },
  {
    name: "AP[1] ignored",
    reason: "QEMU takes every transaction for a privileged one, and so passes over AP[1]",
    section: "§3.4.2; DDI 0487 D8.4 AP[2:1]",
    lasts: true,
    explains: ofStep((difference) =>
      isTransfer(difference.step) && isNoted(difference, /stage 1 leaf bit 6\b/) &&
      lastEvent(difference, "ours") === EVENT.F_PERMISSION
    ),
  },
];

/** The result is the same, or this one on our side. */
function onlyResult({ theirs, ours }: StepDifference, result: number): boolean {
  const [one, other] = [theirs.values["result"], ours.values["result"]];
  return one === other || other === result;
}

function lastEvent(difference: StepDifference, side: "theirs" | "ours"): number | undefined {
  return events(difference)[side].at(-1);
}
