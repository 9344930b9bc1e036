/**
 * Invalidation commands as Linux takes them from a vSMMU: which bits each may have, and what is refused.
 * As arm_vsmmu_convert_user_cmd() has it; `struct iommu_viommu_arm_smmuv3_invalidate`.
 * @module
 */
import { get } from "../../../hw/bits.ts";
import { CFGI, OP, TLBI } from "../../../hw/smmuv3/spec/commands.ts";

/** What of a physical SMMU decides which commands it takes. */
export interface ArmCommandRules {
  /** Bits of an ASID: 8 or 16. */
  readonly asidBits: number;
  /** Bits of a SubstreamID; 0 without. */
  readonly ssidBits: number;
  /** IDR3.RIL. */
  readonly hasRanges: boolean;
  /** IDR5.DS. */
  readonly hasDs: boolean;
  /** IDR0.ATS. */
  readonly hasAts: boolean;
}

const CMD_ATC_INV = 0x40;
const VMID = 0x0000_ffff;
const LEAF_VA = 0xffff_f001;
const RANGE = 0x01f1_f000;
const RANGE_DS = 0x03f1_f000;
const TTL_TG = 0xf00;
const SUBSTREAM = 0xffff_f000;
const SSV_GLOBAL = 0xa00;
const TG_16K = 2;
const LONGEST_ATC = 52;

/** Bits that a command may have, by word, besides its opcode; undefined for one that is not taken at all. */
function allowed(opcode: number, rules: ArmCommandRules): readonly number[] | undefined {
  const asid = rules.asidBits === 16 ? 0xffff_0000 : 0x00ff_0000;
  const range = !rules.hasRanges ? 0 : rules.hasDs ? RANGE_DS : RANGE;
  const level = rules.hasRanges ? TTL_TG : 0;
  const substream = rules.ssidBits > 0 ? SUBSTREAM : 0;
  switch (opcode) {
    case OP.CMD_TLBI_NSNH_ALL:
      return [0, 0, 0, 0];
    case OP.CMD_TLBI_NH_ALL:
      return [0, VMID, 0, 0];
    case OP.CMD_TLBI_NH_ASID:
      return [0, VMID | asid, 0, 0];
    case OP.CMD_TLBI_NH_VA:
      return [range, VMID | asid, LEAF_VA | level, ~0];
    case OP.CMD_TLBI_NH_VAA:
      return [range, VMID, LEAF_VA | level, ~0];
    case OP.CMD_CFGI_CD:
      return [substream, ~0, 1, 0];
    case OP.CMD_CFGI_CD_ALL:
      return [0, ~0, 0, 0];
    case CMD_ATC_INV:
      if (!rules.hasAts) return undefined;
      return [substream | (substream && SSV_GLOBAL), ~0, 0xffff_f03f, ~0];
  }
}

/** The commands that Linux takes for a physical SMMU. */
export class ArmCommands {
  readonly #rules: ArmCommandRules;
  /** By opcode. */
  readonly #masks: readonly (readonly number[] | undefined)[];

  /** Those of an SMMU of which `rules` hold. */
  constructor(rules: ArmCommandRules) {
    this.#rules = rules;
    this.#masks = Array.from({ length: 256 }, (_, opcode) => allowed(opcode, rules));
  }

  /** Whether Linux takes a command. */
  isTaken(words: Uint32Array): boolean {
    const opcode = words[0] & 0xff;
    const masks = this.#masks[opcode];
    if (masks === undefined) return false;
    if ((words[0] & ~(masks[0] | 0xff)) !== 0) return false;
    for (let i = 1; i < masks.length; i++) if ((words[i] & ~masks[i]) !== 0) return false;
    if (opcode === CMD_ATC_INV) return (words[2] & 0x3f) <= LONGEST_ATC;
    if (opcode !== OP.CMD_TLBI_NH_VA && opcode !== OP.CMD_TLBI_NH_VAA) return true;
    return !this.#rules.hasRanges || isRangeTaken(words, this.#rules);
  }
}

/** Whether a command names a stream. */
export function namesStream(words: Uint32Array): boolean {
  const opcode = words[0] & 0xff;
  return opcode === OP.CMD_CFGI_CD || opcode === OP.CMD_CFGI_CD_ALL || opcode === CMD_ATC_INV;
}

/** The stream that it names. */
export function streamOf(words: Uint32Array): number {
  return get(words, CFGI.StreamID);
}

/** Without TG there is no range and no level; with it there is one of both. */
function isRangeTaken(words: Uint32Array, { hasDs }: ArmCommandRules): boolean {
  const scale = (words[0] >>> 20) & 0x3f;
  const num = get(words, TLBI.NUM);
  const ttl = get(words, TLBI.TTL);
  const tg = get(words, TLBI.TG);
  const isPlain = num === 0 && scale === 0 && ttl === 0;
  if (tg === 0) return isPlain;
  if (isPlain) return false;
  return !(tg === TG_16K && ttl === 1 && !hasDs);
}
