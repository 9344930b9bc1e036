/**
 * Stage 1 translation table walk. Arm ARM (DDI 0487) D8.2 Translation process, IHI 0070 §15.1 Translation procedure.
 * @module
 */
import { Entry, type GuestMemory } from "../../guest_memory.ts";
import { type Context, Protection, type TableRoot } from "../configuration/context.ts";
import { Access } from "../fault.ts";
import { DESCRIPTOR_SIZE, OUTPUT_HIGH_MASK } from "../spec/descriptors.ts";
import { EVENT } from "../spec/events.ts";

/** Permissions of a page: these bits for unprivileged access, the same shifted left by 3 for privileged. */
export const Permission = { Read: 0b001, Write: 0b010, Execute: 0b100, All: 0b111_111 } as const;

/** The permission bits that an access needs. */
export function permissionsNeeded(access: number): number {
  return (access & Access.Privileged) === 0 ? access & 0b111 : (access & 0b111) << 3;
}

const VALID = 1 << 0;
const TABLE = 1 << 1;
const AP_SHIFT = 6;
const AF = 1 << 10;
const NOT_GLOBAL = 1 << 11;

// Where PXN (53), UXN (54) and PXNTable, UXNTable, APTable (62:59) lie in the high word.
const XN_SHIFT = 53 - 32;
const TABLE_SHIFT = 59 - 32;

/** Walks tables in guest memory; the results stay in its fields until the next walk. */
export class Walker {
  /** Where the descriptor is that could not be fetched, in bytes. */
  gpa = 0;
  /** Low word of the output page's address. */
  outputLo = 0;
  /** High word of the output page's address. */
  outputHi = 0;
  /** log2 of the page size in bytes. */
  log2size = 0;
  /** True when the translation is shared by all ASIDs. */
  global = false;
  /** See `Permission`. */
  permissions = 0;

  readonly #memory: GuestMemory;
  readonly #descriptor = new Entry(DESCRIPTOR_SIZE);

  /** A walker of tables in `memory`. */
  constructor(memory: GuestMemory) {
    this.#memory = memory;
  }

  /**
   * Translates an input address (top byte already sign-extended when it is ignored) for an access that needs these
   * permission bits. Returns 0, or the number of the event that describes what was met first.
   */
  walk(context: Context, lo: number, hi: number, needed: number): number {
    const upper = (hi >>> 23) & 1;
    const root = context.roots[upper];
    if (root.disabled || !isInRange(root, lo, hi, upper)) return EVENT.F_TRANSLATION;
    const { stride, indexMask, tableMask } = root;
    const memory = this.#memory;
    const descriptor = this.#descriptor;
    const words = descriptor.words;
    let gpa = root.gpa;
    let shift = root.firstShift;
    let mask = root.firstIndexMask;
    let level = root.firstLevel;
    let tableAttributes = 0;
    for (;;) {
      const index = shift >= 32 ? hi >>> (shift - 32) : (lo >>> shift) | (hi << (32 - shift));
      gpa += (index & mask) * DESCRIPTOR_SIZE;
      if (!memory.fetch(gpa, descriptor)) {
        this.gpa = gpa;
        return EVENT.F_WALK_EABT;
      }
      const low = words[0];
      if ((low & VALID) === 0) return EVENT.F_TRANSLATION;
      if (level === 3 || (low & TABLE) === 0) break;
      const high = words[1];
      if ((high & context.beyondOutput) !== 0) return EVENT.F_ADDR_SIZE;
      gpa = (high & OUTPUT_HIGH_MASK) * 0x1_0000_0000 + ((low & tableMask) >>> 0);
      tableAttributes |= high;
      shift -= stride;
      mask = indexMask;
      level++;
    }
    return this.#leaf(context, root, level, shift, root.flat ? 0 : tableAttributes, needed);
  }

  /** What the descriptor that ended the walk says about the page. */
  #leaf(
    context: Context,
    root: TableRoot,
    level: number,
    shift: number,
    tableAttributes: number,
    needed: number,
  ): number {
    const low = this.#descriptor.words[0];
    const high = this.#descriptor.words[1];
    if (!isLeaf(low, level, root.log2granule)) return EVENT.F_TRANSLATION;
    if ((high & context.beyondOutput) !== 0) return EVENT.F_ADDR_SIZE;
    if ((low & AF) === 0 && !context.affd) return EVENT.F_ACCESS;
    this.outputHi = high & OUTPUT_HIGH_MASK;
    this.outputLo = (low >>> shift) << shift;
    this.log2size = shift;
    this.global = (low & NOT_GLOBAL) === 0;
    const index = ((low >>> AP_SHIFT) & 0b11) | (((high >>> XN_SHIFT) & 0b11) << 2) |
      (((tableAttributes >>> TABLE_SHIFT) & 0b1111) << 4) | context.protection;
    this.permissions = PERMISSIONS[index];
    return (this.permissions & needed) === needed ? 0 : EVENT.F_PERMISSION;
  }
}

function isInRange(root: TableRoot, lo: number, hi: number, upper: number): boolean {
  const extension = upper === 0 ? 0 : 0xffff_ffff;
  return root.inputBits >= 32
    ? (hi ^ extension) >>> (root.inputBits - 32) === 0
    : hi === extension && (lo ^ extension) >>> root.inputBits === 0;
}

/** A page at level 3, a block at level 2, or at level 1 with a granule of 4 KiB. */
function isLeaf(low: number, level: number, log2granule: number): boolean {
  return level === 3 ? (low & TABLE) !== 0 : level === 2 || (level === 1 && log2granule === 12);
}

/**
 * What a leaf permits, by AP[2:1] in bits 1:0, UXN and PXN in 3:2, APTable, UXNTable and PXNTable in 7:4, and the
 * context's `protection` above: one load for each walk.
 */
const PERMISSIONS = Uint8Array.from({ length: 1024 }, (_, index) => permissionsOf(index));

/** DDI 0487 D8.4 Memory access control, two privilege levels. */
function permissionsOf(index: number): number {
  const bit = (position: number): boolean => ((index >>> position) & 1) === 1;
  const unprivileged = bit(0) && !bit(6);
  const writable = !bit(1) && !bit(7);
  const pxn = bit(2) || bit(4);
  const uxn = bit(3) || bit(5);
  const wxn = (index & Protection.WXN) !== 0 && writable;
  const pan = (index & Protection.PAN) !== 0 && unprivileged;
  const data = writable ? Permission.Read | Permission.Write : Permission.Read;
  return (unprivileged ? data : 0) |
    (pan ? 0 : data << 3) |
    (uxn || (wxn && unprivileged) ? 0 : Permission.Execute) |
    (pxn || wxn || (unprivileged && writable) ? 0 : Permission.Execute << 3);
}
