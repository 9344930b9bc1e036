/**
 * How many accesses to memory a step may cost, from the architecture: however hostile the tables, a device fetches a
 * structure a level and no more.
 * @module
 */
import { type HowTransferred, MOST_STALLED_BYTES, type Step } from "./step.ts";

/** Levels of tables; each descriptor of stage 1 is found by a walk of stage 2, and so is the page. */
const NESTED_WALK = 4 * (4 + 1) + 4;
/** L1STD and STE; L1CD and CD, each found by stage 2. */
const CONFIGURATION = 2 + 2 * (4 + 1);
/** One page of a transaction, with the updates of a descriptor of each walk, and the record of a fault. */
const PAGE = CONFIGURATION + NESTED_WALK + 7 + 1;
/** A step in which the guest stores meanwhile: each walk may begin again once. */
const RACE = 2;
const SMALLEST_PAGE = 0x1000;
/** L1STD and STE of each stream with hardware, once for each command that names it. */
const HARDWARE = 2 * 2;

/** What was done in a step, by itself and for those who had waited. */
export interface Done {
  /** Commands that were consumed or refused. */
  readonly commands: number;
  /** Of them, CMD_RESUME and CMD_STALL_TERM: each may try one that waits in vain, and CMD_RESUME tries the one that it answers. */
  readonly answers: number;
  /** Transactions that ended, or were told of: each may have had all its pages translated. */
  readonly moved: number;
}

/** The most that a step may cost in which so much was done. */
export function mostAccesses(step: Step, { commands, answers, moved }: Done): number {
  switch (step.do) {
    case "store":
      return 0;
    case "transfer":
      return transferred(step.how, step.sizeBytes) * PAGE * (step.race === undefined ? 1 : RACE);
    case "reset":
    case "restore":
      return 2 * HARDWARE;
    case "write": {
      // Each word may let those who wait be tried, of whom one in vain, and may have one command fail to be fetched.
      const inVain = step.words.length + 2 * answers;
      return step.words.length * (1 + HARDWARE) + commands * (1 + HARDWARE) +
        (moved * pages(MOST_STALLED_BYTES) + inVain) * PAGE;
    }
  }
}

/** A translation request tries three sets of permissions; before it, the STE alone is looked at. */
const TRIES = 3;

function transferred(how: HowTransferred, sizeBytes: number): number {
  if (how === "message" || how === "page request") return pages(4);
  return how === "translation request" ? TRIES + 1 : pages(sizeBytes);
}

function pages(sizeBytes: number): number {
  return Math.ceil(sizeBytes / SMALLEST_PAGE) + 1;
}
