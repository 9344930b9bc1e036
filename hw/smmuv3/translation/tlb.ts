/**
 * Cached translations: set-associative, bounded, invalidated by address, ASID or all. IHI 0070 §3.17 TLB tagging.
 *
 * An entry lives at the size of its leaf. An invalidation by ASID or of all only raises a floor: entries stamped
 * before it no longer match, so it costs the same however many entries there are.
 * @module
 */

const WAYS = 4;
const GLOBAL = 0x1_0000;
const KIND_ASID = 0x1_ffff;
const KIND_SIZE_SHIFT = 17;

// Words of an entry; eight of them share half a cache line.
const WORDS = 8;
const TAG_LO = 0;
const TAG_HI = 1;
const KIND = 2;
const STAMP = 3;
const GPA_LO = 4;
const GPA_HI = 5;
const PERMISSIONS = 6;
const OFFSET_MASK = 7;

/** A TLB as a plain value; see `Tlb.snapshot`. */
export interface TlbSnapshot {
  /** How many translations it can hold. */
  readonly capacity: number;
  /** Entries that were ever used: the number of each and its words. */
  readonly entries: readonly (readonly number[])[];
  /** Sets in which something was pushed out: the number of each and the way. */
  readonly victims: readonly (readonly [set: number, way: number])[];
  /** ASIDs that were invalidated, each with the stamp below which its entries do not match. */
  readonly asidFloors: readonly (readonly [asid: number, floor: number])[];
  /** The stamp below which no entry matches. */
  readonly allFloor: number;
  /** The latest stamp. */
  readonly clock: number;
  /** log2 of the page sizes that entries may have. */
  readonly log2sizes: readonly number[];
}

/** Translations of one SMMU. An entry is named by a number, valid until the next insertion or invalidation. */
export class Tlb {
  readonly #words: Uint32Array;
  readonly #setMask: number;
  readonly #victims: Uint8Array;
  readonly #asidFloor = new Uint32Array(GLOBAL + 1);
  #allFloor = 1;
  #clock = 1;
  /** log2 of the page sizes that entries may have, and the same as bits. */
  #sizes: readonly number[] = [];
  #sizeMask = 0;
  readonly #lastStamp: number;

  /** A TLB of `4 << log2sets` entries; past `lastStamp` invalidations it starts again, empty. */
  constructor(log2sets: number = 10, lastStamp: number = 0xffff_ffff) {
    this.#lastStamp = lastStamp;
    const sets = 1 << log2sets;
    this.#setMask = sets - 1;
    this.#words = new Uint32Array(sets * WAYS * WORDS);
    this.#victims = new Uint8Array(sets);
  }

  /** How many translations it can hold. */
  get capacity(): number {
    return this.#words.length / WORDS;
  }

  /** How many translations it holds that would still match; counts all of them. */
  get count(): number {
    let count = 0;
    for (let at = 0; at < this.#words.length; at += WORDS) if (this.#isLive(at)) count++;
    return count;
  }

  /** Finds the entry that translates an address, or returns -1. */
  find(lo: number, hi: number, asid: number): number {
    const words = this.#words;
    const sizes = this.#sizes;
    for (let i = 0; i < sizes.length; i++) {
      const log2size = sizes[i];
      const tag = ((lo >>> log2size) << log2size) >>> 0;
      const size = log2size << KIND_SIZE_SHIFT;
      const first = this.#setOf(lo, hi, log2size);
      for (let at = first; at < first + WAYS * WORDS; at += WORDS) {
        if (words[at + TAG_LO] !== tag || words[at + TAG_HI] !== hi) continue;
        const kind = words[at + KIND] ^ size;
        if ((kind === asid || kind === GLOBAL) && this.#isLive(at)) return at;
      }
    }
    return -1;
  }

  /** Output page address of an entry, in bytes. */
  gpa(at: number): number {
    return this.#words[at + GPA_HI] * 0x1_0000_0000 + this.#words[at + GPA_LO];
  }

  /** Permissions of an entry; see `walk.ts`. */
  permissions(at: number): number {
    return this.#words[at + PERMISSIONS];
  }

  /** Bits of an address inside the page of an entry. */
  offsetMask(at: number): number {
    return this.#words[at + OFFSET_MASK];
  }

  /** Remembers a translation of the page of 2^log2size bytes (at most 1 GiB) around an address. */
  insert(
    lo: number,
    hi: number,
    asid: number,
    global: boolean,
    log2size: number,
    gpaLo: number,
    gpaHi: number,
    permissions: number,
  ): void {
    if ((this.#sizeMask & (1 << log2size)) === 0) {
      this.#sizeMask |= 1 << log2size;
      this.#sizes = [...this.#sizes, log2size].sort((a, b) => a - b);
    }
    const kind = (global ? GLOBAL : asid) | (log2size << KIND_SIZE_SHIFT);
    const tag = ((lo >>> log2size) << log2size) >>> 0;
    const at = this.#choose(this.#setOf(lo, hi, log2size), tag, hi, kind);
    const words = this.#words;
    words[at + TAG_LO] = tag;
    words[at + TAG_HI] = hi;
    words[at + KIND] = kind;
    words[at + STAMP] = this.#clock;
    words[at + GPA_LO] = gpaLo;
    words[at + GPA_HI] = gpaHi;
    words[at + PERMISSIONS] = permissions;
    words[at + OFFSET_MASK] = (1 << log2size) - 1;
  }

  /** Drops everything. */
  invalidateAll(): void {
    this.#allFloor = this.#tick();
    this.#sizes = [];
    this.#sizeMask = 0;
  }

  /** Drops what belongs to an ASID; global translations stay. */
  invalidateAsid(asid: number): void {
    this.#asidFloor[asid] = this.#tick();
  }

  /**
   * Drops whatever translates an address in [hi:lo, hi:lo + sizeBytes), of one ASID and global, or of all when `asid`
   * is -1. Bounded by the capacity, however large the range.
   */
  invalidateRange(lo: number, hi: number, sizeBytes: number, asid: number): void {
    for (const log2size of this.#sizes) {
      const page = 2 ** log2size;
      const count = Math.ceil((lo % page + sizeBytes) / page);
      if (count > this.#setMask) return this.#scanRange(lo, hi, sizeBytes, asid);
      let pageLo = ((lo >>> log2size) << log2size) >>> 0;
      let pageHi = hi;
      for (let i = 0; i < count; i++) {
        this.#drop(pageLo, pageHi, log2size, asid);
        const next = pageLo + page;
        if (next > 0xffff_ffff) pageHi = (pageHi + 1) >>> 0;
        pageLo = next >>> 0;
      }
    }
  }

  /** Everything that decides what it finds and pushes out from now on; entries that no longer match are part of that. */
  snapshot(): TlbSnapshot {
    const words = this.#words;
    const entries: number[][] = [];
    for (let at = 0; at < words.length; at += WORDS) {
      if (words[at + KIND] !== 0) entries.push([at / WORDS, ...words.subarray(at, at + WORDS)]);
    }
    return {
      capacity: this.capacity,
      entries,
      victims: [...this.#victims.entries()].filter(([, way]) => way !== 0),
      asidFloors: [...this.#asidFloor.entries()].filter(([, floor]) => floor !== 0),
      allFloor: this.#allFloor,
      clock: this.#clock,
      log2sizes: [...this.#sizes],
    };
  }

  /** Becomes what a snapshot says. Throws a RangeError when that is of a TLB of another capacity. */
  restore(snapshot: TlbSnapshot): void {
    if (snapshot.capacity !== this.capacity) {
      throw new RangeError(
        `Cannot restore a TLB of ${snapshot.capacity} entries into one of ${this.capacity}`,
      );
    }
    this.#words.fill(0);
    for (const [index, ...words] of snapshot.entries) this.#words.set(words, index * WORDS);
    this.#victims.fill(0);
    for (const [set, way] of snapshot.victims) this.#victims[set] = way;
    this.#asidFloor.fill(0);
    for (const [asid, floor] of snapshot.asidFloors) this.#asidFloor[asid] = floor;
    this.#allFloor = snapshot.allFloor;
    this.#clock = snapshot.clock;
    this.#sizes = [...snapshot.log2sizes];
    this.#sizeMask = this.#sizes.reduce((mask, log2size) => mask | (1 << log2size), 0);
  }

  #scanRange(lo: number, hi: number, sizeBytes: number, asid: number): void {
    const words = this.#words;
    for (let at = 0; at < words.length; at += WORDS) {
      if (!matches(words[at + KIND], asid)) continue;
      const page = 2 ** (words[at + KIND] >>> KIND_SIZE_SHIFT);
      const fromStart = (words[at + TAG_HI] - hi) * 0x1_0000_0000 + (words[at + TAG_LO] - lo);
      if (fromStart < sizeBytes && fromStart + page > 0) words[at + STAMP] = 0;
    }
  }

  #drop(lo: number, hi: number, log2size: number, asid: number): void {
    const words = this.#words;
    const first = this.#setOf(lo, hi, log2size);
    for (let at = first; at < first + WAYS * WORDS; at += WORDS) {
      const kind = words[at + KIND];
      if (
        words[at + TAG_LO] === lo && words[at + TAG_HI] === hi &&
        kind >>> KIND_SIZE_SHIFT === log2size && matches(kind, asid)
      ) words[at + STAMP] = 0;
    }
  }

  #isLive(at: number): boolean {
    const stamp = this.#words[at + STAMP];
    return stamp >= this.#allFloor &&
      stamp >= this.#asidFloor[this.#words[at + KIND] & KIND_ASID];
  }

  /** The entry of a set to overwrite: the same page's, else a dead one, else each in turn. */
  #choose(first: number, tag: number, hi: number, kind: number): number {
    const words = this.#words;
    let dead = -1;
    for (let at = first; at < first + WAYS * WORDS; at += WORDS) {
      if (words[at + TAG_LO] === tag && words[at + TAG_HI] === hi && words[at + KIND] === kind) {
        return at;
      }
      if (dead < 0 && !this.#isLive(at)) dead = at;
    }
    if (dead >= 0) return dead;
    const set = first / (WAYS * WORDS);
    this.#victims[set] = (this.#victims[set] + 1) % WAYS;
    return first + this.#victims[set] * WORDS;
  }

  /** Index of the first word of the set in which a page may be. */
  #setOf(lo: number, hi: number, log2size: number): number {
    const page = (lo >>> log2size) ^ (hi << (32 - log2size));
    return ((page ^ (page >>> 10)) & this.#setMask) * (WAYS * WORDS);
  }

  /** A stamp later than all before it. */
  #tick(): number {
    if (this.#clock === this.#lastStamp) {
      this.#words.fill(0);
      this.#asidFloor.fill(0);
      this.#allFloor = 1;
      this.#clock = 1;
    }
    return ++this.#clock;
  }
}

/**
 * A snapshot without the entries that translate an address in [hi:lo, hi:lo + sizeBytes), whatever their ASID; of those
 * of one page size only, where that is given as its log2.
 */
export function withoutRange(
  snapshot: TlbSnapshot,
  lo: number,
  hi: number,
  sizeBytes: number,
  log2size?: number,
): TlbSnapshot {
  const entries = snapshot.entries.map(([index, ...words]) => {
    const log2page = words[KIND] >>> KIND_SIZE_SHIFT;
    const fromStart = (words[TAG_HI] - hi) * 0x1_0000_0000 + (words[TAG_LO] - lo);
    const isInside = fromStart < sizeBytes && fromStart + 2 ** log2page > 0 &&
      (log2size ?? log2page) === log2page;
    return [index, ...words.map((word, i) => isInside && i === STAMP ? 0 : word)];
  });
  return { ...snapshot, entries };
}

function matches(kind: number, asid: number): boolean {
  const tag = kind & KIND_ASID;
  return asid < 0 || tag === asid || tag === GLOBAL;
}
