/**
 * Which CDs are ILLEGAL on a device, and the tables that they name. IHI 0070 §5.4.1, §5.4.2 Validity of CD.
 * @module
 */
import { get, getAddress } from "../../bits.ts";
import { ADDRESS_SIZES, type Features } from "../features.ts";
import { CD } from "../spec/cd.ts";
import { STE } from "../spec/ste.ts";
import { hasGranule } from "./stage_two.ts";
import { NO_ROOT, type TableRoot, tableRoot, TG0, TG1 } from "./table_root.ts";

/** True when CD contents that are valid (V=1) are ILLEGAL on this device; `oneRange` in a world with TTB0 alone. */
export function isCdIllegal(
  cd: Uint32Array,
  ste: Uint32Array,
  features: Features,
  oneRange: boolean,
): boolean {
  const { stallModel, httu, abortOnly, asid16, vax } = features;
  if (get(cd, CD.AA64) === 0) return true;
  const stalls = get(cd, CD.S) === 1;
  if (stalls && (stallModel === 1 || (stallModel === 0 && get(ste, STE.S1STALLD) === 1))) {
    return true;
  }
  if (!stalls && stallModel === 2) return true;
  if ((get(cd, CD.HA) === 1 && httu === 0) || (get(cd, CD.HD) === 1 && httu < 2)) return true;
  if (abortOnly && get(cd, CD.A) === 0) return true;
  if (!asid16 && get(cd, CD.ASID) > 0xff) return true;
  const end = 2 ** stage1OutputBits(cd, features);
  const used = stage1Roots(cd, features, oneRange).filter((root) => !root.disabled);
  if (used.length > 0 && get(cd, CD.ENDI) === 1) return true;
  return used.some(({ log2granule, inputBits, gpa }) => {
    const isWide = log2granule === 16;
    return !hasGranule(log2granule, features) || gpa >= end || (!isWide && gpa >= 2 ** 48) ||
      inputBits < (isWide ? 17 : 16) || inputBits > (isWide && vax ? 52 : 48);
  });
}

/** The smaller of CD.IPS and IDR5.OAS, in bits. */
export function stage1OutputBits(cd: Uint32Array, { oas }: Features): number {
  return Math.min(ADDRESS_SIZES[get(cd, CD.IPS)] ?? oas, oas);
}

/** The tables of both halves; in a world with one range the upper half has none. */
export function stage1Roots(
  cd: Uint32Array,
  features: Features,
  oneRange: boolean,
): readonly [TableRoot, TableRoot] {
  const output = stage1OutputBits(cd, features);
  const lower = {
    // One range is always there: CD.EPD0 is of regimes with two. §5.4.1.1
    disabled: !oneRange && get(cd, CD.EPD0) === 1,
    log2granule: TG0[get(cd, CD.TG0)],
    inputBits: 64 - get(cd, CD.T0SZ),
    ttb: getAddress(cd, CD.TTB0),
    flat: get(cd, CD.HAD0) === 1,
  };
  const upper = {
    disabled: get(cd, CD.EPD1) === 1,
    log2granule: TG1[get(cd, CD.TG1)],
    inputBits: 64 - get(cd, CD.T1SZ),
    ttb: getAddress(cd, CD.TTB1),
    flat: get(cd, CD.HAD1) === 1,
  };
  return [
    tableRoot(lower, features.oas, output),
    oneRange ? NO_ROOT : tableRoot(upper, features.oas, output),
  ];
}
