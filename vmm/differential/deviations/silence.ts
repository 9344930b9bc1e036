/**
 * Faults of which no event tells.
 * @module
 */
import { get } from "../../../hw/bits.ts";
import { CD } from "../../../hw/smmuv3/spec/cd.ts";
import { CR0, REG } from "../../../hw/smmuv3/spec/registers.ts";
import { STE } from "../../../hw/smmuv3/spec/ste.ts";
import { last, type StepDifference, written } from "./evidence.ts";
import { cdOf, hasStage1, hasStage2, steOf } from "./structures.ts";

const EVENTQEN = 1 << CR0.EVENTQEN.low;

/** Our last event is this one, or none is recorded. */
export function isOurs(difference: StepDifference, number: number): boolean {
  return last(difference).ours === number || isSilent(difference);
}

/** No event of ours says why, and none has to. */
export function isSilent(difference: StepDifference): boolean {
  return difference.ours.events.length === 0 && isQuiet(difference);
}

/** The stream's faults are not recorded, or none at all. */
export function isQuiet(difference: StepDifference): boolean {
  if (((written(difference, REG.CR0.offset) ?? 0) & EVENTQEN) === 0) return true;
  const ste = steOf(difference);
  return hasStage1(ste) && get(cdOf(difference), CD.R) === 0 ||
    hasStage2(ste) && get(ste, STE.S2R) === 0;
}
