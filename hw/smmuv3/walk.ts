/**
 * Stage 1 translation table walk. Arm ARM (DDI 0487) D8.2 Translation process, IHI 0070 §15.1 Translation procedure.
 * @module
 */
import { Entry, type GuestMemory } from "../guest_memory.ts";
import type { Context, TableRoot } from "./context.ts";
import { Access } from "./fault.ts";
import { DESCRIPTOR_SIZE, OUTPUT_HIGH_MASK } from "./spec/descriptors.ts";
import { EVENT } from "./spec/events.ts";

/** Permissions of a page: these bits for unprivileged access, the same shifted left by 3 for privileged. */
export const Permission = { Read: 0b001, Write: 0b010, Execute: 0b100, All: 0b111_111 } as const;

/** The permission bits that an access needs. */
export function permissionsNeeded(access: number): number {
  return (access & Access.Privileged) === 0 ? access & 0b111 : (access & 0b111) << 3;
}

const VALID = 1 << 0;
const TABLE = 1 << 1;
const AP_UNPRIVILEGED = 1 << 6;
const AP_READ_ONLY = 1 << 7;
const AF = 1 << 10;
const NOT_GLOBAL = 1 << 11;
// The rest lie in the high word.
const PXN = 1 << (53 - 32);
const UXN = 1 << (54 - 32);
const PXN_TABLE = 1 << (59 - 32);
const UXN_TABLE = 1 << (60 - 32);
const AP_TABLE_NO_UNPRIVILEGED = 1 << (61 - 32);
const AP_TABLE_READ_ONLY = 1 << (62 - 32);

/** Walks tables in guest memory; the results stay in its fields until the next walk. */
export class Walker {
  /** Output page address in bytes; when a descriptor could not be fetched, that descriptor's address. */
  gpa = 0;
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
   * Translates an input address (top byte already sign-extended when it is ignored). Returns 0, or the number of the
   * event that describes what was met first.
   */
  walk(context: Context, lo: number, hi: number, access: number): number {
    const upper = hi >>> 31;
    const root = context.roots[upper];
    if (root.disabled || !isInRange(root, lo, hi, upper)) return EVENT.F_TRANSLATION;
    const words = this.#descriptor.words;
    let table = root.gpa;
    let tableAttributes = 0;
    let shift = root.firstShift;
    let indexMask = root.firstIndexMask;
    for (let level = root.firstLevel;; level++) {
      const index = shift >= 32 ? hi >>> (shift - 32) : (lo >>> shift) | (hi << (32 - shift));
      const gpa = table + (index & indexMask) * DESCRIPTOR_SIZE;
      if (!this.#memory.fetch(gpa, this.#descriptor)) {
        this.gpa = gpa;
        return EVENT.F_WALK_EABT;
      }
      const low = words[0];
      const high = words[1];
      const isTable = (low & TABLE) !== 0 && level < 3;
      if ((low & VALID) === 0 || !(isTable || isLeaf(low, level, root))) return EVENT.F_TRANSLATION;
      const outputHigh = high & OUTPUT_HIGH_MASK;
      if (context.outputBits < 48 && outputHigh >>> (context.outputBits - 32) !== 0) {
        return EVENT.F_ADDR_SIZE;
      }
      const log2size = isTable ? root.log2granule : shift;
      const output = outputHigh * 0x1_0000_0000 + alignDown(low, log2size);
      if (isTable) {
        if (!root.flat) tableAttributes |= high;
        table = output;
        shift -= root.log2granule - 3;
        indexMask = (1 << (root.log2granule - 3)) - 1;
        continue;
      }
      if ((low & AF) === 0 && !context.affd) return EVENT.F_ACCESS;
      this.gpa = output;
      this.log2size = shift;
      this.global = (low & NOT_GLOBAL) === 0;
      this.permissions = permissionsOf(low, high, tableAttributes, context);
      const needed = permissionsNeeded(access);
      return (this.permissions & needed) === needed ? 0 : EVENT.F_PERMISSION;
    }
  }
}

function isInRange(root: TableRoot, lo: number, hi: number, upper: number): boolean {
  const extension = upper === 0 ? 0 : 0xffff_ffff;
  return root.inputBits >= 32
    ? (hi ^ extension) >>> (root.inputBits - 32) === 0
    : hi === extension && (lo ^ extension) >>> root.inputBits === 0;
}

function isLeaf(low: number, level: number, root: TableRoot): boolean {
  if (level === 3) return (low & TABLE) !== 0;
  return level === 2 || (level === 1 && root.log2granule === 12);
}

function alignDown(low: number, log2size: number): number {
  return ((low >>> log2size) << log2size) >>> 0;
}

function permissionsOf(low: number, high: number, table: number, context: Context): number {
  const unprivileged = (low & AP_UNPRIVILEGED) !== 0 && (table & AP_TABLE_NO_UNPRIVILEGED) === 0;
  const writable = (low & AP_READ_ONLY) === 0 && (table & AP_TABLE_READ_ONLY) === 0;
  const data = writable ? Permission.Read | Permission.Write : Permission.Read;
  let permissions = 0;
  if (unprivileged) permissions |= data;
  if (!(context.pan && unprivileged)) permissions |= data << 3;
  const unprivilegedWrite = unprivileged && writable;
  const wxn = context.wxn && writable;
  if ((high & UXN) === 0 && (table & UXN_TABLE) === 0 && !(wxn && unprivileged)) {
    permissions |= Permission.Execute;
  }
  if ((high & PXN) === 0 && (table & PXN_TABLE) === 0 && !wxn && !unprivilegedWrite) {
    permissions |= Permission.Execute << 3;
  }
  return permissions;
}
