/**
 * Cached translations: set-associative, bounded, invalidated by address, ASID, VMID or all. IHI 0070 §3.17 TLB tagging.
 *
 * An entry belongs to a domain. It lives at the size of what it translates in one piece, and knows the size of the leaf
 * that it came from, which is larger where stage 2 has smaller pages: an invalidation of any address of the leaf drops all
 * of its pieces. An invalidation by ASID, by VMID or of all only raises floors: entries stamped before them no longer
 * match, so it costs the same however many entries there are. Nor does an invalidation by address look for what is not
 * there: pages of a domain that has no entries.
 * @module
 */
import { Domains, MOST_DOMAINS, SHARED } from "./domains.ts";
import {
  alignHigh,
  alignLow,
  GPA_HI,
  GPA_LO,
  KIND,
  KIND_DOMAIN,
  KIND_SIZE_SHIFT,
  leafDistance,
  leafOf,
  OFFSET_MASK,
  PERMISSIONS,
  permissionsOf,
  STAMP,
  TAG_HI,
  TAG_LO,
  WAYS,
  WORDS,
} from "./tlb_entry.ts";
import type { TlbSnapshot } from "./tlb_snapshot.ts";

/** In place of a domain: all that share a VMID and a world. */
const EVERY = -2;

/** Sizes beyond this are cached in pieces. */
export const LOG2_LARGEST = 30;

/** Translations of one SMMU. An entry is named by a number, valid until the next insertion or invalidation. */
export class Tlb {
  /** Its address spaces. */
  readonly domains: Domains = new Domains();
  readonly #words: Uint32Array;
  readonly #setMask: number;
  readonly #victims: Uint8Array;
  readonly #floor = new Uint32Array(MOST_DOMAINS);
  #allFloor = 1;
  #clock = 1;
  /** log2 of the page sizes that entries may have, and the same as bits. */
  #sizes: readonly number[] = [];
  #sizeMask = 0;
  /** log2 of the largest leaf that pieces of each size came from; 0 where there are no pieces. */
  readonly #widest = new Uint8Array(LOG2_LARGEST + 1);
  /** How many entries of each domain would still match. */
  readonly #live = new Uint32Array(MOST_DOMAINS);
  readonly #lastStamp: number;
  /** Whose entries an invalidation of a range drops. */
  #owner = EVERY;
  #shared = 0;

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

  /** Finds the entry that translates an address in a domain, or in what it shares with others; or returns -1. */
  find(lo: number, hi: number, domain: number, shared: number): number {
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
        if ((kind === domain || kind === shared) && this.#isLive(at)) return at;
      }
    }
    return -1;
  }

  /** Output page address of an entry, in bytes. */
  gpa(at: number): number {
    return this.#words[at + GPA_HI] * 0x1_0000_0000 + this.#words[at + GPA_LO];
  }

  /** Low word of an entry's output page address. */
  gpaLo(at: number): number {
    return this.#words[at + GPA_LO];
  }

  /** High word of an entry's output page address. */
  gpaHi(at: number): number {
    return this.#words[at + GPA_HI];
  }

  /** Permissions of an entry, see `permissions.ts`; bits above those of that file mean something else. */
  permissions(at: number): number {
    return this.#words[at + PERMISSIONS];
  }

  /** log2 of the size of an entry's page. */
  log2size(at: number): number {
    return this.#words[at + KIND] >>> KIND_SIZE_SHIFT;
  }

  /** Bits of an address inside the page of an entry. */
  offsetMask(at: number): number {
    return this.#words[at + OFFSET_MASK];
  }

  /**
   * Remembers a translation of the page of 2^log2size bytes (at most 1 GiB) around an address, which comes of a leaf of
   * 2^log2leaf bytes.
   */
  insert(
    lo: number,
    hi: number,
    domain: number,
    log2size: number,
    log2leaf: number,
    gpaLo: number,
    gpaHi: number,
    permissions: number,
  ): void {
    if ((this.#sizeMask & (1 << log2size)) === 0) {
      this.#sizeMask |= 1 << log2size;
      this.#sizes = [...this.#sizes, log2size].sort((a, b) => a - b);
    }
    if (log2leaf !== log2size) this.#widen(log2size, log2leaf);
    const kind = domain | (log2size << KIND_SIZE_SHIFT);
    const tag = ((lo >>> log2size) << log2size) >>> 0;
    const at = this.#choose(this.#setOf(lo, hi, log2size), tag, hi, kind);
    const words = this.#words;
    this.#drop(at);
    this.#live[domain]++;
    words[at + TAG_LO] = tag;
    words[at + TAG_HI] = hi;
    words[at + KIND] = kind;
    words[at + STAMP] = this.#clock;
    words[at + GPA_LO] = gpaLo;
    words[at + GPA_HI] = gpaHi;
    words[at + PERMISSIONS] = permissionsOf(permissions, log2leaf);
    words[at + OFFSET_MASK] = (1 << log2size) - 1;
  }

  /** Drops everything. */
  invalidateAll(): void {
    this.#allFloor = this.#tick();
    this.#live.fill(0, 0, this.domains.count);
    this.#sizes = [];
    this.#sizeMask = 0;
    this.#widest.fill(0);
  }

  /** Drops everything and forgets the domains: nobody may use their numbers afterwards. */
  clear(): void {
    this.invalidateAll();
    this.domains.clear();
  }

  /** Drops what belongs to one ASID; what it shares with others stays. */
  invalidateAsid(world: number, vmid: number, asid: number): void {
    const domain = this.domains.find(world, vmid, asid);
    if (domain < 0) return;
    this.#floor[domain] = this.#tick();
    this.#live[domain] = 0;
  }

  /** Drops what belongs to a VMID in a world, whatever its ASID. */
  invalidateVmid(world: number, vmid: number): void {
    const floor = this.#tick();
    for (let i = this.domains.count - 1; i >= 0; i--) {
      if (!this.domains.isOf(i, world, vmid)) continue;
      this.#floor[i] = floor;
      this.#live[i] = 0;
    }
  }

  /**
   * Drops whatever translates an address in [hi:lo, hi:lo + sizeBytes) for an ASID, and what that shares with others; for
   * all ASIDs of the VMID when `asid` is -1. Bounded by the capacity, however large the range.
   */
  invalidateRange(
    lo: number,
    hi: number,
    sizeBytes: number,
    world: number,
    vmid: number,
    asid: number,
  ): void {
    const { domains } = this;
    const domain = asid < 0 ? -1 : domains.find(world, vmid, asid);
    const shared = domain < 0 ? domains.find(world, vmid, SHARED) : domains.sharedOf(domain);
    // Nothing was ever translated there.
    if (shared < 0) return;
    const own = domain < 0 ? 0 : this.#live[domain];
    if (asid >= 0 && own + this.#live[shared] === 0) return;
    const mask = this.#setMask;
    this.#owner = asid < 0 ? EVERY : domain;
    this.#shared = shared;
    for (const log2size of this.#sizes) {
      const widest = this.#widest[log2size];
      if (widest === 0) {
        const page = 2 ** log2size;
        const count = Math.ceil((lo % page + sizeBytes) / page);
        if (count > mask) return this.#scanRange(lo, hi, sizeBytes);
        this.#dropPages(((lo >>> log2size) << log2size) >>> 0, hi, count, log2size);
      } else {
        // Of a leaf in pieces all are dropped, also those outside the range.
        const leaf = 2 ** widest;
        const firstLo = alignLow(lo, widest);
        const firstHi = alignHigh(hi, widest);
        const lead = (hi - firstHi) * 0x1_0000_0000 + (lo - firstLo);
        const count = Math.ceil((lead + sizeBytes) / leaf) * 2 ** (widest - log2size);
        if (count > mask) return this.#scanRange(lo, hi, sizeBytes);
        this.#dropPages(firstLo, firstHi, count, log2size, lo, hi, sizeBytes);
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
      victims: sparse(this.#victims),
      domains: this.domains.list(),
      floors: sparse(this.#floor),
      allFloor: this.#allFloor,
      clock: this.#clock,
      sizes: this.#sizes.map((log2size) => [log2size, this.#widest[log2size]]),
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
    fill(this.#victims, snapshot.victims);
    this.domains.restore(snapshot.domains);
    fill(this.#floor, snapshot.floors);
    this.#allFloor = snapshot.allFloor;
    this.#clock = snapshot.clock;
    fill(this.#widest, snapshot.sizes);
    this.#live.fill(0);
    for (let at = 0; at < this.#words.length; at += WORDS) {
      if (this.#isLive(at)) this.#live[this.#words[at + KIND] & KIND_DOMAIN]++;
    }
    this.#sizes = snapshot.sizes.map(([log2size]) => log2size);
    this.#sizeMask = this.#sizes.reduce((mask, log2size) => mask | (1 << log2size), 0);
  }

  #widen(log2size: number, log2leaf: number): void {
    this.#widest[log2size] = Math.max(this.#widest[log2size], log2leaf);
  }

  #scanRange(lo: number, hi: number, sizeBytes: number): void {
    const words = this.#words;
    for (let at = 0; at < words.length; at += WORDS) {
      if (this.#isOwned(words[at + KIND] & KIND_DOMAIN) && this.#isInRange(at, lo, hi, sizeBytes)) {
        this.#drop(at);
      }
    }
  }

  /** Drops the owner's entries of `count` pages from hi:lo on; with a range, only those whose leaf has an address of it. */
  #dropPages(
    lo: number,
    hi: number,
    count: number,
    log2size: number,
    rangeLo: number = 0,
    rangeHi: number = 0,
    rangeBytes: number = 0,
  ): void {
    const words = this.#words;
    const page = 2 ** log2size;
    let pageLo = lo;
    let pageHi = hi;
    for (let i = 0; i < count; i++) {
      const first = this.#setOf(pageLo, pageHi, log2size);
      for (let at = first; at < first + WAYS * WORDS; at += WORDS) {
        if (words[at + TAG_LO] !== pageLo || words[at + TAG_HI] !== pageHi) continue;
        const kind = words[at + KIND];
        if (kind >>> KIND_SIZE_SHIFT !== log2size || !this.#isOwned(kind & KIND_DOMAIN)) continue;
        if (rangeBytes > 0 && !this.#isInRange(at, rangeLo, rangeHi, rangeBytes)) continue;
        this.#drop(at);
      }
      const next = pageLo + page;
      if (next > 0xffff_ffff) pageHi = (pageHi + 1) >>> 0;
      pageLo = next >>> 0;
    }
  }

  #isOwned(domain: number): boolean {
    return domain === this.#owner || domain === this.#shared ||
      (this.#owner === EVERY && this.domains.isSibling(domain, this.#shared));
  }

  #isInRange(at: number, lo: number, hi: number, sizeBytes: number): boolean {
    const distance = leafDistance(this.#words, at, lo, hi);
    return distance < sizeBytes && distance + 2 ** leafOf(this.#words[at + PERMISSIONS]) > 0;
  }

  /** It matches no longer, if it did. */
  #drop(at: number): void {
    if (this.#isLive(at)) this.#live[this.#words[at + KIND] & KIND_DOMAIN]--;
    this.#words[at + STAMP] = 0;
  }

  #isLive(at: number): boolean {
    const stamp = this.#words[at + STAMP];
    return stamp >= this.#allFloor && stamp >= this.#floor[this.#words[at + KIND] & KIND_DOMAIN];
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
      this.#floor.fill(0);
      this.#live.fill(0);
      this.#allFloor = 1;
      this.#clock = 1;
    }
    return ++this.#clock;
  }
}

function sparse(array: Uint8Array | Uint32Array): (readonly [number, number])[] {
  const found: (readonly [number, number])[] = [];
  for (let i = 0; i < array.length; i++) if (array[i] !== 0) found.push([i, array[i]]);
  return found;
}

function fill(
  array: Uint8Array | Uint32Array,
  values: readonly (readonly [index: number, value: number])[],
): void {
  array.fill(0);
  for (const [index, value] of values) array[index] = value;
}
