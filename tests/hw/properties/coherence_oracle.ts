/**
 * What a cache of translations and configuration may answer: all that memory said since the last invalidation that covers
 * it, and nothing older. The manual lets a device cache any of it at any time, and forget any of it at any time.
 * IHI 0070 §3.17, §4.3, §4.4, §4.7.3, §16.2.
 * @module
 */

/** Address spaces: a VMID, an ASID, and whether stage 2 is below. */
export interface Space {
  readonly vmid: number;
  readonly asid: number;
  readonly nested: boolean;
}

/** What a leaf of stage 1 says: which unit of intermediate memory, and whether all ASIDs share it; undefined for nothing. */
export type Leaf = { readonly unit: number; readonly global: boolean } | undefined;

/** What an invalidation covers. */
export interface Cover {
  /** Which spaces lose what is theirs alone. */
  readonly spaces?: (space: Space) => boolean;
  /** Which VMIDs lose what their ASIDs share. */
  readonly shared?: (vmid: number) => boolean;
  /** Which VMIDs lose what stage 2 says of units. */
  readonly stage2?: (vmid: number) => boolean;
  /** Restricts the first two to some pages, and the third to some units; all by default. */
  readonly page?: (page: number) => boolean;
  readonly unit?: (unit: number) => boolean;
}

/** A set for each pair of two small numbers. */
class Sets {
  readonly #sets: Set<number>[] = [];

  of(first: number, second: number = 0): Set<number> {
    return this.#sets[first * 64 + second] ??= new Set();
  }
}

/** Memory as it is, and what may still be cached of how it was. */
export class CoherenceOracle {
  readonly #spaces: readonly Space[];
  readonly #pages: number;
  readonly #units: number;
  /** Leaves by space and page; units of physical memory by VMID and intermediate unit; spaces by stream. */
  readonly #leaves: Leaf[][];
  readonly #below: (number | undefined)[] = [];
  readonly #streams: (number | undefined)[];

  /** Outputs that may be cached: by space and page, by VMID and page, by VMID and unit; spaces by stream. */
  readonly #own = new Sets();
  readonly #shared = new Sets();
  readonly #stage2 = new Sets();
  readonly #configured = new Sets();

  /** Nothing is mapped, and no stream is configured. */
  constructor(spaces: readonly Space[], pages: number, units: number, streams: number) {
    this.#spaces = spaces;
    this.#pages = pages;
    this.#units = units;
    this.#leaves = spaces.map(() => new Array(pages).fill(undefined));
    this.#streams = new Array(streams).fill(undefined);
  }

  /** A leaf of stage 1 is another. */
  setLeaf(space: number, page: number, leaf: Leaf): void {
    this.#leaves[space][page] = leaf;
    this.#absorb();
  }

  /** What stage 2 of a VMID says of a unit is another. */
  setBelow(vmid: number, unit: number, output: number | undefined): void {
    this.#below[vmid * 64 + unit] = output;
    this.#absorb();
  }

  /** A stream is configured for another space, or for none. */
  configure(stream: number, space: number | undefined): void {
    this.#streams[stream] = space;
    this.#absorb();
  }

  /** Translations were invalidated, and that is complete. */
  invalidate({ spaces, shared, stage2, page = all, unit = all }: Cover): void {
    for (const [index, space] of this.#spaces.entries()) {
      for (let at = 0; at < this.#pages; at++) {
        if (!page(at)) continue;
        if (spaces?.(space)) this.#own.of(index, at).clear();
        if (shared?.(space.vmid)) this.#shared.of(space.vmid, at).clear();
      }
      for (let at = 0; at < this.#units; at++) {
        if (stage2?.(space.vmid) && unit(at)) this.#stage2.of(space.vmid, at).clear();
      }
    }
    this.#absorb();
  }

  /** Configuration was invalidated, and that is complete. */
  reconfigure(streams: (stream: number) => boolean): void {
    for (const stream of this.#streams.keys()) {
      if (streams(stream)) this.#configured.of(stream).clear();
    }
    this.#absorb();
  }

  /** Whether a stream's access to a page may have this output; undefined stands for a fault. */
  permits(stream: number, page: number, output: number | undefined): boolean {
    const spaces = [...this.#configured.of(stream)];
    if (output === undefined) {
      return this.#streams[stream] === undefined ||
        spaces.some((space) => this.#mayFault(space, page));
    }
    return spaces.some((space) =>
      this.#fresh(space, page).includes(output) || this.#own.of(space, page).has(output) ||
      this.#shared.of(this.#spaces[space].vmid, page).has(output)
    );
  }

  /** What is not there is not cached: a fault needs something that is missing now. */
  #mayFault(space: number, page: number): boolean {
    const leaf = this.#leaves[space][page];
    const { vmid, nested } = this.#spaces[space];
    return leaf === undefined || (nested && this.#below[vmid * 64 + leaf.unit] === undefined);
  }

  /** What a walk now may find: stage 2 of a page may be cached by itself. */
  #fresh(space: number, page: number): number[] {
    const leaf = this.#leaves[space][page];
    if (leaf === undefined) return [];
    const { vmid, nested } = this.#spaces[space];
    return nested ? [...this.#stage2.of(vmid, leaf.unit)] : [leaf.unit];
  }

  /** Everything that is there may be cached from now on. */
  #absorb(): void {
    for (const { vmid } of this.#spaces) {
      for (let unit = 0; unit < this.#units; unit++) {
        const output = this.#below[vmid * 64 + unit];
        if (output !== undefined) this.#stage2.of(vmid, unit).add(output);
      }
    }
    for (const [index, { vmid }] of this.#spaces.entries()) {
      for (let page = 0; page < this.#pages; page++) {
        const isGlobal = this.#leaves[index][page]?.global ?? false;
        const cache = isGlobal ? this.#shared.of(vmid, page) : this.#own.of(index, page);
        for (const output of this.#fresh(index, page)) cache.add(output);
      }
    }
    for (const [stream, space] of this.#streams.entries()) {
      if (space !== undefined) this.#configured.of(stream).add(space);
    }
  }
}

function all(): boolean {
  return true;
}
