/**
 * CMD_TLBI_*: what each drops. IHI 0070 §4.4 TLB invalidation.
 * @module
 */
import { get } from "../../bits.ts";
import type { Features } from "../features.ts";
import { OP, TLBI } from "../spec/commands.ts";
import { World } from "../translation/domains.ts";
import type { Command, CommandTarget } from "./command.ts";

const hasStage1 = (_words: Uint32Array, { stage1 }: Features): boolean => stage1;
const hasStage2 = (_words: Uint32Array, { stage2 }: Features): boolean => stage2;

/** §4.4.1.1: a range of one granule without a level is reserved, and so is level 1 of the 16K granule. */
function isRangeLegal(words: Uint32Array, features: Features): boolean {
  const tg = get(words, TLBI.TG);
  if (!features.rangeInvalidation || tg === 0) return true;
  if (get(words, TLBI.NUM) !== 0 || get(words, TLBI.SCALE) !== 0) return true;
  const ttl = get(words, TLBI.TTL);
  return ttl !== 0 && !(tg === 2 && ttl === 1);
}

/** §4.4.2: VMIDs are matched where there is stage 2, and do not exist otherwise. */
function vmidOf(words: Uint32Array, { features }: CommandTarget): number {
  return features.stage2 ? get(words, TLBI.VMID) : 0;
}

/** TTL and Leaf only allow to drop less, so they are not looked at. */
function invalidateRange(
  target: CommandTarget,
  words: Uint32Array,
  world: number,
  vmid: number,
  asid: number,
): void {
  const tg = target.features.rangeInvalidation ? get(words, TLBI.TG) : 0;
  const granule = tg === 0 ? 0x1000 : 0x400 << (2 * tg);
  const count = tg === 0 ? 1 : (get(words, TLBI.NUM) + 1) * 2 ** get(words, TLBI.SCALE);
  const lo = (words[2] & 0xffff_f000) >>> 0;
  const hi = world === World.Stage2 ? words[3] & 0x000f_ffff : withoutTag(words[3]);
  target.tlb.invalidateRange(lo, hi, granule * count, world, vmid, asid);
}

/** No entry has a tag in its top byte: either it was ignored, or it had to repeat bit 55. */
function withoutTag(hi: number): number {
  return (hi & 0x0080_0000) === 0 ? hi & 0x00ff_ffff : (hi | 0xff00_0000) >>> 0;
}

function nhAll(target: CommandTarget, words: Uint32Array): void {
  if (target.features.stage2) target.tlb.invalidateVmid(World.El1, get(words, TLBI.VMID));
  else target.tlb.invalidateAll();
}

function nhAsid(target: CommandTarget, words: Uint32Array): void {
  target.tlb.invalidateAsid(World.El1, vmidOf(words, target), get(words, TLBI.ASID));
}

function nhVa(target: CommandTarget, words: Uint32Array): void {
  const asid = get(words, TLBI.ASID);
  invalidateRange(target, words, World.El1, vmidOf(words, target), asid);
}

function nhVaa(target: CommandTarget, words: Uint32Array): void {
  invalidateRange(target, words, World.El1, vmidOf(words, target), -1);
}

// Without IDR0.HYP the EL2 forms are CERROR_ILL by §4.4.2.7. OpenBSD, EDK2 and NVIDIA's firmware send them all the same and
// do not recover, so they invalidate what they name as if they were NH commands.

function el2All({ features, tlb }: CommandTarget): void {
  if (!features.hyp) return tlb.invalidateAll();
  tlb.invalidateVmid(World.El2, 0);
  tlb.invalidateVmid(World.El2E2h, 0);
}

function el2Asid(target: CommandTarget, words: Uint32Array): void {
  if (!target.features.hyp) return nhAsid(target, words);
  target.tlb.invalidateAsid(World.El2E2h, 0, get(words, TLBI.ASID));
}

/** §4.4.2.8: what CR2.E2H says decides which world is meant; without it there are no ASIDs. */
function el2Va(target: CommandTarget, words: Uint32Array): void {
  if (!target.features.hyp) return nhVa(target, words);
  if (!target.e2h()) return invalidateRange(target, words, World.El2, 0, -1);
  invalidateRange(target, words, World.El2E2h, 0, get(words, TLBI.ASID));
}

function el2Vaa(target: CommandTarget, words: Uint32Array): void {
  if (!target.features.hyp) return nhVaa(target, words);
  invalidateRange(target, words, target.e2h() ? World.El2E2h : World.El2, 0, -1);
}

function s12VmAll({ tlb }: CommandTarget, words: Uint32Array): void {
  tlb.invalidateVmid(World.El1, get(words, TLBI.VMID));
  tlb.invalidateVmid(World.Stage2, get(words, TLBI.VMID));
}

/** §4.4.3.1: what comes of both stages together stays. */
function s2Ipa(target: CommandTarget, words: Uint32Array): void {
  invalidateRange(target, words, World.Stage2, get(words, TLBI.VMID), -1);
}

/** The rows of the table. */
export const TLB_INVALIDATION: Readonly<Record<number, Command>> = {
  [OP.CMD_TLBI_NH_ALL]: {
    name: "CMD_TLBI_NH_ALL",
    hardware: "all",
    legal: hasStage1,
    run: nhAll,
  },
  [OP.CMD_TLBI_NH_ASID]: {
    name: "CMD_TLBI_NH_ASID",
    hardware: "all",
    legal: hasStage1,
    run: nhAsid,
  },
  [OP.CMD_TLBI_NH_VA]: {
    name: "CMD_TLBI_NH_VA",
    hardware: "all",
    legal: (words, features) => features.stage1 && isRangeLegal(words, features),
    run: nhVa,
  },
  [OP.CMD_TLBI_NH_VAA]: {
    name: "CMD_TLBI_NH_VAA",
    hardware: "all",
    legal: (words, features) => features.stage1 && isRangeLegal(words, features),
    run: nhVaa,
  },
  [OP.CMD_TLBI_EL2_ALL]: { name: "CMD_TLBI_EL2_ALL", hardware: "all", run: el2All },
  [OP.CMD_TLBI_EL2_ASID]: { name: "CMD_TLBI_EL2_ASID", hardware: "all", run: el2Asid },
  [OP.CMD_TLBI_EL2_VA]: {
    name: "CMD_TLBI_EL2_VA",
    hardware: "all",
    legal: isRangeLegal,
    run: el2Va,
  },
  [OP.CMD_TLBI_EL2_VAA]: {
    name: "CMD_TLBI_EL2_VAA",
    hardware: "all",
    legal: isRangeLegal,
    run: el2Vaa,
  },
  [OP.CMD_TLBI_S12_VMALL]: { name: "CMD_TLBI_S12_VMALL", legal: hasStage2, run: s12VmAll },
  [OP.CMD_TLBI_S2_IPA]: {
    name: "CMD_TLBI_S2_IPA",
    legal: (words, features) => features.stage2 && isRangeLegal(words, features),
    run: s2Ipa,
  },
  [OP.CMD_TLBI_NSNH_ALL]: {
    name: "CMD_TLBI_NSNH_ALL",
    hardware: "all",
    run: ({ tlb }) => tlb.invalidateAll(),
  },
};
