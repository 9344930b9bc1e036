/**
 * A fault told in words: who wanted what, what stood in the way, and how the device came there.
 * @module
 */
import { get, getAddress } from "../../../hw/bits.ts";
import { Context, Mode } from "../../../hw/smmuv3/configuration/context.ts";
import type { Features } from "../../../hw/smmuv3/features.ts";
import { CD } from "../../../hw/smmuv3/spec/cd.ts";
import { DESCRIPTOR } from "../../../hw/smmuv3/spec/descriptors.ts";
import { Config, STE } from "../../../hw/smmuv3/spec/ste.ts";
import { hex, hexQuad, pciAddress } from "./naming.ts";

/** A record that the device fetched on its way. */
export interface Fetched {
  /** Where it is, in bytes. */
  readonly gpa: number;
  /** How long it is: what kind of record it can be. */
  readonly sizeBytes: number;
  /** What it holds; nothing when no RAM is there. */
  readonly words: Uint32Array | undefined;
}

/** A step on the way of a transaction, for people. */
export interface Step {
  /** `L1STD`, `STE`, `CD`, or `level 0` and so on for a descriptor of the tables; `descriptor 1` where stage 2 translates too. */
  readonly what: string;
  /** Where it is, as hexadecimal. */
  readonly gpa: string;
  /** Its first quad as hexadecimal; null when no RAM is there. */
  readonly value: string | null;
  /** What it says. */
  readonly says: string;
}

/** What is known when a transaction ends badly. */
export interface Circumstances {
  /** Since the recording began. */
  readonly seconds: number;
  /** Line of the trace. */
  readonly line: number;
  /** What was wanted. */
  readonly access: "read" | "write" | "message";
  /** Who wanted it. */
  readonly streamId: number;
  /** -1 without one. */
  readonly substreamId: number;
  /** Input address of what failed, two words. */
  readonly iova: readonly [lo: number, hi: number];
  /** The manual's name of the event; null when the device has none for it. */
  readonly event: string | null;
  /** Whether the guest was told by a record in its event queue. */
  readonly recorded: boolean;
  /** The STE that decided, if any was fetched. */
  readonly ste: Fetched | undefined;
  /** The CD that decided, if any was fetched. */
  readonly cd: Fetched | undefined;
  /** Level 1 stream table descriptor, when it is the end of the way. */
  readonly l1std: Fetched | undefined;
  /** Descriptors of the walk, from the first level on. */
  readonly walk: readonly Fetched[];
  /** SMMU_CR0.SMMUEN. */
  readonly isEnabled: boolean;
  /** The SMMU ended it; otherwise it got through, and nothing was there. */
  readonly isAborted: boolean;
}

/** A fault, ready for people and for JSON. */
export interface FaultStory {
  /** Since the recording began. */
  readonly seconds: number;
  /** Line of the trace. */
  readonly line: number;
  /** The manual's name of the event, such as `F_TRANSLATION`; null when the guest is told nothing. */
  readonly event: string | null;
  /** Whether the event came into the queue; false when that was full or off. */
  readonly recorded: boolean;
  /** Whose transaction it was. */
  readonly streamId: number;
  /** Null without one. */
  readonly substreamId: number | null;
  /** As Linux writes it; null when the StreamID is no requester ID. */
  readonly pciAddress: string | null;
  /** What was wanted. */
  readonly access: "read" | "write" | "message";
  /** Input address, as hexadecimal. */
  readonly iova: string;
  /** What stood in the way, such as `the level 0 descriptor at 0x40005000 is invalid`. */
  readonly reason: string;
  /** All of it in one sentence. */
  readonly text: string;
  /** What the device found on its way, up to what stopped it. */
  readonly steps: readonly Step[];
}

const DID = { read: "read from", write: "wrote to", message: "sent a message to" } as const;

/** Tells it. */
export function tellFault(known: Circumstances, features: Features): FaultStory {
  const { seconds, line, event, recorded, streamId, substreamId, access } = known;
  const iova = hexQuad(...known.iova);
  const context = contextOf(known, features);
  const steps = stepsOf(known, context);
  const reason = reasonOf(known, context, features);
  const address = pciAddress(streamId) ?? null;
  const who = `StreamID ${hex(streamId)}${address === null ? "" : ` (${address})`}` +
    (substreamId < 0 ? "" : `, SubstreamID ${substreamId},`);
  const told = event ?? "no event";
  return {
    seconds,
    line,
    event,
    recorded,
    streamId,
    substreamId: substreamId < 0 ? null : substreamId,
    pciAddress: address,
    access,
    iova,
    reason,
    text: `${who} ${DID[access]} IOVA ${iova}: ${reason} (${told}${
      event !== null && !recorded ? ", dropped: the event queue was full or off" : ""
    })`,
    steps,
  };
}

function contextOf({ ste, cd, streamId, substreamId }: Circumstances, features: Features):
  | Context
  | undefined {
  if (cd?.words === undefined) return undefined;
  return new Context(streamId, substreamId, Mode.Translate, features, {
    ste: ste?.words,
    cd: cd.words,
  });
}

function reasonOf(
  known: Circumstances,
  context: Context | undefined,
  features: Features,
): string {
  const { ste, cd, l1std, streamId, walk } = known;
  const last = walk.at(-1);
  const place = last === undefined
    ? "the descriptor"
    : `${descriptorName(firstLevel(known, context), walk.length - 1)} at ${hex(last.gpa)}`;
  switch (known.event) {
    case "C_BAD_STREAMID":
      return l1std === undefined
        ? `the stream table is too short for StreamID ${hex(streamId)}`
        : `the L1STD at ${hex(l1std.gpa)} leads to no STE for it`;
    case "F_STE_FETCH":
      return `its ${whereOf("STE", ste ?? l1std)} lies where no RAM is`;
    case "C_BAD_STE":
      return ste?.words && get(ste.words, STE.V) === 0
        ? `its ${whereOf("STE", ste)} is not valid (V=0)`
        : `its ${whereOf("STE", ste)} is illegal on this device`;
    case "F_STREAM_DISABLED":
      return `its ${whereOf("STE", ste)} allows no such transaction (S1DSS)`;
    case "C_BAD_SUBSTREAMID":
      return `its ${whereOf("STE", ste)} has no such substream`;
    case "F_CD_FETCH":
      return `its ${whereOf("CD", cd)} lies where no RAM is`;
    case "C_BAD_CD":
      return cd?.words && get(cd.words, CD.V) === 0
        ? `its ${whereOf("CD", cd)} is not valid (V=0)`
        : `its ${whereOf("CD", cd)} is illegal on this device`;
    case "F_WALK_EABT":
      return `${place} lies where no RAM is`;
    case "F_TRANSLATION":
      return last === undefined ? unreachable(known, context) : `${place} is invalid`;
    case "F_ADDR_SIZE":
      return last === undefined
        ? `the address has more than ${features.oas} bits`
        : `${place} points beyond the output addresses`;
    case "F_ACCESS":
      return `${place} has its access flag clear`;
    case "F_PERMISSION":
      return `${place} ${denial(known, last)}`;
    case "F_BAD_ATS_TREQ":
      return `its ${whereOf("STE", ste)} allows no translation requests (EATS)`;
    case "F_TRANSL_FORBIDDEN":
      return `its ${whereOf("STE", ste)} allows no translated addresses (EATS)`;
    case null:
      return silence(known);
    default:
      return "the device says no more";
  }
}

function whereOf(what: string, fetched: Fetched | undefined): string {
  return fetched === undefined ? what : `${what} at ${hex(fetched.gpa)}`;
}

/** Undefined where stage 2 has a part in the walk: its descriptors are between those of stage 1. */
function firstLevel(
  { iova: [, hi], ste }: Circumstances,
  context: Context | undefined,
): number | undefined {
  const config = ste?.words ? get(ste.words, STE.Config) : Config.Stage1;
  if (config === Config.Stage2 || config === Config.Nested) return undefined;
  return context?.roots[(hi >>> 23) & 1].firstLevel ?? 0;
}

/** What the descriptor after so many others is called. */
function descriptorName(firstLevel: number | undefined, index: number): string {
  return firstLevel === undefined
    ? `descriptor ${index + 1}`
    : `the level ${firstLevel + index} descriptor`;
}

/** Why a walk did not even begin, or was not ours. */
function unreachable({ iova: [lo, hi] }: Circumstances, context: Context | undefined): string {
  const half = (hi >>> 23) & 1;
  const root = context?.roots[half];
  if (root === undefined || root.disabled) {
    return `walks of this half of the addresses are off (CD.EPD${half}=1)`;
  }
  // The upper half counts down from its end; a top byte may be anything (CD.TBI).
  const address = (hi & 0x00ff_ffff) * 2 ** 32 + lo;
  const distance = half === 0 ? address : 2 ** 56 - 1 - address;
  return distance >= 2 ** root.inputBits
    ? `the address is beyond the ${root.inputBits} bits that CD.T${half}SZ allows`
    : "hardware found nothing mapped there, by a walk that no recording has";
}

function denial({ access }: Circumstances, last: Fetched | undefined): string {
  const isReadOnly = last?.words !== undefined && (get(last.words, DESCRIPTOR.AP) & 0b10) !== 0;
  return isReadOnly && access !== "read"
    ? "is read-only"
    : access === "read"
    ? "does not permit to read"
    : "does not permit to write";
}

/** Why a transaction failed of which the guest is told nothing. */
function silence({ isEnabled, isAborted, ste }: Circumstances): string {
  if (!isAborted) return "it got through, to an address where nothing answers";
  if (!isEnabled) return "the SMMU is off, and GBPA aborts or the address is too large";
  const config = ste?.words ? get(ste.words, STE.Config) : undefined;
  if (config !== undefined && config < Config.Bypass) {
    return `its ${whereOf("STE", ste)} aborts everything (Config=${config})`;
  }
  return ste === undefined ? "the stream table has no entry for it" : "it was aborted";
}

function stepsOf(known: Circumstances, context: Context | undefined): Step[] {
  const { l1std, ste, cd, walk } = known;
  const level = firstLevel(known, context);
  const isFault = known.event !== null;
  return [
    ...(l1std ? [step("L1STD", l1std, () => "level 1 of the stream table")] : []),
    ...(ste ? [step("STE", ste, describeSte)] : []),
    ...(cd ? [step("CD", cd, (words) => describeCd(words, context))] : []),
    ...walk.map((fetched, i) =>
      step(
        level === undefined ? `descriptor ${i + 1}` : `level ${level + i}`,
        fetched,
        (words) =>
          level === undefined
            ? describeAny(words)
            : describeDescriptor(words, level + i, isFault && i === walk.length - 1),
      )
    ),
  ];
}

function step(
  what: string,
  { gpa, words }: Fetched,
  describe: (words: Uint32Array) => string,
): Step {
  return {
    what,
    gpa: hex(gpa),
    value: words ? hexQuad(words[0], words[1]) : null,
    says: words ? describe(words) : "no RAM is there",
  };
}

/** An STE in words. */
export function describeSte(words: Uint32Array): string {
  if (get(words, STE.V) === 0) return "not valid (V=0)";
  const config = get(words, STE.Config);
  if (config < Config.Bypass) return `abort (Config=${config})`;
  if (config === Config.Bypass) return "bypass (Config=4)";
  if (config === Config.Stage2) return `stage 2, tables at ${hex(getAddress(words, STE.S2TTB))}`;
  const stages = config === Config.Stage1 ? "stage 1" : "stage 1 and 2";
  return `${stages}, CD at ${hex(getAddress(words, STE.S1ContextPtr))}`;
}

/** A CD in words. */
export function describeCd(words: Uint32Array, context: Context | undefined): string {
  if (get(words, CD.V) === 0) return "not valid (V=0)";
  const used = context?.roots.findIndex(({ disabled }) => !disabled) ?? -1;
  const root = context?.roots[used];
  const tables = root === undefined
    ? "no tables"
    : `TTB${used} at ${hex(root.gpa)}, ${root.inputBits} bits from level ${root.firstLevel}`;
  return `ASID ${get(words, CD.ASID)}, ${tables}`;
}

/** One of a level and a stage that nobody knows. */
function describeAny(words: Uint32Array): string {
  if (get(words, DESCRIPTOR.Valid) === 0) return "invalid: nothing is mapped here";
  return `leads to ${hexQuad(words[0] & ~0xfff, words[1] & 0xffff)}`;
}

function describeDescriptor(words: Uint32Array, level: number, isEnd: boolean): string {
  if (get(words, DESCRIPTOR.Valid) === 0) return "invalid: nothing is mapped here";
  const isTable = get(words, DESCRIPTOR.Table) === 1;
  const output = hexQuad(words[0] & ~0xfff, words[1] & 0xffff);
  if (level < 3 && isTable) return `table at ${output}`;
  const kind = level === 3 ? isTable ? "page" : "reserved encoding" : "block";
  const rights = (get(words, DESCRIPTOR.AP) & 0b10) === 0 ? "read and write" : "read-only";
  const flag = isEnd && get(words, DESCRIPTOR.AF) === 0 ? ", access flag clear" : "";
  return `${kind} at ${output}, ${rights}${flag}`;
}
