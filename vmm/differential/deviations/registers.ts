/**
 * Deviations of registers, queues and commands.
 * @module
 */
import { get } from "../../../hw/bits.ts";
import { RegisterFile } from "../../../hw/smmuv3/register_file.ts";
import { CMD, COMMAND_SIZE, OP } from "../../../hw/smmuv3/spec/commands.ts";
import { EVENT_SIZE, RECORD } from "../../../hw/smmuv3/spec/events.ts";
import { CR2, GERROR, QUEUE_BASE, REG } from "../../../hw/smmuv3/spec/registers.ts";
import { STE } from "../../../hw/smmuv3/spec/ste.ts";
import { NOWHERE } from "../ground.ts";
import type { Deviation } from "./deviation.ts";
import {
  hasSameResult,
  isRefused,
  isTransfer,
  ofStep,
  reads,
  type StepDifference,
  written,
} from "./evidence.ts";
import { isNested, steOf } from "./structures.ts";

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
/** Registers that can be written at all times. */
const UNGUARDED: readonly number[] = [
  REG.CR0.offset,
  REG.GBPA.offset,
  REG.IRQ_CTRL.offset,
  REG.GERRORN.offset,
  REG.CMDQ_PROD.offset,
  REG.EVENTQ_CONS.offset,
];
/** PRIQEN and ATSCHK, REC_CFG_ATS, PRIQ_IRQEN, and errors of messages and page requests. */
const ABSENT: Readonly<Record<number, number>> = {
  [REG.CR0.offset]: 0x12,
  [REG.CR2.offset]: 0x8,
  [REG.IRQ_CTRL.offset]: 0x2,
  [REG.GERRORN.offset]: 0xf8,
};
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
      if (step.kind === "register") {
        return GUARDED.includes(step.offset) && difference.ours.events.length === 0;
      }
      if (step.kind !== "read") return false;
      const source = step.offset === REG.CR0ACK.offset ? REG.CR0.offset : step.offset;
      const value = written(difference, source) ?? 0;
      const { theirs, ours } = difference;
      return isWritten(source, value, theirs.values["value"]) &&
        isMasked(difference, source, ours.values["value"]);
    }),
  },
  {
    name: "indices that contradict each other",
    reason:
      "QEMU consumes up to a CMDQ_PROD that lies further than the queue is long; ours nothing",
    section: "§3.5.1: CONSTRAINED UNPREDICTABLE",
    lasts: true,
    explains: ofStep((difference) => {
      const { step, ours } = difference;
      const base = written(difference, REG.CMDQ_BASE.offset) ?? 0;
      const most = 2 << (base & QUEUE_BASE.LOG2SIZE.mask);
      return step.kind === "register" && step.offset === REG.CMDQ_PROD.offset &&
        Number(step.value) >= most && ours.events.length === 0;
    }),
  },
  {
    name: "overflow as an abort",
    reason: "QEMU raises EVENTQ_ABT_ERR when the event queue is full, and never toggles OVFLG",
    section: "§7.4 Event queue overflow",
    lasts: true,
    explains: ofStep((difference) => {
      const { theirs, ours } = difference;
      return isTransfer(difference.step) && isOursFull(difference) &&
        theirs.values["EVENTQ_PROD.OVFLG"] === 0 && ours.values["EVENTQ_PROD.OVFLG"] === 1;
    }),
  },
  {
    name: "a queue that is fuller",
    reason: "QEMU has recorded more events for the same transactions, so its queue is full earlier",
    section: "§7.4 Event queue overflow",
    lasts: true,
    explains: ofStep((difference) =>
      isFullForThemAlone(difference) && difference.ours.events.length <= 1 &&
      (ahead(difference) > 0 || difference.ours.events.length === 0 && recordsMore(difference))
    ),
  },
  {
    name: "an index that is ahead",
    reason: "QEMU has recorded more events for the same transactions, or fewer",
    section: "§6.3.95 EVENTQ_PROD",
    lasts: false,
    explains: ofStep((difference) => {
      const { theirs, ours, taken } = difference;
      const distance = theirs.values["value"] - ours.values["value"];
      const isBy = (count: number): boolean =>
        count !== 0 && (distance - count) % eventIndices(difference) === 0;
      const { EVENTQ_PROD, EVENTQ_CONS } = REG;
      return readsIndex(difference, EVENTQ_PROD.offset) && isBy(ahead(difference)) ||
        readsIndex(difference, EVENTQ_CONS.offset) && isBy(taken.theirs - taken.ours);
    }),
  },
  {
    name: "merged events",
    reason: "Ours merges equal events where STE.MEV allows it; QEMU never does",
    section: "§3.5.5 Event merging: permitted",
    lasts: false,
    explains: ofStep((difference) =>
      isTransfer(difference.step) && get(steOf(difference), STE.MEV) === 1 &&
      isEqualToLast(difference) && hasSameResult(difference)
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
    explains: ofStep((difference) => {
      const { step, theirs } = difference;
      const { CMDQ_BASE, EVENTQ_BASE } = REG;
      return step.kind === "commands" &&
          isUnaligned(difference, CMDQ_BASE.offset, COMMAND_SIZE) ||
        theirs.events.length > 0 && isUnaligned(difference, EVENTQ_BASE.offset, EVENT_SIZE);
    }),
  },
];

/** What QEMU has of what was written: all of it, but for bits that say that something is to be done. */
function isWritten(offset: number, value: number, seen: number): boolean {
  if (offset === REG.CMDQ_CONS.offset) return (value & INDEX_MASK) === seen;
  return value === seen || offset === REG.GBPA.offset && (value ^ seen) >>> 31 === 1;
}

/**
 * What ours has: of what was written last the bits that software can write and that are of a feature that there is. Where
 * an enable may have forbidden the write, each bit is of that or an earlier one.
 */
function isMasked(difference: StepDifference, offset: number, seen: number): boolean {
  const at = RegisterFile.resolve(offset);
  if (at === REG.CMDQ_CONS.offset && seen === consumed(difference)) return true;
  const mask = RegisterFile.writable(at) & ~absentBits(at);
  // §6.3.14: a write without Update changes nothing, and the update is complete when it reads 0.
  const isGbpa = at === REG.GBPA.offset;
  const values = writes(difference, offset).filter((value) => !isGbpa || value >>> 31 === 1)
    .map((value) => value & mask & (isGbpa ? 0x7fff_ffff : ~0));
  const [last = 0] = values.slice(-1);
  const candidates = UNGUARDED.includes(at) ? [last] : [0, ...values];
  const [all, any] = [
    candidates.reduce((bits, value) => bits & value, ~0),
    candidates.reduce((bits, value) => bits | value, 0),
  ];
  return (all & ~seen) === 0 && (seen & ~any) === 0;
}

/** CMDQ_CONS after all commands. */
function consumed(difference: StepDifference): number {
  const { program, index } = difference;
  let count = 0;
  for (const step of program.steps.slice(0, index)) {
    if (step.kind === "commands") count += step.commands.length;
    if (step.kind === "register" && step.offset === REG.CMDQ_PROD.offset) {
      count = Number(step.value);
    }
  }
  const base = written(difference, REG.CMDQ_BASE.offset) ?? 0;
  return count % (2 << (base & QUEUE_BASE.LOG2SIZE.mask));
}

/** What was written to a register before, all of it. */
function writes({ program, index }: StepDifference, offset: number): number[] {
  return program.steps.slice(0, index).flatMap((step) => {
    if (step.kind !== "register") return [];
    if (step.offset === offset) return [Number(BigInt.asUintN(32, step.value))];
    return step.bytes === 8 && step.offset + 4 === offset ? [Number(step.value >> 32n)] : [];
  });
}

/** Bits of a register that are there for page requests, ATS or messages. */
function absentBits(offset: number): number {
  const isOfNothing = (offset >= REG.GERROR_IRQ_CFG0.offset && offset < REG.STRTAB_BASE.offset) ||
    (offset >= REG.EVENTQ_IRQ_CFG0.offset && offset <= REG.PRIQ_IRQ_CFG2.offset) ||
    [REG.PRIQ_PROD.offset as number, REG.PRIQ_CONS.offset].includes(offset);
  return isOfNothing ? ~0 : ABSENT[offset] ?? 0;
}

/** The queue of QEMU is full, which it calls an abort, and ours is not. */
function isFullForThemAlone({ theirs, ours }: StepDifference): boolean {
  return (theirs.values["GERROR"] & ~ours.values["GERROR"] & EVENTQ_ABT) !== 0;
}

/** Our queue has no room for another event. */
function isOursFull(difference: StepDifference): boolean {
  const { earlier, taken } = difference;
  return earlier.ours.length - taken.ours >= eventIndices(difference) / 2;
}

/** How many events more than ours QEMU has recorded. */
function ahead({ earlier }: StepDifference): number {
  return earlier.theirs.length - earlier.ours.length;
}

/** QEMU records this one: because of S2R or MEV, or CR2.RECINVSID. */
function recordsMore(difference: StepDifference): boolean {
  const ste = steOf(difference);
  return get(ste, STE.MEV) === 1 || isNested(ste) && get(ste, STE.S2R) === 1 ||
    ((written(difference, REG.CR2.offset) ?? 0) & 1 << CR2.RECINVSID.low) === 0;
}

/** The step reads this register of page 1, there or by its alias in page 0. */
function readsIndex(difference: StepDifference, offset: number): boolean {
  return reads(difference, offset) || reads(difference, offset & 0xffff);
}

/** How many values an index of the event queue has. */
function eventIndices(difference: StepDifference): number {
  return 2 << ((written(difference, REG.EVENTQ_BASE.offset) ?? 0) & QUEUE_BASE.LOG2SIZE.mask);
}

/** QEMU has one event more, which differs from our last one at most in where in the page it was. */
function isEqualToLast({ theirs, ours, earlier }: StepDifference): boolean {
  const [record] = theirs.events;
  const last = earlier.ours.at(-1);
  return theirs.events.length === 1 && ours.events.length === 0 &&
    record.every((word, i) => {
      const inPage = i === RECORD.InputAddrLow.word ? 0xfff : 0;
      return last !== undefined && ((word ^ last[i]) & ~inPage) === 0;
    });
}

/** The base of a queue that was written last is not a multiple of the queue's size. */
function isUnaligned(difference: StepDifference, offset: number, entryBytes: number): boolean {
  const base = written(difference, offset) ?? 0;
  const log2size = base & QUEUE_BASE.LOG2SIZE.mask;
  return (base & ~QUEUE_BASE.LOG2SIZE.mask) % (entryBytes << log2size) !== 0;
}
