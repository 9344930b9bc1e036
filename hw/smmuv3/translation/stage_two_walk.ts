/**
 * Stage 2: from an intermediate physical address to a physical one, by TLB or walk. DDI 0487 D8.2, D8.4, IHI 0070 §7.3.
 * @module
 */
import { Entry, type GuestMemory } from "../../guest_memory.ts";
import type { StageTwo } from "../configuration/stage_two.ts";
import type { TableRoot } from "../configuration/table_root.ts";
import { DESCRIPTOR_SIZE, OUTPUT_HIGH_MASK, OUTPUT_WIDE_SHIFT } from "../spec/descriptors.ts";
import { CLASS, EVENT } from "../spec/events.ts";
import { CHANGED, DescriptorUpdate, MOST_RETRIES } from "./descriptor_update.ts";
import { DEVICE_MEMORY, STAGE2_PERMISSIONS, WRITES } from "./permissions.ts";
import { LOG2_LARGEST, type Tlb } from "./tlb.ts";
import type { Trouble } from "./trouble.ts";

const VALID = 1 << 0;
const TABLE = 1 << 1;
const MEM_ATTR_LOW_BIT = 1 << 4;
const MEM_ATTR_HIGH_BITS = 0b11 << 4;
const S2AP_SHIFT = 6;
const S2AP_WRITE = 1 << 7;
const AF = 1 << 10;
const DBM = 1 << (51 - 32);
const XN_SHIFT = 53 - 32;
const BY_PRIVILEGE = 0b1_0000;

/** Translates by stage 2; the results stay in its fields until the next time. */
export class StageTwoWalker {
  /** Low word of the physical address. */
  gpaLo = 0;
  /** High word of the physical address. */
  gpaHi = 0;
  /** log2 of how much around the address lies in one piece, in bytes. */
  log2size = 0;
  /** log2 of the size of the leaf. */
  log2leaf = 0;
  /** See `Permission` and `DEVICE_MEMORY`. */
  permissions = 0;

  readonly #memory: GuestMemory;
  readonly #tlb: Tlb;
  readonly #trouble: Trouble;
  readonly #update: DescriptorUpdate;
  readonly #descriptor = new Entry(DESCRIPTOR_SIZE);

  /** A walker of tables in `memory`, with its results in `tlb`; when it fails `trouble` says why. */
  constructor(memory: GuestMemory, tlb: Tlb, trouble: Trouble) {
    this.#memory = memory;
    this.#tlb = tlb;
    this.#trouble = trouble;
    this.#update = new DescriptorUpdate(memory);
  }

  /**
   * Translates an intermediate physical address for an access that needs these permission bits; `klass`, one of `CLASS`,
   * says what it is. Returns 0, or the number of the event.
   */
  translate(stage2: StageTwo, lo: number, hi: number, needed: number, klass: number): number {
    const tlb = this.#tlb;
    const { domain } = stage2;
    const at = tlb.find(lo, hi, domain, domain);
    if (at >= 0 && permits(stage2, tlb.permissions(at), needed, klass)) {
      this.gpaLo = (tlb.gpaLo(at) | (lo & tlb.offsetMask(at))) >>> 0;
      this.gpaHi = tlb.gpaHi(at);
      this.log2size = tlb.log2size(at);
      this.permissions = tlb.permissions(at);
      return 0;
    }
    let event = this.#walk(stage2, lo, hi, needed, klass);
    for (let i = 0; event === CHANGED && i < MOST_RETRIES; i++) {
      event = this.#walk(stage2, lo, hi, needed, klass);
    }
    if (event !== 0) return this.#fail(event, lo, hi, needed, klass);
    const { log2size, log2leaf, gpaLo, gpaHi, permissions } = this;
    const base = ((gpaLo >>> log2size) << log2size) >>> 0;
    tlb.insert(lo, hi, domain, log2size, log2leaf, base, gpaHi, permissions);
    return 0;
  }

  #walk(stage2: StageTwo, lo: number, hi: number, needed: number, klass: number): number {
    const { root } = stage2;
    if (!isInRange(root, lo, hi)) return EVENT.F_TRANSLATION;
    const { log2granule, stride, indexMask, tableMask, wideMask } = root;
    const descriptor = this.#descriptor;
    const words = descriptor.words;
    let gpa = root.gpa;
    let shift = root.firstShift;
    let mask = root.firstIndexMask;
    for (;;) {
      const index = shift >= 32 ? hi >>> (shift - 32) : (lo >>> shift) | (hi << (32 - shift));
      gpa += (index & mask) * DESCRIPTOR_SIZE;
      if (!this.#memory.fetch(gpa, descriptor)) {
        this.#trouble.gpa = gpa;
        return EVENT.F_WALK_EABT;
      }
      const low = words[0];
      if ((low & VALID) === 0) return EVENT.F_TRANSLATION;
      const isTable = (low & TABLE) !== 0;
      const isLast = shift === log2granule;
      if (isLast ? !isTable : !isTable && shift > root.largestBlock) return EVENT.F_TRANSLATION;
      const outputHi = (words[1] & OUTPUT_HIGH_MASK) | ((low & wideMask) << OUTPUT_WIDE_SHIFT);
      if ((outputHi & stage2.beyondOutput) !== 0) return EVENT.F_ADDR_SIZE;
      if (isLast || !isTable) {
        return this.#leaf(stage2, gpa, shift, outputHi, lo, hi, needed, klass);
      }
      gpa = outputHi * 0x1_0000_0000 + ((low & tableMask) >>> 0);
      shift -= stride;
      mask = indexMask;
    }
  }

  /** What the descriptor at `gpa`, which ended the walk, says about the page. */
  #leaf(
    stage2: StageTwo,
    gpa: number,
    shift: number,
    outputHi: number,
    lo: number,
    hi: number,
    needed: number,
    klass: number,
  ): number {
    const [low, high] = this.#descriptor.words;
    let set = 0;
    if ((low & AF) === 0) {
      if (stage2.ha) set = AF;
      else if (!stage2.affd) return EVENT.F_ACCESS;
    }
    let s2ap = (low >>> S2AP_SHIFT) & 0b11;
    if (stage2.hd && (high & DBM) !== 0 && (low & S2AP_WRITE) === 0 && (needed & WRITES) !== 0) {
      set |= S2AP_WRITE;
      s2ap |= 0b10;
    }
    const xn = (high >>> XN_SHIFT) & 0b11;
    const type = isDevice(low, stage2.fwb) ? DEVICE_MEMORY : 0;
    const permissions = type |
      STAGE2_PERMISSIONS[s2ap | (xn << 2) | (stage2.xnx ? BY_PRIVILEGE : 0)];
    if (!permits(stage2, permissions, needed, klass)) return EVENT.F_PERMISSION;
    if (set !== 0) {
      const event = this.#update.apply(gpa, this.#descriptor, set, 0);
      if (event !== 0) {
        this.#trouble.gpa = gpa;
        return event;
      }
    }
    const isPiece = shift > LOG2_LARGEST;
    this.permissions = permissions;
    this.log2leaf = shift;
    this.log2size = isPiece ? LOG2_LARGEST : shift;
    this.gpaLo = isPiece ? lo : (((low >>> shift) << shift) | (lo & ((1 << shift) - 1))) >>> 0;
    this.gpaHi = isPiece ? withOffset(outputHi, hi, shift) : outputHi;
    return 0;
  }

  #fail(event: number, lo: number, hi: number, needed: number, klass: number): number {
    const trouble = this.#trouble;
    trouble.stage2 = true;
    trouble.klass = klass;
    trouble.ipaLo = lo;
    trouble.ipaHi = hi;
    trouble.isTableWrite = klass === CLASS.TT && (needed & WRITES) !== 0;
    return event === CHANGED ? EVENT.F_WALK_EABT : event;
  }
}

/** The high word of an address in a block of 2^shift bytes, more than 4 GiB. */
export function withOffset(outputHi: number, hi: number, shift: number): number {
  const inside = (1 << (shift - 32)) - 1;
  return (outputHi & ~inside) | (hi & inside);
}

function permits(stage2: StageTwo, permissions: number, needed: number, klass: number): boolean {
  if ((permissions & needed) !== needed) return false;
  return klass === CLASS.IN || !stage2.ptw || (permissions & DEVICE_MEMORY) === 0;
}

/** STE.S2FWB gives the encodings of MemAttr another meaning. DDI 0487 D8.6 */
function isDevice(low: number, fwb: boolean): boolean {
  return (low & (fwb ? MEM_ATTR_LOW_BIT : MEM_ATTR_HIGH_BITS)) === 0;
}

function isInRange({ inputBits }: TableRoot, lo: number, hi: number): boolean {
  return inputBits >= 32 ? hi >>> (inputBits - 32) === 0 : hi === 0 && lo >>> inputBits === 0;
}
