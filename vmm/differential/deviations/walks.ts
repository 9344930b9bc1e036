/**
 * Deviations of walks and cached translations.
 * @module
 */
import { get } from "../../../hw/bits.ts";
import { CD } from "../../../hw/smmuv3/spec/cd.ts";
import { CLASS, EVENT } from "../../../hw/smmuv3/spec/events.ts";
import { Config, STE } from "../../../hw/smmuv3/spec/ste.ts";
import { eventNumber } from "../difference.ts";
import type { Deviation } from "./deviation.ts";
import {
  field,
  hasSameResult,
  isEvents,
  isNoted,
  isTransfer,
  last,
  ofStep,
  onlyResult,
} from "./evidence.ts";
import { isOurs } from "./silence.ts";
import { cdOf, hasStage1, hasStage2, stage2Start, steOf } from "./structures.ts";

const OAS_BITS = 44n;
const WRITE_FAILED = 0xdead_0002;
/** Physical addresses at which QEMU's board has something besides RAM. `hw/arm/virt.c` */
const BOARD: readonly (readonly [bigint, bigint])[] = [
  [0n, 0x4000_0000n],
  [0x40_0000_0000n, 0x41_0000_0000n],
  [0x80_0000_0000n, 0x100_0000_0000n],
];

/** All of them. */
export const WALKS: readonly Deviation[] = [
  {
    name: "bypass of any address",
    reason: "QEMU does not check the input of a stream that bypasses stage 1 against the OAS",
    section: "§3.4 Address sizes; §7.3.14 F_ADDR_SIZE",
    lasts: false,
    explains: ofStep((difference) =>
      isTransfer(difference.step) && difference.step.iova >> OAS_BITS !== 0n &&
      !hasStage1(steOf(difference)) &&
      isEvents(difference, [], [EVENT.F_ADDR_SIZE]) && onlyResult(difference, WRITE_FAILED)
    ),
  },
  {
    name: "AP[1] ignored",
    reason:
      "QEMU takes every transaction for a privileged one, and passes over AP[1] and APTable[0]",
    section: "DDI 0487 D8.4.1 AP[2:1], APTable",
    lasts: true,
    explains: ofStep((difference) =>
      isTransfer(difference.step) &&
      isNoted(difference, /stage 1 (leaf bit [16]|table bit (1|61))\b/) &&
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
      difference.step.kind === "fetch" && last(difference).theirs === 0 &&
      hasStage2(steOf(difference)) &&
      isOurs(difference, EVENT.F_PERMISSION) && field(difference.ours.events[0], "S2") !== 0
    ),
  },
  {
    name: "only the first of concatenated tables",
    reason:
      "QEMU aligns the address of the table down to the size of all, and so loses which it is",
    section: "DDI 0487 D8.2.2 Concatenated translation tables",
    lasts: true,
    explains: ofStep((difference) => {
      const { indexBits, stride } = stage2Start(steOf(difference));
      return isTransfer(difference.step) && hasStage2(steOf(difference)) && indexBits > stride;
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
        one.every((word, i) => word === other[i] || i === 6 && isInTable(word, other[i]));
    }),
  },
  {
    name: "something else in QEMU's machine",
    reason: "Where ours has nothing QEMU's board has flash, devices and windows of PCI",
    section: "none: it is no matter of the SMMU",
    lasts: true,
    explains: ofStep((difference) =>
      isTransfer(difference.step) && last(difference).theirs === 0 && last(difference).ours === 0 &&
      BOARD.some(([low, high]) =>
        isTransfer(difference.step) && difference.step.iova >= low && difference.step.iova < high
      )
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
      isTransfer(difference.step) && isNoted(difference, /(table|leaf) bit 4\d/) &&
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
      isTransfer(difference.step) &&
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
      get(steOf(difference), STE.Config) === Config.Stage2 &&
      field(difference.ours.events[0], "S2") === 1 && hasSameResult(difference)
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
        one.every((word, i) => word === other[i] || i === 6 && isInTable(word, other[i]));
    }),
  },
  {
    name: "a table below that is not there",
    reason: "QEMU calls it stage 1's, with the address of the table above",
    section: "§7.3.12 F_WALK_EABT: S2, FetchAddr",
    lasts: false,
    explains: ofStep((difference) => {
      const [one, other] = [difference.theirs.events[0], difference.ours.events[0]];
      return isEvents(difference, [EVENT.F_WALK_EABT], [EVENT.F_WALK_EABT]) &&
        field(one, "CLASS") === CLASS.TT && field(one, "S2") === 0 && field(other, "S2") === 1 &&
        one[4] === other[4] && one[5] === other[5];
    }),
  },
  {
    name: "TBI of TTB0 for both",
    reason: "QEMU asks TBI[0] whether to pass over the top byte of addresses of TTB1 too",
    section: "§5.4 CD.TBI",
    lasts: true,
    explains: ofStep((difference) => {
      const { step } = difference;
      if (!isTransfer(step) || ![0b01, 0b10].includes(get(cdOf(difference), CD.TBI))) return false;
      return (step.iova >> 55n & 1n) === 1n && step.iova >> 56n !== 0xffn;
    }),
  },
  {
    name: "tags in cached translations",
    reason: "QEMU caches by the address with its tag, which a TLBI without it does not find",
    section: "§4.4.1 TLB invalidation by VA; §5.4 CD.TBI",
    lasts: true,
    explains: ofStep((difference) => {
      const { step } = difference;
      if (!isTransfer(step) || (get(cdOf(difference), CD.TBI) & 1) === 0) return false;
      return (step.iova >> 55n & 1n) === 0n && step.iova >> 56n !== 0n;
    }),
  },
];

/** Whether an address is in the table that begins at, or around, another: the largest are of 64 KiB, and concatenated. */
function isInTable(one: number, other: number): boolean {
  return (one ^ other) >>> 0 < 0x8_0000;
}
