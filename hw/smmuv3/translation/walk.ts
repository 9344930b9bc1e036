/**
 * Stage 1 translation table walk, alone or above stage 2. Arm ARM (DDI 0487) D8.2 Translation process, IHI 0070 §15.1
 * Translation procedure.
 * @module
 */
import { Entry, type GuestMemory } from "../../guest_memory.ts";
import type { Context } from "../configuration/context.ts";
import type { StageTwo } from "../configuration/stage_two.ts";
import type { TableRoot } from "../configuration/table_root.ts";
import { DESCRIPTOR_SIZE, OUTPUT_HIGH_MASK, OUTPUT_WIDE_SHIFT } from "../spec/descriptors.ts";
import { CLASS, EVENT } from "../spec/events.ts";
import { CHANGED, DescriptorUpdate, MOST_RETRIES } from "./descriptor_update.ts";
import { Permission, STAGE1_PERMISSIONS, WRITES } from "./permissions.ts";
import { type StageTwoWalker, withOffset } from "./stage_two_walk.ts";
import { LOG2_LARGEST } from "./tlb.ts";
import type { Trouble } from "./trouble.ts";

const VALID = 1 << 0;
const TABLE = 1 << 1;
const AP_SHIFT = 6;
const AP_READ_ONLY = 1 << 7;
const AF = 1 << 10;
const NOT_GLOBAL = 1 << 11;
const DBM = 1 << (51 - 32);

// Where PXN (53), UXN (54) and PXNTable, UXNTable, APTable (62:59) lie in the high word.
const XN_SHIFT = 53 - 32;
const TABLE_SHIFT = 59 - 32;
const TABLE_READ_ONLY = 1 << (62 - 32);

/** No event: the descriptor has to be written before the translation counts. */
const UPDATE = -2;

/** Walks tables in guest memory; the results stay in its fields until the next walk. */
export class Walker {
  /** Low word of the output page's address. */
  outputLo = 0;
  /** High word of the output page's address. */
  outputHi = 0;
  /** Low word of what stage 1 makes of the address, when stage 2 comes next. */
  ipaLo = 0;
  /** High word of it. */
  ipaHi = 0;
  /** log2 of the size of what is translated in one piece, in bytes. */
  log2size = 0;
  /** log2 of the size of the leaf of stage 1. */
  log2leaf = 0;
  /** True when the translation is shared by all ASIDs. */
  global = false;
  /** See `Permission`. */
  permissions = 0;

  readonly #memory: GuestMemory;
  readonly #stageTwo: StageTwoWalker;
  readonly #trouble: Trouble;
  readonly #update: DescriptorUpdate;
  readonly #descriptor = new Entry(DESCRIPTOR_SIZE);
  #retries = 0;

  /** A walker of tables in `memory`, above `stageTwo`; when it fails `trouble` says why. */
  constructor(memory: GuestMemory, stageTwo: StageTwoWalker, trouble: Trouble) {
    this.#memory = memory;
    this.#stageTwo = stageTwo;
    this.#trouble = trouble;
    this.#update = new DescriptorUpdate(memory);
  }

  /**
   * Translates an input address (top byte already sign-extended when it is ignored) for an access that needs these
   * permission bits. Returns 0, or the number of the event that describes what was met first.
   */
  walk(context: Context, lo: number, hi: number, needed: number): number {
    const upper = (hi >>> 23) & 1;
    const root = context.roots[upper];
    if (root.disabled || !isInRange(root, lo, hi, upper)) return this.#fail(EVENT.F_TRANSLATION);
    const { log2granule, stride, indexMask, tableMask, wideMask } = root;
    const { stage2, beyondOutput } = context;
    const memory = this.#memory;
    const descriptor = this.#descriptor;
    const words = descriptor.words;
    let gpa = root.gpa;
    let shift = root.firstShift;
    let mask = root.firstIndexMask;
    let tableAttributes = 0;
    for (;;) {
      const index = shift >= 32 ? hi >>> (shift - 32) : (lo >>> shift) | (hi << (32 - shift));
      gpa += (index & mask) * DESCRIPTOR_SIZE;
      if (stage2 !== undefined) {
        const event = this.#fetchBelow(stage2, gpa);
        if (event !== 0) return event;
      } else if (!memory.fetch(gpa, descriptor)) return this.#abort(gpa);
      const low = words[0];
      if ((low & VALID) === 0) return this.#fail(EVENT.F_TRANSLATION);
      if (shift === log2granule || (low & TABLE) === 0) break;
      const high = words[1];
      const outputHi = (high & OUTPUT_HIGH_MASK) | ((low & wideMask) << OUTPUT_WIDE_SHIFT);
      if ((outputHi & beyondOutput) !== 0) return this.#fail(EVENT.F_ADDR_SIZE);
      gpa = outputHi * 0x1_0000_0000 + ((low & tableMask) >>> 0);
      tableAttributes |= high;
      shift -= stride;
      mask = indexMask;
    }
    const event = this.#leaf(context, root, shift, tableAttributes, needed);
    if (event > 0) return this.#fail(event);
    if (event === 0 && stage2 === undefined && shift <= LOG2_LARGEST) return 0;
    return this.#finish(event, context, gpa, lo, hi, needed);
  }

  /** What the descriptor that ended the walk says about the page; `UPDATE` when it has to be written first. */
  #leaf(
    context: Context,
    root: TableRoot,
    shift: number,
    tableAttributes: number,
    needed: number,
  ): number {
    const low = this.#descriptor.words[0];
    const high = this.#descriptor.words[1];
    if (!isLeaf(low, shift, root)) return EVENT.F_TRANSLATION;
    const outputHi = (high & OUTPUT_HIGH_MASK) | ((low & root.wideMask) << OUTPUT_WIDE_SHIFT);
    if ((outputHi & context.beyondOutput) !== 0) return EVENT.F_ADDR_SIZE;
    let event = 0;
    if ((low & AF) === 0) {
      if (context.ha) event = UPDATE;
      else if (!context.affd) return EVENT.F_ACCESS;
    }
    const attributes = root.flat ? 0 : tableAttributes;
    let ap = (low >>> AP_SHIFT) & 0b11;
    if (context.hd && isClean(low, high, attributes) && (needed & WRITES) !== 0) {
      ap &= 0b01;
      event = UPDATE;
    }
    this.outputHi = outputHi;
    this.outputLo = ((low >>> shift) << shift) >>> 0;
    this.log2size = shift;
    this.log2leaf = shift;
    this.global = (low & NOT_GLOBAL) === 0;
    const index = ap | (((high >>> XN_SHIFT) & 0b11) << 2) |
      (((attributes >>> TABLE_SHIFT) & 0b1111) << 4) | context.protection;
    this.permissions = STAGE1_PERMISSIONS[index];
    return (this.permissions & needed) === needed ? event : EVENT.F_PERMISSION;
  }

  /** The rarer ends of a walk: the leaf at `gpa` has to be written, is very large, or stage 2 comes next. */
  #finish(
    update: number,
    context: Context,
    gpa: number,
    lo: number,
    hi: number,
    needed: number,
  ): number {
    if (update !== 0) {
      const event = this.#write(context, gpa, needed);
      if (event === CHANGED) return this.#again(context, lo, hi, needed);
      if (event !== 0) return event;
    }
    if (this.log2size > LOG2_LARGEST) {
      this.outputLo = ((lo >>> LOG2_LARGEST) << LOG2_LARGEST) >>> 0;
      this.outputHi = withOffset(this.outputHi, hi, this.log2size);
      this.log2size = LOG2_LARGEST;
    }
    return context.stage2 === undefined ? 0 : this.#below(context.stage2, lo, needed);
  }

  /** Starts again because a descriptor has changed meanwhile; but not for ever. */
  #again(context: Context, lo: number, hi: number, needed: number): number {
    if (++this.#retries > MOST_RETRIES) {
      this.#retries = 0;
      return this.#abort(this.#trouble.gpa);
    }
    const event = this.walk(context, lo, hi, needed);
    this.#retries = 0;
    return event;
  }

  /** Has the descriptor at `address` say what the access makes of it: that it was used, and that the page is dirty. */
  #write(context: Context, address: number, needed: number): number {
    const { stage2 } = context;
    const [low, high] = this.#descriptor.words;
    let gpa = address;
    if (stage2 !== undefined) {
      const event = this.#locate(stage2, address, Permission.Write);
      if (event !== 0) return event;
      gpa = this.#stageTwo.gpaHi * 0x1_0000_0000 + this.#stageTwo.gpaLo;
    }
    const isDirtied = context.hd && (needed & WRITES) !== 0 && (high & DBM) !== 0 &&
      (low & AP_READ_ONLY) !== 0;
    const set = context.ha ? AF : 0;
    const event = this.#update.apply(gpa, this.#descriptor, set, isDirtied ? AP_READ_ONLY : 0);
    this.#trouble.gpa = gpa;
    return event === EVENT.F_WALK_EABT ? this.#abort(gpa) : event;
  }

  /** Fetches a descriptor whose address stage 2 translates. */
  #fetchBelow(stage2: StageTwo, ipa: number): number {
    const event = this.#locate(stage2, ipa, Permission.Read);
    if (event !== 0) return event;
    const gpa = this.#stageTwo.gpaHi * 0x1_0000_0000 + this.#stageTwo.gpaLo;
    return this.#memory.fetch(gpa, this.#descriptor) ? 0 : this.#abort(gpa);
  }

  /** Where a descriptor of stage 1 really is. */
  #locate(stage2: StageTwo, ipa: number, needed: number): number {
    const ipaHi = Math.floor(ipa / 0x1_0000_0000);
    return this.#stageTwo.translate(stage2, ipa >>> 0, ipaHi, needed, CLASS.TT);
  }

  /** Has stage 2 translate what stage 1 made of the address, and keeps the smaller of both. */
  #below(stage2: StageTwo, lo: number, needed: number): number {
    const below = this.#stageTwo;
    const ipaLo = (this.outputLo | (lo & ((1 << this.log2size) - 1))) >>> 0;
    this.ipaLo = ipaLo;
    this.ipaHi = this.outputHi;
    const event = below.translate(stage2, ipaLo, this.outputHi, needed, CLASS.IN);
    if (event !== 0) return event;
    const log2size = Math.min(this.log2size, below.log2size);
    this.log2size = log2size;
    this.outputLo = ((below.gpaLo >>> log2size) << log2size) >>> 0;
    this.outputHi = below.gpaHi;
    this.permissions &= below.permissions;
    return 0;
  }

  /** Stage 1 met it, whatever it is. */
  #fail(event: number): number {
    this.#trouble.stage2 = false;
    this.#trouble.klass = CLASS.IN;
    return event;
  }

  /** §7.3.12: a descriptor of stage 1 is CLASS=TT also when stage 1 is the faulting stage. */
  #abort(gpa: number): number {
    this.#trouble.stage2 = false;
    this.#trouble.klass = CLASS.TT;
    this.#trouble.gpa = gpa;
    return EVENT.F_WALK_EABT;
  }
}

/** Writable, and not yet written: read-only by its own AP[2] alone, with DBM. §3.13.3 */
function isClean(low: number, high: number, tableAttributes: number): boolean {
  return (low & AP_READ_ONLY) !== 0 && (high & DBM) !== 0 &&
    (tableAttributes & TABLE_READ_ONLY) === 0;
}

function isInRange(root: TableRoot, lo: number, hi: number, upper: number): boolean {
  const extension = upper === 0 ? 0 : 0xffff_ffff;
  return root.inputBits >= 32
    ? (hi ^ extension) >>> (root.inputBits - 32) === 0
    : hi === extension && (lo ^ extension) >>> root.inputBits === 0;
}

/** A page at the last level, or a block at a level that has them. */
function isLeaf(low: number, shift: number, root: TableRoot): boolean {
  return shift === root.log2granule ? (low & TABLE) !== 0 : shift <= root.largestBlock;
}
