/**
 * Deviations of registers, queues and commands.
 * @module
 */
import { CMD, COMMAND_SIZE, OP } from "../../../hw/smmuv3/spec/commands.ts";
import { EVENT_SIZE } from "../../../hw/smmuv3/spec/events.ts";
import { GERROR, QUEUE_BASE, REG } from "../../../hw/smmuv3/spec/registers.ts";
import { NOWHERE } from "../ground.ts";
import type { Deviation } from "./deviation.ts";
import {
  hasSameResult,
  isNoted,
  isRefused,
  isTransfer,
  ofStep,
  reads,
  type StepDifference,
  written,
} from "./evidence.ts";

const EVENTQ_ABT = 1 << GERROR.EVENTQ_ABT_ERR.low;
/** CMD_TLBI_EL3_ALL and CMD_TLBI_EL3_VA, of the Secure state. */
const EL3 = [0x18, 0x1a] as const;
/** Commands of features that neither has; the EL2 forms are among those that ours takes too. */
const ACCEPTED: readonly number[] = [
  OP.CMD_ATC_INV,
  OP.CMD_PRI_RESP,
  OP.CMD_RESUME,
  OP.CMD_STALL_TERM,
  ...EL3,
];
/** Registers of a queue whose index moves when they are written after all; page 0 has them too. */
const GUARDED: readonly number[] = [
  REG.EVENTQ_PROD.offset,
  REG.EVENTQ_PROD.offset & 0xffff,
  REG.CMDQ_CONS.offset,
];
/** log2 of the entries of a queue there. */
const EVENTS_AT_NOWHERE = 3;
const INDEX_MASK = 0xf_ffff;
const SYNC_CS = 3n << 12n;

/** All of them. */
export const REGISTERS: readonly Deviation[] = [
  {
    name: "newer ID registers",
    reason: "Ours is an SMMUv3.2 with FWB and small translation tables, which QEMU's has not",
    section: "§6.3.4 IDR3.FWB, IDR3.STT; §6.3.8 AIDR",
    lasts: false,
    explains: ofStep((difference) => {
      const { theirs, ours } = difference;
      const changed = theirs.values["value"] ^ ours.values["value"];
      return reads(difference, REG.AIDR.offset) && changed === 3 ||
        reads(difference, REG.IDR3.offset) && changed === 0x300;
    }),
  },
  {
    name: "GBPA after reset",
    reason: "QEMU's reset value has SHCFG 1, use incoming; ours has 0",
    section: "§6.3.14 GBPA: the reset value is IMPLEMENTATION DEFINED",
    lasts: false,
    explains: ofStep((difference) =>
      reads(difference, REG.GBPA.offset) && difference.theirs.values["value"] === 0x1000 &&
      difference.ours.values["value"] === 0
    ),
  },
  {
    name: "registers without guards and masks",
    reason: "QEMU keeps all bits of what is written, also while an enable forbids the write",
    section: "§6.3 Register formats",
    lasts: true,
    explains: ofStep((difference) => {
      const { step } = difference;
      if (step.kind === "register") return GUARDED.includes(step.offset);
      if (step.kind !== "read") return false;
      const source = step.offset === REG.CR0ACK.offset ? REG.CR0.offset : step.offset;
      const value = written(difference, source);
      const seen = difference.theirs.values["value"];
      if (source === REG.CMDQ_CONS.offset) return ((value ?? 0) & INDEX_MASK) === seen;
      // GBPA.Update has gone when the update is done.
      return value === seen || source === REG.GBPA.offset && ((value ?? 0) ^ seen) >>> 31 === 1;
    }),
  },
  {
    name: "indices that contradict each other",
    reason:
      "QEMU consumes up to a CMDQ_PROD that lies further than the queue is long; ours nothing",
    section: "§3.5.1: CONSTRAINED UNPREDICTABLE",
    lasts: true,
    explains: ofStep(({ step }) =>
      step.kind === "register" && step.offset === REG.CMDQ_PROD.offset
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
        theirs.values["EVENTQ_PROD.OVFLG"] === 0 && ours.values["EVENTQ_PROD.OVFLG"] === 1;
    }),
  },
  {
    name: "a queue that is fuller",
    reason: "QEMU has recorded more events for the same transactions, so its queue is full earlier",
    section: "§7.4 Event queue overflow",
    lasts: true,
    explains: ofStep((difference) =>
      (difference.recorded.theirs > difference.recorded.ours ||
        difference.ours.events.length === 0 &&
          isNoted(difference, /silent|unlike|CD\.R\b|S2R|STE\.MEV/)) &&
      (difference.theirs.values["GERROR"] & EVENTQ_ABT) !== 0
    ),
  },
  {
    name: "an index that is ahead",
    reason: "QEMU has recorded more events for the same transactions",
    section: "§6.3.95 EVENTQ_PROD",
    lasts: false,
    explains: ofStep((difference) =>
      difference.recorded.theirs !== difference.recorded.ours &&
      (reads(difference, REG.EVENTQ_PROD.offset) || reads(difference, REG.EVENTQ_CONS.offset))
    ),
  },
  {
    name: "merged events",
    reason: "Ours merges equal events where STE.MEV allows it; QEMU never does",
    section: "§3.5.5 Event merging: permitted",
    lasts: false,
    explains: ofStep((difference) =>
      isTransfer(difference.step) && isNoted(difference, /STE\.MEV/) &&
      difference.theirs.events.length === 1 && difference.ours.events.length === 0 &&
      hasSameResult(difference)
    ),
  },
  {
    name: "commands of absent features",
    reason: "QEMU accepts commands of ATS, PRI and stalls without them, CS 3, and SSec in most",
    section: "§4.1.7 Command errors, §4.5 to §4.7",
    lasts: true,
    explains: ofStep(({ step, theirs, ours }) =>
      step.kind === "commands" && isRefused(ours.values) && !isRefused(theirs.values) &&
      step.commands.some(([lo]) => {
        const opcode = Number(lo & BigInt(CMD.Opcode.mask));
        return ACCEPTED.includes(opcode) || (lo & 1n << BigInt(CMD.SSec.low)) !== 0n ||
          (opcode === OP.CMD_SYNC && (lo & SYNC_CS) === SYNC_CS);
      })
    ),
  },
  {
    name: "records of one side that nothing takes",
    reason:
      "Where the event queue has no memory a record that only one of us makes is an abort of one",
    section: "§7.2 Event queue recorded faults and events",
    lasts: true,
    explains: ofStep((difference) =>
      written(difference, REG.EVENTQ_BASE.offset) === NOWHERE + EVENTS_AT_NOWHERE &&
      isTransfer(difference.step) && hasSameResult(difference) &&
      (difference.theirs.values["GERROR"] ^ difference.ours.values["GERROR"]) === EVENTQ_ABT
    ),
  },
  {
    name: "bases of queues as they are written",
    reason: "QEMU does not pass over bits of a base that the size of the queue leaves no room for",
    section: "§6.3.26 CMDQ_BASE.ADDR, §6.3.29 EVENTQ_BASE.ADDR",
    lasts: true,
    explains: ofStep((difference) =>
      isUnaligned(difference, REG.CMDQ_BASE.offset, COMMAND_SIZE) ||
      isUnaligned(difference, REG.EVENTQ_BASE.offset, EVENT_SIZE)
    ),
  },
];

/** The base of a queue that was written last is not a multiple of the queue's size. */
function isUnaligned(difference: StepDifference, offset: number, entryBytes: number): boolean {
  const base = written(difference, offset) ?? 0;
  const log2size = base & QUEUE_BASE.LOG2SIZE.mask;
  return (base & ~QUEUE_BASE.LOG2SIZE.mask) % (entryBytes << log2size) !== 0;
}
