/**
 * Where QEMU's SMMUv3 is known to go another way than the architecture, or may.
 * @module
 */
import { get } from "../../hw/bits.ts";
import { CMD, OP } from "../../hw/smmuv3/spec/commands.ts";
import { CLASS, EVENT, RECORD } from "../../hw/smmuv3/spec/events.ts";
import { CR2, GERROR, REG } from "../../hw/smmuv3/spec/registers.ts";
import { type Difference, eventNumber, notesOf } from "./difference.ts";
import type { Step } from "./program.ts";
import type { EventRecord } from "./transcript.ts";

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

/** The number of the last event on each side; 0 without. */
function last(difference: StepDifference): { theirs: number; ours: number } {
  const seen = events(difference);
  return { theirs: seen.theirs.at(-1) ?? 0, ours: seen.ours.at(-1) ?? 0 };
}

function hasSameResult({ theirs, ours }: StepDifference): boolean {
  return ["result", "data"].every((name) => theirs.values[name] === ours.values[name]);
}

/** No event says why: the streams' faults are not recorded. */
function isSilent({ theirs, ours }: StepDifference): boolean {
  return theirs.events.length === 0 && ours.events.length === 0;
}

/** Our last event is this one, or none is recorded on either side. */
function isOurs(difference: StepDifference, number: number): boolean {
  return last(difference).ours === number || isSilent(difference);
}

/** What was written to a register last, before the step of a difference. */
function written({ program, index }: Difference, offset: number): number | undefined {
  for (let i = index; i >= 0; i--) {
    const step = program.steps[i];
    if (step?.kind !== "register") continue;
    if (step.offset === offset) return Number(BigInt.asUintN(32, step.value));
    if (step.bytes === 8 && step.offset + 4 === offset) return Number(step.value >> 32n);
  }
  return undefined;
}

function field(record: EventRecord | undefined, name: "S2" | "CLASS" | "RnW"): number {
  return record === undefined ? -1 : get(Uint32Array.from(record), RECORD[name]);
}

const OAS_BITS = 44n;
const WRITE_FAILED = 0xdead_0002;
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
const INDEX_MASK = 0xf_ffff;
const SYNC_CS = 3n << 12n;

/** All of them. */
export const DEVIATIONS: readonly Deviation[] = [
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
    name: "C_BAD_STREAMID without RECINVSID",
    reason: "QEMU records C_BAD_STREAMID whatever CR2.RECINVSID says",
    section: "§6.3.12 CR2.RECINVSID",
    lasts: false,
    explains: ofStep((difference) =>
      isEvents(difference, [EVENT.C_BAD_STREAMID], []) && hasSameResult(difference) &&
      ((written(difference, REG.CR2.offset) ?? 0) & 1 << CR2.RECINVSID.low) === 0
    ),
  },
  {
    name: "StreamID beyond the span",
    reason: "QEMU says C_BAD_STE where the second-level table has no such entry",
    section: "§7.3.3 C_BAD_STREAMID",
    lasts: false,
    explains: ofStep((difference) => {
      const seen = last(difference);
      return isNoted(difference, /L1STD/) && seen.theirs === EVENT.C_BAD_STE &&
        (seen.ours === EVENT.C_BAD_STREAMID || seen.ours === 0) && hasSameResult(difference);
    }),
  },
  {
    name: "AP[1] ignored",
    reason:
      "QEMU takes every transaction for a privileged one, and passes over AP[1] and APTable[0]",
    section: "DDI 0487 D8.4.1 AP[2:1], APTable",
    lasts: true,
    explains: ofStep((difference) =>
      isTransfer(difference.step) && isNoted(difference, /stage 1 (leaf bit 6|table bit 61)\b/) &&
      isOurs(difference, EVENT.F_PERMISSION) && field(difference.ours.events[0], "S2") !== 1
    ),
  },
  {
    name: "APTable checked by walks alone",
    reason: "QEMU caches the leaf's own permissions: a write that hits passes over APTable",
    section: "DDI 0487 D8.4.1 APTable",
    lasts: true,
    explains: ofStep((difference) =>
      isTransfer(difference.step) && isNoted(difference, /stage 1 table bit 62\b/) &&
      isOurs(difference, EVENT.F_PERMISSION) && last(difference).theirs === 0
    ),
  },
  {
    name: "APTable before what follows",
    reason: "QEMU reports a write that APTable forbids before it looks at the next table",
    section: "§7.3.22: permissions come last",
    lasts: false,
    explains: ofStep((difference) =>
      isTransfer(difference.step) && isNoted(difference, /stage 1 table bit 62\b/) &&
      last(difference).theirs === EVENT.F_PERMISSION && hasSameResult(difference)
    ),
  },
  {
    name: "IPA of a hit",
    reason: "QEMU says 0 where a cached translation forbids a write at stage 2",
    section: "§7.3.16 F_PERMISSION: IPA",
    lasts: false,
    explains: ofStep((difference) => {
      const [one, other] = [difference.theirs.events[0], difference.ours.events[0]];
      return isEvents(difference, [EVENT.F_PERMISSION], [EVENT.F_PERMISSION]) &&
        one.every((word, i) => i >= 6 ? word === 0 : word === other[i]);
    }),
  },
  {
    name: "reads of a write-only page that hit",
    reason: "QEMU checks only writes against a cached translation",
    section: "DDI 0487 D8.4.2 S2AP",
    lasts: true,
    explains: ofStep((difference) =>
      difference.step.kind === "fetch" && isEvents(difference, [], [EVENT.F_PERMISSION]) &&
      field(difference.ours.events[0], "S2") === 1
    ),
  },
  {
    name: "only the first of concatenated tables",
    reason:
      "QEMU aligns the address of the table down to the size of all, and so loses which it is",
    section: "DDI 0487 D8.2.2 Concatenated translation tables",
    lasts: true,
    explains: ofStep((difference) =>
      isTransfer(difference.step) && isNoted(difference, /concatenated|STE\.S2(T0SZ|SL0|TG)/)
    ),
  },
  {
    name: "S2T0SZ held against S2PS",
    reason: "QEMU wants an input of stage 2 that is no wider than S2PS says of its output",
    section: "§5.2 STE.S2T0SZ: at least MAX(16, 64-IAS)",
    lasts: true,
    explains: ofStep((difference) =>
      isNoted(difference, /S2PS below the input|STE\.S2(PS|T0SZ)/) &&
      last(difference).theirs === EVENT.C_BAD_STE && last(difference).ours !== EVENT.C_BAD_STE
    ),
  },
  {
    name: "start level of too small an input",
    reason: "QEMU only checks that no more than 16 tables are concatenated",
    section: "§5.2 STE.S2SL0; DDI 0487 D8.2.3",
    lasts: true,
    explains: ofStep((difference) =>
      isNoted(difference, /STE\.S2(T0SZ|SL0|TG)/) && last(difference).ours === EVENT.C_BAD_STE &&
      last(difference).theirs !== EVENT.C_BAD_STE
    ),
  },
  {
    name: "no small translation tables",
    reason: "QEMU's TxSZ goes to 39, ours to 48",
    section: "§5.4 CD.T0SZ, with IDR3.STT",
    lasts: true,
    explains: ofStep((difference) =>
      isNoted(difference, /CD\.T[01]SZ/) && last(difference).theirs === EVENT.C_BAD_CD &&
      last(difference).ours !== EVENT.C_BAD_CD
    ),
  },
  {
    name: "S2R for both stages",
    reason: "QEMU asks STE.S2R whether to record faults of stage 1 where stage 2 follows",
    section: "§5.4 CD.R, §5.2 STE.S2R",
    lasts: false,
    explains: ofStep((difference) => {
      const { theirs, ours } = difference;
      return isNoted(difference, /CD\.R\b|STE\.S2R|unlike/) && hasSameResult(difference) &&
        theirs.events.length + ours.events.length === 1 &&
        (field(theirs.events[0] ?? ours.events[0], "S2") === 0 ||
          field(theirs.events[0] ?? ours.events[0], "CLASS") === CLASS.TT);
    }),
  },
  {
    name: "IPA of the table",
    reason: "QEMU says where the table is, not its descriptor, which may be in another page",
    section: "§7.3.13 IPA",
    lasts: false,
    explains: ofStep(({ theirs, ours }) => {
      const [one, other] = [theirs.events[0], ours.events[0]];
      return theirs.events.length === 1 && ours.events.length === 1 &&
        field(one, "CLASS") === CLASS.TT && field(one, "S2") === 1 &&
        one.every((word, i) => i === 6 || word === other[i]);
    }),
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
    name: "one entry more in a span",
    reason: "QEMU takes 2^Span second-level entries where there are 2^(Span-1)",
    section: "§5.1 L1STD.Span",
    lasts: true,
    explains: ofStep((difference) =>
      isTransfer(difference.step) && isNoted(difference, /L1STD/) &&
      [EVENT.C_BAD_STREAMID as number, 0].includes(last(difference).ours) &&
      last(difference).theirs !== EVENT.C_BAD_STREAMID
    ),
  },
  {
    name: "two levels for good",
    reason: "QEMU forgets STRTAB_BASE_CFG.FMT=1 only at a reset",
    section: "§6.3.25 STRTAB_BASE_CFG.FMT",
    lasts: true,
    explains: ofStep((difference) =>
      isTransfer(difference.step) &&
      ((written(difference, REG.STRTAB_BASE_CFG.offset) ?? 0) >>> 16 & 3) !== 1 &&
      hasWritten(difference, REG.STRTAB_BASE_CFG.offset, (value) => (value >>> 16 & 3) === 1)
    ),
  },
  {
    name: "S1CDMax without substreams",
    reason: "QEMU refuses S1CDMax other than 0 where IDR1.SSIDSIZE is 0",
    section: "§5.2 STE.S1CDMax: IGNORED",
    lasts: true,
    explains: ofStep((difference) =>
      isNoted(difference, /STE\.S1CDMax/) && last(difference).theirs === EVENT.C_BAD_STE &&
      last(difference).ours !== EVENT.C_BAD_STE
    ),
  },
  {
    name: "S2HA and S2HD without HTTU",
    reason: "QEMU passes over them",
    section: "§5.2 STE.S2HA: ILLEGAL",
    lasts: true,
    explains: ofStep((difference) =>
      isNoted(difference, /STE\.S2H[AD]/) && last(difference).ours === EVENT.C_BAD_STE &&
      last(difference).theirs !== EVENT.C_BAD_STE
    ),
  },
  {
    name: "blocks at any level",
    reason: "QEMU takes a block descriptor at levels where there is none for a block of that size",
    section: "DDI 0487 D8.3.1 Block descriptors",
    lasts: true,
    explains: ofStep((difference) =>
      isTransfer(difference.step) && isNoted(difference, /table bit 1\b/) &&
      isOurs(difference, EVENT.F_TRANSLATION)
    ),
  },
  {
    name: "tables beyond the output size",
    reason: "QEMU fetches what a table descriptor points at, wherever that is",
    section: "§3.4 Address sizes; §7.3.14 F_ADDR_SIZE",
    lasts: false,
    explains: ofStep((difference) =>
      isTransfer(difference.step) && isNoted(difference, /table bit 4\d/) &&
      [EVENT.F_ADDR_SIZE as number, 0].includes(last(difference).ours) &&
      hasSameResult(difference) &&
      (last(difference).theirs === EVENT.F_WALK_EABT ||
        field(difference.theirs.events[0], "CLASS") === CLASS.TT)
    ),
  },
  {
    name: "permission before address size",
    reason: "QEMU looks at the access flag and at permissions before it looks at the address",
    section: "DDI 0487 D8.15 Priority of faults; §7.3.22",
    lasts: false,
    explains: ofStep((difference) =>
      isTransfer(difference.step) && isNoted(difference, /leaf bit 4\d/) &&
      [EVENT.F_ACCESS as number, EVENT.F_PERMISSION].includes(last(difference).theirs) &&
      last(difference).ours === EVENT.F_ADDR_SIZE && hasSameResult(difference)
    ),
  },
  {
    name: "writes that hit a read-only page of stage 2",
    reason: "QEMU takes it for a fault of stage 1, whose CD.R there is none of",
    section: "§5.2 STE.S2R",
    lasts: false,
    explains: ofStep((difference) =>
      difference.step.kind === "write" && isEvents(difference, [], [EVENT.F_PERMISSION]) &&
      field(difference.ours.events[0], "S2") === 1 && hasSameResult(difference)
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
    name: "S1ContextPtr beyond the OAS",
    reason: "QEMU fetches the CD from there and fails; to ours the STE is ILLEGAL",
    section: "§3.4.3 Address sizes of SMMU-originated accesses",
    lasts: false,
    explains: ofStep((difference) =>
      isNoted(difference, /STE\.S1ContextPtr/) && hasSameResult(difference) &&
      last(difference).ours === EVENT.C_BAD_STE && last(difference).theirs !== EVENT.C_BAD_STE
    ),
  },
  {
    name: "both tables of stage 1 at once",
    reason: "QEMU has stage 2 translate TTB0 and TTB1 when it decodes the CD, whichever is used",
    section: "§3.3.3 Configuration and translation lookup",
    lasts: true,
    explains: ofStep((difference) =>
      isTransfer(difference.step) && isNoted(difference, /CD\.(TTB|EPD)[01]/) &&
      (field(difference.theirs.events.at(-1), "CLASS") === CLASS.TT ||
        difference.theirs.events.length === 0)
    ),
  },
  {
    name: "FetchAddr of the table",
    reason: "QEMU says where the table is, not its descriptor",
    section: "§7.3.12 F_WALK_EABT: FetchAddr",
    lasts: false,
    explains: ofStep(({ theirs, ours }) => {
      const [one, other] = [theirs.events[0], ours.events[0]];
      return theirs.events.length === 1 && ours.events.length === 1 &&
        eventNumber(one) === EVENT.F_WALK_EABT &&
        one.every((word, i) => word === other[i] || i === 6 && (word ^ other[i]) >>> 0 < 0x8_0000);
    }),
  },
  {
    name: "a queue that is fuller",
    reason: "QEMU has recorded more events for the same transactions, so its queue is full earlier",
    section: "§7.4 Event queue overflow",
    lasts: true,
    explains: ofStep((difference) =>
      difference.recorded.theirs > difference.recorded.ours &&
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
];

function hasWritten(
  { program, index }: Difference,
  offset: number,
  test: (value: number) => boolean,
): boolean {
  return program.steps.slice(0, index).some((step) =>
    step.kind === "register" && step.offset === offset && test(Number(step.value))
  );
}

function isRefused(values: Readonly<Record<string, number>>): boolean {
  return Object.keys(values).some((name) => name.includes("refused"));
}

/** The result is the same, or this one on our side. */
function onlyResult({ theirs, ours }: StepDifference, result: number): boolean {
  const [one, other] = [theirs.values["result"], ours.values["result"]];
  return one === other || other === result;
}
