/**
 * Address spaces by small numbers: a TLB entry is compared with one of them instead of world, VMID and ASID.
 * IHI 0070 §3.17 TLB tagging, VMIDs, ASIDs and participation in broadcast TLB maintenance.
 * @module
 */

/** Whose addresses are translated. §3.3.4 StreamWorld. */
export const World = {
  /** NS-EL1: virtual addresses, also of nested streams; tagged by VMID and ASID. */
  El1: 0,
  /** Intermediate physical addresses; tagged by VMID. */
  Stage2: 1,
  /** NS-EL2: virtual addresses without ASIDs and VMIDs. */
  El2: 2,
  /** NS-EL2-E2H: virtual addresses, tagged by ASID. */
  El2E2h: 3,
} as const;

/** Bits of a domain's number. */
export const DOMAIN_BITS = 12;
/** Most domains at once. */
export const MOST_DOMAINS: number = 1 << DOMAIN_BITS;

/** In place of an ASID: what all ASIDs of a VMID share. */
export const SHARED = -1;

/** Domains in the order in which they were met: world, VMID, ASID or `SHARED` of each. */
export type DomainList = readonly (readonly [world: number, vmid: number, asid: number])[];

/** The domains of one TLB. */
export class Domains {
  readonly #numbers = new Map<number, number>();
  /** What was asked for last: a guest invalidates page after page of one ASID. */
  #lastKey = -1;
  #lastNumber = -1;
  #worlds: number[] = [];
  #vmids: number[] = [];
  #asids: number[] = [];
  #shared: number[] = [];

  /** How many there are. */
  get count(): number {
    return this.#worlds.length;
  }

  /** Whether so many more have room. */
  hasRoom(count: number): boolean {
    return this.#worlds.length + count <= MOST_DOMAINS;
  }

  /** The number of a domain; -1 when nothing was translated in it since the last `clear`. */
  find(world: number, vmid: number, asid: number): number {
    const key = keyOf(world, vmid, asid);
    if (key === this.#lastKey) return this.#lastNumber;
    this.#lastKey = key;
    return this.#lastNumber = this.#numbers.get(key) ?? -1;
  }

  /** The number of a domain, which has one from now on, as has what it shares. There must be room for both. */
  intern(world: number, vmid: number, asid: number): number {
    const key = keyOf(world, vmid, asid);
    const known = this.#numbers.get(key);
    if (known !== undefined) return known;
    const shared = asid === SHARED ? -1 : this.intern(world, vmid, SHARED);
    const number = this.#worlds.length;
    this.#lastKey = -1;
    this.#numbers.set(key, number);
    this.#shared.push(shared < 0 ? number : shared);
    this.#worlds.push(world);
    this.#vmids.push(vmid);
    this.#asids.push(asid);
    return number;
  }

  /** The number of what a domain shares with others of its VMID. */
  sharedOf(domain: number): number {
    return this.#shared[domain];
  }

  /** Whether a domain is of a world and VMID. */
  isOf(domain: number, world: number, vmid: number): boolean {
    return this.#worlds[domain] === world && this.#vmids[domain] === vmid;
  }

  /** Whether two domains have world and VMID in common. */
  isSibling(domain: number, other: number): boolean {
    return this.#worlds[domain] === this.#worlds[other] &&
      this.#vmids[domain] === this.#vmids[other];
  }

  /** Forgets all of them: their numbers will be others'. */
  clear(): void {
    this.#numbers.clear();
    this.#lastKey = -1;
    this.#shared = [];
    this.#worlds = [];
    this.#vmids = [];
    this.#asids = [];
  }

  /** All of them. */
  list(): DomainList {
    return this.#worlds.map((world, i) => [world, this.#vmids[i], this.#asids[i]]);
  }

  /** Becomes a list. */
  restore(list: DomainList): void {
    this.clear();
    for (const [world, vmid, asid] of list) this.intern(world, vmid, asid);
  }
}

/** Exact below 2^53: two bits, sixteen, and seventeen with `SHARED`. */
function keyOf(world: number, vmid: number, asid: number): number {
  return ((world * 0x1_0000) + vmid) * 0x2_0000 + (asid + 1);
}
