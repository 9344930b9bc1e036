/**
 * Stage 2 of a stream, decoded from its STE, and which values of it are ILLEGAL. IHI 0070 §5.2, §5.2.2.
 * @module
 */
import { get, getAddress } from "../../bits.ts";
import { ADDRESS_SIZES, type Features } from "../features.ts";
import { STE } from "../spec/ste.ts";
import { beyond, strideOf, type TableRoot, tableRoot, TG0 } from "./table_root.ts";

/** Start levels by STE.S2SL0, for each granule; undefined is reserved while IDR5.DS is 0. */
const START_LEVELS: Readonly<Record<number, readonly (number | undefined)[]>> = {
  12: [2, 1, 0, 3],
  14: [3, 2, 1, undefined],
  16: [3, 2, 1, undefined],
};
/** Output bits that an SMMU needs to have a start level, by granule and level. DDI 0487 D8.2.3 */
const LEAST_OAS: Readonly<Record<number, Readonly<Record<number, number>>>> = {
  12: { 0: 44 },
  14: { 1: 42 },
  16: { 1: 44 },
};
/** A walk may start in up to 16 tables behind each other. */
const LOG2_MOST_CONCATENATED = 4;

/** What stage 2 does to an intermediate physical address. */
export class StageTwo {
  /** STE.S2VMID */
  readonly vmid: number;
  /** The TLB's number for its translations. */
  domain = 0;
  /** The tables. */
  readonly root: TableRoot;
  /** Bits of an output address's high word that lie beyond the smaller of STE.S2PS and IDR5.OAS. */
  readonly beyondOutput: number;
  /** Faults of a clear access flag are off. STE.S2AFFD */
  readonly affd: boolean;
  /** The access flag is set by the device. STE.S2HA */
  readonly ha: boolean;
  /** Dirty state is updated by the device. STE.S2HD */
  readonly hd: boolean;
  /** A table of stage 1, or a CD, in device memory is a fault. STE.S2PTW */
  readonly ptw: boolean;
  /** Memory types are forced. STE.S2FWB */
  readonly fwb: boolean;
  /** Execution by privilege. IDR3.XNX */
  readonly xnx: boolean;
  /** Faults are recorded. STE.S2R */
  readonly records: boolean;
  /** Faults stall. STE.S2S */
  readonly stalls: boolean;
  /** A fault that terminates aborts: stage 2 has nothing like CD.A. §5.5 */
  readonly aborts = true;

  /** Of a legal STE that translates at stage 2. */
  constructor(ste: Uint32Array, features: Features) {
    const output = outputBits(ste, features);
    this.vmid = get(ste, STE.S2VMID);
    this.root = stageTwoRoot(ste, features);
    this.beyondOutput = beyond(output);
    this.affd = get(ste, STE.S2AFFD) === 1;
    this.ha = get(ste, STE.S2HA) === 1;
    this.hd = this.ha && get(ste, STE.S2HD) === 1;
    this.ptw = get(ste, STE.S2PTW) === 1;
    this.fwb = get(ste, STE.S2FWB) === 1;
    this.xnx = features.xnx;
    this.records = get(ste, STE.S2R) === 1;
    this.stalls = get(ste, STE.S2S) === 1;
  }
}

/** True when the fields of stage 2 of an STE that translates there are ILLEGAL on this device. */
export function isStageTwoIllegal(ste: Uint32Array, features: Features): boolean {
  const { httu, stallModel } = features;
  if (get(ste, STE.S2AA64) === 0 || get(ste, STE.S2ENDI) === 1) return true;
  if (stallModel === 1 && get(ste, STE.S2S) === 1) return true;
  if (stallModel === 2 && get(ste, STE.S2S) === 0) return true;
  if (get(ste, STE.S2HA) === 1 && httu === 0) return true;
  if (get(ste, STE.S2HD) === 1 && httu < 2) return true;
  const log2granule = TG0[get(ste, STE.S2TG)];
  if (!hasGranule(log2granule, features)) return true;
  const output = outputBits(ste, features);
  const ttb = getAddress(ste, STE.S2TTB);
  if (ttb >= 2 ** output || (log2granule !== 16 && ttb >= 2 ** 48)) return true;
  return isStartInconsistent(ste, log2granule, features);
}

/** True when tables of a granule can be walked. */
export function hasGranule(log2granule: number, features: Features): boolean {
  const { granule4K, granule16K, granule64K } = features;
  return (log2granule === 12 && granule4K) || (log2granule === 14 && granule16K) ||
    (log2granule === 16 && granule64K);
}

/** S2T0SZ out of range, or S2SL0 that does not go with it. */
function isStartInconsistent(ste: Uint32Array, log2granule: number, { oas }: Features): boolean {
  const size = get(ste, STE.S2T0SZ);
  const isWide = log2granule === 16;
  if (size < Math.max(isWide ? 12 : 16, 64 - oas) || size > (isWide ? 47 : 48)) return true;
  const level = START_LEVELS[log2granule][get(ste, STE.S2SL0)];
  if (level === undefined || oas < (LEAST_OAS[log2granule][level] ?? 0)) return true;
  const stride = strideOf(log2granule);
  const below = log2granule + (3 - level) * stride;
  const indexBits = 64 - size - below;
  return indexBits < 1 || indexBits > stride + LOG2_MOST_CONCATENATED;
}

function outputBits(ste: Uint32Array, { oas }: Features): number {
  return Math.min(ADDRESS_SIZES[get(ste, STE.S2PS)] ?? oas, oas);
}

function stageTwoRoot(ste: Uint32Array, features: Features): TableRoot {
  const log2granule = TG0[get(ste, STE.S2TG)];
  const firstLevel = START_LEVELS[log2granule][get(ste, STE.S2SL0)]!;
  const choice = {
    disabled: false,
    log2granule,
    inputBits: 64 - get(ste, STE.S2T0SZ),
    ttb: getAddress(ste, STE.S2TTB),
    flat: true,
    firstLevel,
  };
  return tableRoot(choice, features.oas, outputBits(ste, features));
}
