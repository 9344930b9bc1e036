/**
 * Deviations of stream tables, STEs and CDs.
 * @module
 */
import { get, getAddress } from "../../../hw/bits.ts";
import { CD } from "../../../hw/smmuv3/spec/cd.ts";
import { CLASS, EVENT } from "../../../hw/smmuv3/spec/events.ts";
import { CR2, REG } from "../../../hw/smmuv3/spec/registers.ts";
import { STE } from "../../../hw/smmuv3/spec/ste.ts";
import type { Deviation } from "./deviation.ts";
import {
  field,
  hasSameResult,
  hasWritten,
  isEvents,
  isTransfer,
  last,
  ofStep,
  type StepDifference,
  written,
} from "./evidence.ts";
import {
  cdOf,
  hasStage1,
  hasStage2,
  isNested,
  spanOf,
  stage1Sizes,
  stage2Start,
  steOf,
} from "./structures.ts";

const OAS_BITS = 44;
/** Output sizes in bits by STE.S2PS, as far as QEMU has them. */
const SIZES: readonly number[] = [32, 36, 40, 42, 44, 44];
/** Significant bits of an address at least, without IDR3.STT. */
const LEAST_INPUT = 25;

/** All of them. */
export const CONFIGURATION: readonly Deviation[] = [
  {
    name: "C_BAD_STREAMID without RECINVSID",
    reason: "QEMU records C_BAD_STREAMID whatever CR2.RECINVSID says",
    section: "§6.3.12 CR2.RECINVSID",
    lasts: false,
    explains: ofStep((difference) =>
      isEvents(difference, [EVENT.C_BAD_STREAMID], []) && hasSameResult(difference) &&
      !recordsBadStreams(difference)
    ),
  },
  {
    name: "StreamID beyond the span",
    reason: "QEMU says C_BAD_STE where the second-level table has no such entry",
    section: "§7.3.3 C_BAD_STREAMID",
    lasts: false,
    explains: ofStep((difference) => {
      const seen = last(difference);
      return isTransfer(difference.step) && isBeyondSpan(difference) &&
        seen.theirs === EVENT.C_BAD_STE && hasSameResult(difference) &&
        seen.ours === (recordsBadStreams(difference) ? EVENT.C_BAD_STREAMID : 0);
    }),
  },
  {
    name: "one entry more in a span",
    reason: "QEMU takes 2^Span second-level entries where there are 2^(Span-1)",
    section: "§5.1 L1STD.Span",
    lasts: true,
    explains: ofStep((difference) =>
      isTransfer(difference.step) && isBeyondSpan(difference) &&
      last(difference).ours === (recordsBadStreams(difference) ? EVENT.C_BAD_STREAMID : 0) &&
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
    explains: theyRefuse(EVENT.C_BAD_STE, (ste) => get(ste, STE.S1CDMax) !== 0),
  },
  {
    name: "S1STALLD without stage 1",
    reason: "QEMU refuses it also where stage 1 is bypassed",
    section: "§5.2 STE.S1STALLD: IGNORED",
    lasts: true,
    explains: theyRefuse(
      EVENT.C_BAD_STE,
      (ste) => get(ste, STE.S1STALLD) === 1 && !hasStage1(ste),
    ),
  },
  {
    name: "S2HA and S2HD without HTTU",
    reason: "QEMU passes over them",
    section: "§5.2 STE.S2HA: ILLEGAL",
    lasts: true,
    explains: weRefuse((ste) =>
      hasStage2(ste) && (get(ste, STE.S2HA) === 1 || get(ste, STE.S2HD) === 1)
    ),
  },
  {
    name: "S2T0SZ held against S2PS",
    reason: "QEMU wants an input of stage 2 that is no wider than S2PS says of its output",
    section: "§5.2 STE.S2T0SZ: at least MAX(16, 64-IAS)",
    lasts: true,
    explains: theyRefuse(
      EVENT.C_BAD_STE,
      (ste) => hasStage2(ste) && 64 - get(ste, STE.S2T0SZ) > (SIZES[get(ste, STE.S2PS)] ?? 0),
    ),
  },
  {
    name: "start level of too small an input",
    reason: "QEMU only checks that no more than 16 tables are concatenated",
    section: "§5.2 STE.S2SL0; DDI 0487 D8.2.3",
    lasts: true,
    explains: weRefuse((ste) => hasStage2(ste) && stage2Start(ste).indexBits < 1),
  },
  {
    name: "no small translation tables",
    reason: "QEMU's TxSZ goes to 39, ours to 48",
    section: "§5.4 CD.T0SZ, §5.2 STE.S2T0SZ, with IDR3.STT",
    lasts: true,
    explains: ofStep((difference) =>
      isRefusal(difference, "theirs", EVENT.C_BAD_CD) &&
        stage1Sizes(cdOf(difference)).some((bits) => bits < LEAST_INPUT) ||
      isRefusal(difference, "theirs", EVENT.C_BAD_STE) &&
        64 - get(steOf(difference), STE.S2T0SZ) < LEAST_INPUT
    ),
  },
  {
    name: "S1ContextPtr beyond the OAS",
    reason: "QEMU fetches the CD from there and fails; to ours the STE is ILLEGAL",
    section: "§3.4.3 Address sizes of SMMU-originated accesses",
    lasts: false,
    explains: ofStep((difference) =>
      isRefusal(difference, "ours", EVENT.C_BAD_STE) && hasSameResult(difference) &&
      getAddress(steOf(difference), STE.S1ContextPtr) >= 2 ** OAS_BITS
    ),
  },
  {
    name: "S2R for both stages",
    reason: "QEMU asks STE.S2R whether to record faults of stage 1 where stage 2 follows",
    section: "§5.4 CD.R, §5.2 STE.S2R",
    lasts: false,
    explains: ofStep((difference) => {
      const { theirs, ours } = difference;
      const [record] = [...theirs.events, ...ours.events];
      return isTransfer(difference.step) && theirs.events.length + ours.events.length === 1 &&
        hasSameResult(difference) && isNested(steOf(difference)) &&
        get(steOf(difference), STE.S2R) !== get(cdOf(difference), CD.R) &&
        (field(record, "S2") === 0 || field(record, "CLASS") === CLASS.TT);
    }),
  },
];

/** One side ends a transfer with this event, and the other does not. */
function isRefusal(difference: StepDifference, by: "theirs" | "ours", event: number): boolean {
  const seen = last(difference);
  return isTransfer(difference.step) && seen[by] === event && (seen.theirs !== seen.ours);
}

/** QEMU finds an STE or CD ILLEGAL that is legal to ours, for what the STE says. */
function theyRefuse(event: number, test: (ste: Uint32Array) => boolean): Deviation["explains"] {
  return ofStep((difference) => isRefusal(difference, "theirs", event) && test(steOf(difference)));
}

/** Ours finds an STE ILLEGAL that is legal to QEMU. */
function weRefuse(test: (ste: Uint32Array) => boolean): Deviation["explains"] {
  return ofStep((difference) =>
    isRefusal(difference, "ours", EVENT.C_BAD_STE) && test(steOf(difference))
  );
}

/** There are second-level entries, but none for this stream. */
function isBeyondSpan(difference: StepDifference): boolean {
  const { index, span } = spanOf(difference) ?? { index: 0, span: 0 };
  return span > 0 && index >= 2 ** (span - 1);
}

function recordsBadStreams(difference: StepDifference): boolean {
  return ((written(difference, REG.CR2.offset) ?? 0) & 1 << CR2.RECINVSID.low) !== 0;
}
