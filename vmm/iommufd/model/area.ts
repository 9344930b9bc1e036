/**
 * A mapped range of IOVAs, and the memory behind it.
 * @module
 */

/** Memory of the process that is to be seen by devices. */
export type Source =
  | { readonly kind: "user"; readonly userVa: bigint }
  | { readonly kind: "file"; readonly fd: number; readonly start: bigint };

/**
 * Finds memory in the model's physical address space: the address of its first byte, or minus the error number. What
 * it finds stays there until nobody needs it.
 */
export type Pin = (source: Source, length: bigint, writable: boolean) => number;

/** The memory of one map call; copies share it. */
export interface Pages {
  readonly source: Source;
  readonly length: bigint;
  readonly writable: boolean;
  /** Where it is; undefined while no device can reach it. */
  physical: number | undefined;
  /** The address spaces that show it to devices. */
  readonly shownBy: Set<unknown>;
}

/** An area. */
export interface Area {
  readonly start: bigint;
  /** Last IOVA. */
  readonly last: bigint;
  readonly pages: Pages;
  /** Where in the pages it begins. */
  readonly offset: bigint;
  readonly readable: boolean;
  readonly writable: boolean;
}

/** How the alignment of an area's memory in its page is told: addresses and files begin anywhere. */
export function pageOffset({ pages, offset }: Pick<Area, "pages" | "offset">): bigint {
  const { source } = pages;
  return ((source.kind === "user" ? source.userVa : source.start) + offset) % 4096n;
}
