/**
 * Deviations where stage 2 is below: QEMU finds the tables of TTB0 and TTB1 through it when it decodes the CD, and only
 * there.
 * @module
 */
import { CLASS, EVENT } from "../../../hw/smmuv3/spec/events.ts";
import type { Deviation } from "./deviation.ts";
import { field, isNoted, isTransfer, last, ofStep } from "./evidence.ts";
import { isOurs, isQuiet, isSilent } from "./silence.ts";
import { cdOf, isNested, stage1Granules, stage2Granule, steOf } from "./structures.ts";

/** All of them. */
export const STAGE_ONE_TABLES: readonly Deviation[] = [
  {
    name: "tables of stage 1 cut to the IPA size",
    reason: "QEMU drops bits beyond CD.IPS of the physical address where stage 2 puts TTB0 or TTB1",
    section: "§5.4 CD.IPS: it is the size of what stage 1 puts out",
    lasts: true,
    explains: ofStep((difference) =>
      isTransfer(difference.step) && isNested(steOf(difference)) &&
      isNoted(difference, /stage 2 (page of tables|table) bit 4\d/) &&
      isOurs(difference, EVENT.F_WALK_EABT) &&
      last(difference).theirs !== EVENT.F_WALK_EABT
    ),
  },
  {
    name: "the rest of a table of stage 1",
    reason:
      "QEMU has stage 2 translate where a table begins; the rest may be in other, smaller pages",
    section: "§3.3.2 Nested translation: the IPA of each descriptor",
    lasts: true,
    explains: ofStep((difference) => {
      const [ste, cd] = [steOf(difference), cdOf(difference)];
      const event = difference.ours.events.at(-1);
      return isTransfer(difference.step) && isNested(ste) &&
        isNoted(difference, /CD\.TG[01]|stage 2 page of tables/) &&
        stage1Granules(cd).some((granule) => granule > stage2Granule(ste)) &&
        (field(event, "S2") === 1 && field(event, "CLASS") === CLASS.TT || isSilent(difference));
    }),
  },
  {
    name: "both tables of stage 1 at once",
    reason: "QEMU has stage 2 translate TTB0 and TTB1 when it decodes the CD, whichever is used",
    section: "§3.3.3 Configuration and translation lookup",
    lasts: true,
    explains: ofStep((difference) =>
      isTransfer(difference.step) && isNested(steOf(difference)) &&
      isNoted(difference, /CD\.(TTB|EPD)[01]|stage 2 (table|page of)/) &&
      (field(difference.theirs.events.at(-1), "CLASS") === CLASS.TT ||
        difference.theirs.events.length === 0 && isQuiet(difference))
    ),
  },
  {
    name: "tables of stage 1 found once",
    reason:
      "QEMU keeps where stage 2 puts TTB0 and TTB1 with the configuration, and TLBIs do not drop that",
    section: "§4.4.3 TLB invalidation of stage 2",
    lasts: true,
    explains: ofStep((difference) =>
      isTransfer(difference.step) && isNested(steOf(difference)) && isNoted(difference, /no CFGI/)
    ),
  },
];
