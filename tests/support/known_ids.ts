/**
 * Ids of objects that a call sequence was given, by what they are: most calls mean the right one, some do not.
 * @module
 */
import type { Random } from "../../vmm/random.ts";

/** Ids, dead ones among them. */
export class KnownIds<Kind extends string> {
  /** While it is set, the last one of a kind is meant. */
  isExact = false;
  readonly #random: Random;
  /** 0 is none. */
  readonly #all: number[] = [0];
  readonly #kinds = new Map<Kind, number[]>();

  /** None; draws from `random`. */
  constructor(random: Random) {
    this.#random = random;
  }

  /** All that were given, each once. */
  get all(): ReadonlySet<number> {
    return new Set(this.#all);
  }

  /** Remembers one. */
  keep(kind: Kind, id: number): number {
    this.#all.push(id);
    const ids = this.#kinds.get(kind) ?? [];
    this.#kinds.set(kind, ids);
    ids.push(id);
    return id;
  }

  /** Most often one of a kind, and of these a late one; else any, or one that nobody gave. */
  of(...kinds: Kind[]): number {
    const ids = this.#kinds.get(this.#random.of(kinds)) ?? this.#all;
    if (this.isExact) return ids[ids.length - 1];
    switch (this.#random.below(12)) {
      case 0:
        return this.#random.below(24);
      case 1:
        return this.#random.of(this.#all);
      case 2:
      case 3:
      case 4:
        return this.#random.of(ids);
      default:
        return ids[Math.max(ids.length - 1 - this.#random.below(2), 0)];
    }
  }

  /** Any, whatever it is. */
  any(): number {
    return this.of(...this.#kinds.keys());
  }
}
