/**
 * Which STEs are ILLEGAL on a device. IHI 0070 §5.2.2 Validity of STE.
 * @module
 */
import { get, getAddress } from "../../bits.ts";
import type { Features } from "../features.ts";
import { Config, EATS, S1Fmt, STE, STRW } from "../spec/ste.ts";
import { isStageTwoIllegal } from "./stage_two.ts";

/** True when STE contents that are valid (V=1) are ILLEGAL on this device. */
export function isSteIllegal(ste: Uint32Array, features: Features): boolean {
  const config = get(ste, STE.Config);
  if (config < Config.Bypass) return false;
  const hasStage1 = (config & 0b001) !== 0;
  const hasStage2 = (config & 0b010) !== 0;
  if ((hasStage1 && !features.stage1) || (hasStage2 && !features.stage2)) return true;
  if (config === Config.Bypass) return false;
  if (features.ats && isEatsIllegal(ste, config)) return true;
  if (config === Config.Stage1 && features.hyp && (get(ste, STE.STRW) & 1) === 1) return true;
  if (hasStage1 && isStage1Illegal(ste, features)) return true;
  if (hasStage2 && isStageTwoIllegal(ste, features)) return true;
  return usesVmid(ste, features) && !features.vmid16 && get(ste, STE.S2VMID) > 0xff;
}

/** Whether STE.S2VMID tags the translations of a stream, also one that only stage 1 translates. IgnoreSTES2VMID() */
export function usesVmid(ste: Uint32Array, features: Features): boolean {
  const config = get(ste, STE.Config);
  if (!features.stage2 || config <= Config.Bypass) return false;
  return config !== Config.Stage1 || streamWorld(ste, features) === STRW.El1;
}

/** The effective STE.STRW of a stream that stage 1 translates. IgnoreSTESTRW() */
export function streamWorld(ste: Uint32Array, features: Features): number {
  return features.hyp && get(ste, STE.Config) === Config.Stage1 ? get(ste, STE.STRW) : STRW.El1;
}

/** What STE.EATS means of a legal STE while CR0.ATSCHK is 1; without DPT, 0b11 behaves as 0b00. */
export function effectiveEats(ste: Uint32Array, features: Features): number {
  const eats = get(ste, STE.EATS);
  const isIgnored = !features.ats || get(ste, STE.Config) <= Config.Bypass;
  return isIgnored || eats > EATS.Split ? EATS.Disabled : eats;
}

function isStage1Illegal(ste: Uint32Array, features: Features): boolean {
  const log2count = features.ssidSize === 0 ? 0 : get(ste, STE.S1CDMax);
  const format = get(ste, STE.S1Fmt);
  const isTwoLevel = format === S1Fmt.TwoLevel4K || format === S1Fmt.TwoLevel64K;
  return (get(ste, STE.S1STALLD) === 1 && features.stallModel !== 0) ||
    log2count > features.ssidSize ||
    (log2count > 0 && isTwoLevel && !features.twoLevelContextTable) ||
    getAddress(ste, STE.S1ContextPtr) >= 2 ** features.oas;
}

function isEatsIllegal(ste: Uint32Array, config: number): boolean {
  const eats = get(ste, STE.EATS);
  const isStalling = get(ste, STE.S2S) === 1;
  if (eats === EATS.Split) return config !== Config.Nested || isStalling;
  return eats === EATS.Full && isStalling && (config & 0b010) !== 0;
}
