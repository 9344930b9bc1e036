/**
 * Deviations of stream tables, STEs and CDs.
 * @module
 */
import { CLASS, EVENT } from "../../../hw/smmuv3/spec/events.ts";
import { CR2, REG } from "../../../hw/smmuv3/spec/registers.ts";
import type { Deviation } from "./deviation.ts";
import {
  field,
  hasSameResult,
  hasWritten,
  isEvents,
  isNoted,
  isTransfer,
  last,
  ofStep,
  written,
} from "./evidence.ts";

/** All of them. */
export const CONFIGURATION: readonly Deviation[] = [
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
    name: "S1STALLD without stage 1",
    reason: "QEMU refuses it also where stage 1 is bypassed",
    section: "§5.2 STE.S1STALLD: IGNORED",
    lasts: true,
    explains: ofStep((difference) =>
      isNoted(difference, /STE\.S1STALLD/) && last(difference).theirs === EVENT.C_BAD_STE &&
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
    name: "tables of stage 1 found once",
    reason:
      "QEMU keeps where stage 2 puts TTB0 and TTB1 with the configuration, and TLBIs do not drop that",
    section: "§4.4.3 TLB invalidation of stage 2",
    lasts: true,
    explains: ofStep((difference) => isTransfer(difference.step) && isNoted(difference, /no CFGI/)),
  },
];
