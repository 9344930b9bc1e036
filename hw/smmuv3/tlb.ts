/**
 * Cached translations: set-associative, bounded, invalidated by address, ASID or all. IHI 0070 §3.17 TLB tagging.
 *
 * An entry lives at the size of its leaf. An invalidation by ASID or of all only raises a floor: entries stamped
 * before it no longer match, so it costs the same however many entries there are.
 * @module
 */

const WAYS = 4;
const GLOBAL = 0x1_0000;
const SIZE_SHIFT = 17;

/** Translations of one SMMU. */
export class Tlb {
  /** Output page address of the last hit, in bytes. */
  gpa = 0;
  /** Permissions of the last hit; see `walk.ts`. */
  permissions = 0;
  /** log2 of the page size of the last hit. */
  log2size = 0;

  readonly #setMask: number;
  readonly #tagLo: Uint32Array;
  readonly #tagHi: Uint32Array;
  readonly #kind: Uint32Array;
  readonly #gpa: Float64Array;
  readonly #permissions: Uint8Array;
  readonly #stamp: Float64Array;
  readonly #victim: Uint8Array;
  readonly #asidFloor = new Float64Array(GLOBAL + 1);
  #allFloor = 1;
  #clock = 1;
  #sizes: number[] = [];

  /** A TLB of `4 << log2sets` entries. */
  constructor(log2sets: number = 10) {
    const sets = 1 << log2sets;
    this.#setMask = sets - 1;
    this.#tagLo = new Uint32Array(sets * WAYS);
    this.#tagHi = new Uint32Array(sets * WAYS);
    this.#kind = new Uint32Array(sets * WAYS);
    this.#gpa = new Float64Array(sets * WAYS);
    this.#permissions = new Uint8Array(sets * WAYS);
    this.#stamp = new Float64Array(sets * WAYS);
    this.#victim = new Uint8Array(sets);
  }

  /** How many translations it can hold. */
  get capacity(): number {
    return this.#stamp.length;
  }

  /** How many translations it holds that would still match; counts all of them. */
  get count(): number {
    let count = 0;
    for (let i = 0; i < this.#stamp.length; i++) if (this.#isLive(i)) count++;
    return count;
  }

  /** Looks an address up; on a hit `gpa`, `permissions` and `log2size` say what was found. */
  lookup(lo: number, hi: number, asid: number): boolean {
    const sizes = this.#sizes;
    for (let s = 0; s < sizes.length; s++) {
      const index = this.#find(lo, hi, asid, sizes[s]);
      if (index >= 0) {
        this.gpa = this.#gpa[index];
        this.permissions = this.#permissions[index];
        this.log2size = sizes[s];
        return true;
      }
    }
    return false;
  }

  /** Remembers a translation of the page of 2^log2size bytes around an address. */
  insert(
    lo: number,
    hi: number,
    asid: number,
    global: boolean,
    log2size: number,
    gpa: number,
    permissions: number,
  ): void {
    if (!this.#sizes.includes(log2size)) {
      this.#sizes = [...this.#sizes, log2size].sort((a, b) => a - b);
    }
    const kind = (global ? GLOBAL : asid) | (log2size << SIZE_SHIFT);
    const set = this.#setOf(lo, hi, log2size);
    let index = this.#find(lo, hi, asid, log2size);
    if (index < 0) index = set * WAYS + this.#choose(set);
    this.#tagLo[index] = maskLo(lo, log2size);
    this.#tagHi[index] = maskHi(hi, log2size);
    this.#kind[index] = kind;
    this.#gpa[index] = gpa;
    this.#permissions[index] = permissions;
    this.#stamp[index] = this.#clock;
  }

  /** Drops everything. */
  invalidateAll(): void {
    this.#allFloor = ++this.#clock;
    this.#sizes = [];
  }

  /** Drops what belongs to an ASID; global translations stay. */
  invalidateAsid(asid: number): void {
    this.#asidFloor[asid] = ++this.#clock;
  }

  /**
   * Drops whatever translates an address in [lo:hi, lo:hi + sizeBytes), of one ASID and global, or of all when `asid`
   * is -1. Bounded by the capacity, however large the range.
   */
  invalidateRange(lo: number, hi: number, sizeBytes: number, asid: number): void {
    for (const log2size of this.#sizes) {
      const page = 2 ** log2size;
      const first = (lo % page) + sizeBytes;
      const count = Math.ceil(first / page);
      if (count > this.#setMask) return this.#scanRange(lo, hi, sizeBytes, asid);
      let pageLo = maskLo(lo, log2size);
      let pageHi = maskHi(hi, log2size);
      for (let i = 0; i < count; i++) {
        this.#drop(pageLo, pageHi, log2size, asid);
        const next = pageLo + page;
        pageHi = (pageHi + Math.floor(next / 0x1_0000_0000)) >>> 0;
        pageLo = next >>> 0;
      }
    }
  }

  #scanRange(lo: number, hi: number, sizeBytes: number, asid: number): void {
    for (let i = 0; i < this.#stamp.length; i++) {
      if (!this.#isLive(i) || !matches(this.#kind[i], asid)) continue;
      const log2size = this.#kind[i] >>> SIZE_SHIFT;
      const fromStart = (this.#tagHi[i] - hi) * 0x1_0000_0000 + (this.#tagLo[i] - lo);
      if (fromStart < sizeBytes && fromStart + 2 ** log2size > 0) this.#stamp[i] = 0;
    }
  }

  #drop(lo: number, hi: number, log2size: number, asid: number): void {
    const first = this.#setOf(lo, hi, log2size) * WAYS;
    for (let i = first; i < first + WAYS; i++) {
      if (
        this.#tagLo[i] === lo && this.#tagHi[i] === hi &&
        this.#kind[i] >>> SIZE_SHIFT === log2size && matches(this.#kind[i], asid)
      ) {
        this.#stamp[i] = 0;
      }
    }
  }

  #find(lo: number, hi: number, asid: number, log2size: number): number {
    const tagLo = maskLo(lo, log2size);
    const tagHi = maskHi(hi, log2size);
    const own = asid | (log2size << SIZE_SHIFT);
    const global = GLOBAL | (log2size << SIZE_SHIFT);
    const first = this.#setOf(lo, hi, log2size) * WAYS;
    for (let i = first; i < first + WAYS; i++) {
      const kind = this.#kind[i];
      if (
        this.#tagLo[i] === tagLo && this.#tagHi[i] === tagHi && (kind === own || kind === global) &&
        this.#isLive(i)
      ) return i;
    }
    return -1;
  }

  #isLive(index: number): boolean {
    const stamp = this.#stamp[index];
    return stamp >= this.#allFloor && stamp >= this.#asidFloor[this.#kind[index] & 0x1_ffff];
  }

  #choose(set: number): number {
    for (let way = 0; way < WAYS; way++) if (!this.#isLive(set * WAYS + way)) return way;
    return this.#victim[set] = (this.#victim[set] + 1) % WAYS;
  }

  #setOf(lo: number, hi: number, log2size: number): number {
    const page = log2size < 32
      ? (lo >>> log2size) ^ (hi << (32 - log2size))
      : hi >>> (log2size - 32);
    return (page ^ (page >>> 10) ^ log2size) & this.#setMask;
  }
}

function matches(kind: number, asid: number): boolean {
  const tag = kind & 0x1_ffff;
  return asid < 0 || tag === asid || tag === GLOBAL;
}

function maskLo(lo: number, log2size: number): number {
  return log2size < 32 ? ((lo >>> log2size) << log2size) >>> 0 : 0;
}

function maskHi(hi: number, log2size: number): number {
  return log2size <= 32 ? hi : ((hi >>> (log2size - 32)) << (log2size - 32)) >>> 0;
}
