/**
 * The part of a guest's STE that hardware may see: what Linux accepts as the data of a nested HWPT.
 * IHI 0070 §5.2; `struct iommu_hwpt_arm_smmuv3`.
 * @module
 */
import { get, set } from "../../hw/bits.ts";
import type { Features } from "../../hw/smmuv3/features.ts";
import { Config, STE } from "../../hw/smmuv3/spec/ste.ts";

const WORDS = 4;
/** V, Config, S1Fmt, S1ContextPtr, S1CDMax; S1DSS, S1CIR, S1COR, S1CSH. Stalls and ATS are never offered to a guest. */
const MASK: readonly number[] = [0xffff_ffff, 0xf80f_ffff, 0x0000_00ff, 0];

/** `struct iommu_hwpt_arm_smmuv3` as four words, little-endian. */
export type Vste = Uint32Array<ArrayBuffer>;

/** The vSTE of a stream that aborts. */
export const ABORT_VSTE: Vste = vste(0);
/** The vSTE of a stream that bypasses stage 1. */
export const BYPASS_VSTE: Vste = vste(Config.Bypass);

/** What a valid stage 1 STE tells hardware: what is ignored by the architecture here is left out. */
export function nestedVste(ste: Uint32Array, { ssidSize }: Features): Vste {
  const words = new Uint32Array(new ArrayBuffer(WORDS * 4));
  for (let i = 0; i < WORDS; i++) words[i] = ste[i] & MASK[i];
  if (ssidSize === 0 || get(words, STE.S1CDMax) === 0) {
    for (const field of [STE.S1CDMax, STE.S1Fmt, STE.S1DSS]) set(words, field, 0);
  }
  return words;
}

/** Tells equal vSTEs from others. */
export function keyOf(vste: Vste): string {
  return vste.join();
}

function vste(config: number): Vste {
  const words = new Uint32Array(new ArrayBuffer(WORDS * 4));
  set(words, STE.V, 1);
  set(words, STE.Config, config);
  return words;
}
