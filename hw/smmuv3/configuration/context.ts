/**
 * The configuration of one stream and substream, decoded from its STE and CD. IHI 0070 §5.2, §5.4.
 * @module
 */
import { get } from "../../bits.ts";
import type { Features } from "../features.ts";
import { CD } from "../spec/cd.ts";
import { STE, STRW } from "../spec/ste.ts";
import { Protection } from "../translation/permissions.ts";
import { World } from "../translation/domains.ts";
import { stage1OutputBits, stage1Roots } from "./cd_validity.ts";
import { StageTwo } from "./stage_two.ts";
import { effectiveEats, streamWorld, usesVmid } from "./ste_validity.ts";
import { beyond, NO_ROOT, type TableRoot } from "./table_root.ts";

/** What happens to a stream's transactions. */
export const Mode = {
  /** They are aborted. */
  Abort: 0,
  /** They pass. */
  Bypass: 1,
  /** Stage 1 translates them, and stage 2 what comes of it where there is one. */
  Translate: 2,
  /** Stage 2 alone translates them. */
  Stage2: 3,
} as const;

/** In place of a SubstreamID: the context is what the STE says by itself. */
export const STREAM_ITSELF = -2;

/** What a context is made from. */
export interface ContextSource {
  /** The words of the STE; without them it is one that says nothing beyond the mode. */
  readonly ste?: Uint32Array | undefined;
  /** The words of the CD, when the mode is Translate. */
  readonly cd?: Uint32Array | undefined;
  /** CR2.E2H. */
  readonly e2h?: boolean;
}

const NO_STE = new Uint32Array(16);

/** How the top byte of an address is ignored: bit 0 for TTB0 and bit 1 for TTB1, or the whole range at once. */
export const IGNORED_IN_ONE_RANGE = 0b100;

/** The decoded configuration that the translation of a transaction needs. */
export class Context {
  /** StreamID that it was made for. */
  readonly streamId: number;
  /** SubstreamID of the requests that it answers, -1 for those without one; or `STREAM_ITSELF`. */
  readonly substreamId: number;
  /** One of `Mode`. */
  readonly mode: number;
  /** VMID of its translations; 0 without. */
  readonly vmid: number;
  /** ASID of its translations; 0 without. */
  readonly asid: number;
  /** Whose addresses come in: one of `World`. */
  readonly world: number;
  /** Bits of an output address's high word that lie beyond the smaller of CD.IPS and IDR5.OAS. */
  readonly beyondOutput: number;
  /** Top-byte-ignore: bit 0 for TTB0, bit 1 for TTB1; or `IGNORED_IN_ONE_RANGE`. */
  readonly tbi: number;
  /** Faults of a clear access flag are off. CD.AFFD. */
  readonly affd: boolean;
  /** The access flag is set by the device. CD.HA */
  readonly ha: boolean;
  /** Dirty state is updated by the device. CD.HD */
  readonly hd: boolean;
  /** Faults are recorded. CD.R. */
  readonly records: boolean;
  /** Faults abort, instead of reading zero and ignoring writes. CD.A. */
  readonly aborts: boolean;
  /** Faults stall. CD.S */
  readonly stalls: boolean;
  /** Equal events may be merged. STE.MEV */
  readonly merges: boolean;
  /** The effective STE.EATS while CR0.ATSCHK is 1: one of `EATS`. */
  readonly eats: number;
  /** Bits of `Protection`. */
  readonly protection: number;
  /** TTB0 and TTB1. */
  readonly roots: readonly [TableRoot, TableRoot];
  /** What stage 2 does; undefined where it is bypassed. */
  readonly stage2: StageTwo | undefined;
  /** What all this was decoded from. */
  readonly source: ContextSource;
  /** The TLB's number for its translations. */
  domain = 0;
  /** The TLB's number for those of its translations that all ASIDs share. */
  shared = 0;

  /** A context of the given mode; `source` has what the mode needs, legal. */
  constructor(
    streamId: number,
    substreamId: number,
    mode: number,
    features: Features,
    source: ContextSource = {},
  ) {
    const { ste = NO_STE, cd, e2h = false } = source;
    const world = cd === undefined ? World.Stage2 : worldOf(ste, features, e2h);
    const oneRange = world === World.El2;
    this.streamId = streamId;
    this.substreamId = substreamId;
    this.mode = mode;
    this.world = world;
    this.vmid = usesVmid(ste, features) ? get(ste, STE.S2VMID) : 0;
    this.asid = cd === undefined || oneRange ? 0 : get(cd, CD.ASID);
    this.beyondOutput = cd ? beyond(stage1OutputBits(cd, features)) : 0;
    this.tbi = cd === undefined ? 0 : tbiOf(cd, oneRange);
    this.affd = cd !== undefined && get(cd, CD.AFFD) === 1;
    this.ha = cd !== undefined && get(cd, CD.HA) === 1;
    this.hd = this.ha && get(cd!, CD.HD) === 1;
    this.records = cd === undefined || get(cd, CD.R) === 1;
    this.aborts = cd === undefined || get(cd, CD.A) === 1;
    this.stalls = cd !== undefined && get(cd, CD.S) === 1;
    this.merges = get(ste, STE.MEV) === 1;
    this.eats = effectiveEats(ste, features);
    this.protection = cd ? protection(cd, oneRange) : 0;
    this.roots = cd ? stage1Roots(cd, features, oneRange) : [NO_ROOT, NO_ROOT];
    this.stage2 = mode >= Mode.Translate && (get(ste, STE.Config) & 0b110) === 0b110
      ? new StageTwo(ste, features)
      : undefined;
    this.source = { ste: source.ste?.slice(), cd: cd?.slice(), e2h };
  }
}

/** The `World` of a stream that stage 1 translates. */
export function worldOf(ste: Uint32Array, features: Features, e2h: boolean): number {
  if (streamWorld(ste, features) !== STRW.El2) return World.El1;
  return e2h ? World.El2E2h : World.El2;
}

function tbiOf(cd: Uint32Array, oneRange: boolean): number {
  const tbi = get(cd, CD.TBI);
  if (!oneRange) return tbi;
  return (tbi & 1) === 1 ? IGNORED_IN_ONE_RANGE : 0;
}

function protection(cd: Uint32Array, oneRange: boolean): number {
  const wxn = get(cd, CD.WXN) && Protection.WXN;
  return oneRange ? wxn | Protection.OnePrivilege : wxn | (get(cd, CD.PAN) && Protection.PAN);
}
