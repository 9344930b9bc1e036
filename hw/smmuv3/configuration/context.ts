/**
 * The configuration of one stream and substream, decoded from its STE and CD. IHI 0070 §5.2, §5.4.
 * @module
 */
import { get, getAddress } from "../../bits.ts";
import { ADDRESS_SIZES, type Features } from "../features.ts";
import { CD } from "../spec/cd.ts";
import { OUTPUT_HIGH_MASK } from "../spec/descriptors.ts";
import { Config, S1Fmt, STE } from "../spec/ste.ts";

/** What happens to a stream's transactions. */
export const Mode = { Abort: 0, Bypass: 1, Translate: 2 } as const;

/** Rules of a context above the permissions of descriptors. */
export const Protection = {
  /** Writable memory is never executable. CD.WXN */
  WXN: 0x100,
  /** Privileged data access never reaches unprivileged memory. CD.PAN */
  PAN: 0x200,
} as const;

/** One half of the address space: the tables that a TTB points at. */
export interface TableRoot {
  /** True when walks of this half are disabled: every access faults. CD.EPDx. */
  readonly disabled: boolean;
  /** log2 of the granule in bytes. */
  readonly log2granule: number;
  /** Significant bits of an input address: 64 - TxSZ. */
  readonly inputBits: number;
  /** Address of the first table, in bytes, aligned down to its size. CD.TTBx. */
  readonly gpa: number;
  /** Level at which the walk starts. */
  readonly firstLevel: number;
  /** Lowest bit of the input address that indexes the first table. */
  readonly firstShift: number;
  /** Mask of the index into the first table. */
  readonly firstIndexMask: number;
  /** Bits of an input address that each table resolves. */
  readonly stride: number;
  /** Mask of the index into every other table. */
  readonly indexMask: number;
  /** Bits of a descriptor's low word that belong to the address of a table. */
  readonly tableMask: number;
  /** True when permissions of table descriptors are ignored. CD.HADx. */
  readonly flat: boolean;
}

const NO_ROOT: TableRoot = root(true, 12, 48, 0, false);

/** The decoded configuration that the translation of a transaction needs. */
export class Context {
  /** StreamID that it was made for. */
  readonly streamId: number;
  /** SubstreamID of the requests that it answers, -1 for those without one. */
  readonly substreamId: number;
  /** One of `Mode`. */
  readonly mode: number;
  /** Tag of its translations. */
  readonly asid: number;
  /** Bits of a descriptor's high word that would put its address beyond the smaller of CD.IPS and IDR5.OAS. */
  readonly beyondOutput: number;
  /** Top-byte-ignore: bit 0 for TTB0, bit 1 for TTB1. */
  readonly tbi: number;
  /** Faults of a clear access flag are off. CD.AFFD. */
  readonly affd: boolean;
  /** Faults are recorded. CD.R. */
  readonly records: boolean;
  /** Faults abort, instead of reading zero and ignoring writes. CD.A. */
  readonly aborts: boolean;
  /** Bits of `Protection`. */
  readonly protection: number;
  /** TTB0 and TTB1. */
  readonly roots: readonly [TableRoot, TableRoot];
  /** The words of the CD that all this was decoded from. */
  readonly cd: Uint32Array | undefined;

  /** A context of the given mode; `cd` is the descriptor's words when the mode is Translate. */
  constructor(
    streamId: number,
    substreamId: number,
    mode: number,
    features: Features,
    cd?: Uint32Array,
  ) {
    this.streamId = streamId;
    this.substreamId = substreamId;
    this.mode = mode;
    this.asid = cd ? get(cd, CD.ASID) : 0;
    this.beyondOutput = cd ? OUTPUT_HIGH_MASK & ~(2 ** (outputBits(cd, features) - 32) - 1) : 0;
    this.tbi = cd ? get(cd, CD.TBI) : 0;
    this.affd = cd !== undefined && get(cd, CD.AFFD) === 1;
    this.records = cd === undefined || get(cd, CD.R) === 1;
    this.aborts = cd === undefined || get(cd, CD.A) === 1;
    this.protection = cd ? protection(cd) : 0;
    this.roots = cd ? [root0(cd), root1(cd)] : [NO_ROOT, NO_ROOT];
    this.cd = cd?.slice();
  }
}

/** True when STE contents that are valid (V=1) are ILLEGAL on this device. §5.2.2 Validity of STE. */
export function isSteIllegal(ste: Uint32Array, features: Features): boolean {
  const config = get(ste, STE.Config);
  if (config <= Config.Bypass) return false;
  if (config !== Config.Stage1) return true;
  const log2count = features.ssidSize === 0 ? 0 : get(ste, STE.S1CDMax);
  const format = get(ste, STE.S1Fmt);
  return get(ste, STE.S1STALLD) === 1 || log2count > features.ssidSize ||
    (log2count > 0 && (format === S1Fmt.TwoLevel4K || format === S1Fmt.TwoLevel64K)) ||
    getAddress(ste, STE.S1ContextPtr) >= 2 ** features.oas;
}

/** True when CD contents that are valid (V=1) are ILLEGAL on this device. §5.4.2 Validity of CD. */
export function isCdIllegal(cd: Uint32Array, features: Features): boolean {
  if (get(cd, CD.AA64) === 0) return true;
  if (get(cd, CD.S) === 1 || get(cd, CD.HA) === 1 || get(cd, CD.HD) === 1) return true;
  if (!features.asid16 && get(cd, CD.ASID) > 0xff) return true;
  const end = 2 ** outputBits(cd, features);
  const used = [root0(cd), root1(cd)].filter((root) => !root.disabled);
  if (used.length > 0 && get(cd, CD.ENDI) === 1) return true;
  return used.some((root) =>
    root.log2granule !== 12 || root.inputBits < 16 || root.inputBits > 48 || root.gpa >= end
  );
}

function protection(cd: Uint32Array): number {
  return (get(cd, CD.WXN) && Protection.WXN) | (get(cd, CD.PAN) && Protection.PAN);
}

function outputBits(cd: Uint32Array, features: Features): number {
  return Math.min(ADDRESS_SIZES[get(cd, CD.IPS)] ?? features.oas, features.oas);
}

const TG0 = [12, 16, 14, 0];
const TG1 = [0, 14, 12, 16];

function root0(cd: Uint32Array): TableRoot {
  const log2granule = TG0[get(cd, CD.TG0)];
  const inputBits = 64 - get(cd, CD.T0SZ);
  const gpa = getAddress(cd, CD.TTB0);
  return root(get(cd, CD.EPD0) === 1, log2granule, inputBits, gpa, get(cd, CD.HAD0) === 1);
}

function root1(cd: Uint32Array): TableRoot {
  const log2granule = TG1[get(cd, CD.TG1)];
  const inputBits = 64 - get(cd, CD.T1SZ);
  const gpa = getAddress(cd, CD.TTB1);
  return root(get(cd, CD.EPD1) === 1, log2granule, inputBits, gpa, get(cd, CD.HAD1) === 1);
}

function root(
  disabled: boolean,
  log2granule: number,
  inputBits: number,
  ttb: number,
  flat: boolean,
): TableRoot {
  const stride = log2granule - 3;
  const levels = Math.max(Math.ceil((inputBits - log2granule) / stride), 1);
  const firstShift = log2granule + (levels - 1) * stride;
  const count = 2 ** (inputBits - firstShift);
  return {
    disabled,
    log2granule,
    inputBits,
    gpa: ttb - ttb % (count * 8),
    firstLevel: 4 - levels,
    firstShift,
    firstIndexMask: count - 1,
    stride,
    indexMask: (1 << stride) - 1,
    tableMask: -1 << log2granule,
    flat,
  };
}
