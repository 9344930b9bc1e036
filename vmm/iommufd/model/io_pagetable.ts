/**
 * The address space of an IOAS: areas, ranges that are reserved or allowed, the domains that show it to devices. As
 * drivers/iommu/iommufd/io_pagetable.c has it, with its order of checks.
 * @module
 */
import { ERRNO } from "../../../uapi/errno.ts";
import type { IovaRange } from "../iommufd.ts";
import { type Area, pageOffset, type Pages, type Pin } from "./area.ts";
import { refuse } from "./objects.ts";

const PAGE = 4096n;
/** Of a kernel with transparent huge pages of 2 MiB. */
const HUGE_PAGE = 0x20_0000n;
const LAST = 0xffff_ffff_ffff_ffffn;

/** What a domain needs of the address space that it shows. */
export interface DomainShape {
  /** IOVAs that it can have. */
  readonly aperture: IovaRange;
  /** Its smallest page in bytes. */
  readonly pageSize: bigint;
  /** Told what is unmapped, last IOVA included. */
  readonly unmapped?: (start: bigint, last: bigint) => void;
}

/** What an access needs of the address space that it reaches into. */
export interface AccessShape {
  /** In bytes. */
  readonly alignment: bigint;
  /** Told what is unmapped, last IOVA included. */
  readonly unmapped: (start: bigint, last: bigint) => void;
}

/** Memory that is to be mapped. */
export interface Part {
  readonly pages: Pages;
  /** Where in the pages it begins. */
  readonly offset: bigint;
  /** Bytes. */
  readonly length: bigint;
}

/** A part of an area, both ends included. */
export interface Piece {
  readonly area: Area;
  readonly from: bigint;
  readonly to: bigint;
}

/** A reserved range, and for whom. */
interface Reserved extends IovaRange {
  readonly owner: unknown;
}

/** The address space. */
export class IoPagetable {
  /** Bytes to which everything is aligned. */
  alignment = 1n;
  /** Ascending. */
  #areas: Area[] = [];
  #reserved: Reserved[] = [];
  #allowed: readonly IovaRange[] = [];
  readonly #domains: DomainShape[] = [];
  readonly #accesses = new Set<AccessShape>();
  /** What must stay mapped. */
  readonly #locks = new Set<IovaRange>();
  readonly #pin: Pin;
  /** False while IOMMU_OPTION_HUGE_PAGES forbids them. */
  hasHugePages = true;
  /** Changes with the areas, so that nobody looks at old ones. */
  version = 0;

  /** Empty; memory is found by `pin` when a domain first shows it. */
  constructor(pin: Pin) {
    this.#pin = pin;
  }

  /** All areas, ascending. */
  get areas(): readonly Area[] {
    return this.#areas;
  }

  /** The area around an IOVA. */
  find(iova: bigint): Area | undefined {
    return this.#areas.find(({ start, last }) => start <= iova && iova <= last);
  }

  /** What is not reserved, ascending. */
  ranges(): IovaRange[] {
    const ranges: IovaRange[] = [];
    let next = 0n;
    for (const { start, last } of [...this.#reserved].sort((a, b) => a.start < b.start ? -1 : 1)) {
      if (start > next) ranges.push({ start: next, last: start - 1n });
      if (last + 1n > next) next = last + 1n;
    }
    if (next <= LAST) ranges.push({ start: next, last: LAST });
    return ranges;
  }

  /** IOMMU_IOAS_ALLOW_IOVAS. */
  allow(ranges: readonly IovaRange[], call: string): void {
    for (const [i, range] of ranges.entries()) {
      if (range.start >= range.last) refuse(call, ERRNO.EINVAL);
      if (ranges.slice(0, i).some((other) => overlaps(other, range))) refuse(call, ERRNO.EINVAL);
    }
    if (ranges.some((range) => this.#reserved.some((reserved) => overlaps(reserved, range)))) {
      refuse(call, ERRNO.EADDRINUSE);
    }
    this.#allowed = [...ranges];
  }

  /** Reserves a range for `owner`. */
  reserve(range: IovaRange, owner: unknown, call: string): void {
    const isUsed = this.#areas.some((area) => overlaps(area, range)) ||
      this.#allowed.some((allowed) => overlaps(allowed, range));
    if (isUsed) refuse(call, ERRNO.EADDRINUSE);
    this.#reserved.push({ ...range, owner });
  }

  /** Gives back what was reserved for `owner`. */
  unreserve(owner: unknown): void {
    this.#reserved = this.#reserved.filter((reserved) => reserved.owner !== owner);
  }

  /** Adds memory, piece after piece, at `fixed` or where there is room; all of it or nothing. Returns the IOVA. */
  insert(
    parts: readonly Part[],
    fixed: bigint | undefined,
    rights: { readonly readable: boolean; readonly writable: boolean },
    call: string,
  ): bigint {
    const length = parts.reduce((sum, part) => sum + part.length, 0n);
    if (length === 0n || length % this.alignment !== 0n) refuse(call, ERRNO.EINVAL);
    const first = fixed ?? this.#room(parts[0], length, call);
    this.#check(first, length, call);
    let start = first;
    const areas = parts.map(({ pages, offset, length }): Area => {
      if (rights.writable && !pages.writable) refuse(call, ERRNO.EPERM);
      if (pageOffset({ pages, offset }) % this.alignment !== 0n) refuse(call, ERRNO.EINVAL);
      const area = { start, last: start + length - 1n, pages, offset, ...rights };
      start += length;
      return area;
    });
    if (this.#domains.length > 0) this.#show(parts, call);
    this.#areas = [...this.#areas, ...areas].sort((a, b) => a.start < b.start ? -1 : 1);
    this.version++;
    return first;
  }

  /** Areas that cover a range, up to the first hole. */
  pieces(start: bigint, last: bigint): { readonly pieces: readonly Piece[]; isWhole: boolean } {
    const pieces: Piece[] = [];
    let at = start;
    while (at <= last) {
      const area = this.find(at);
      if (area === undefined) break;
      const to = area.last < last ? area.last : last;
      pieces.push({ area, from: at, to });
      at = to + 1n;
    }
    return { pieces, isWhole: at > last };
  }

  /** Where the memory of a piece is, whether or not a domain shows it. Throws `SystemError`. */
  place({ area, from, to }: Piece, write: boolean, call: string): number {
    const { source } = area.pages;
    const offset = area.offset + from - area.start;
    const found = this.#pin(
      source.kind === "user"
        ? { ...source, userVa: source.userVa + offset }
        : { ...source, start: source.start + offset },
      to - from + 1n,
      write,
    );
    return found < 0 ? refuse(call, -found) : found;
  }

  /** Keeps a range mapped, until disposed. */
  lock(range: IovaRange): Disposable {
    this.#locks.add(range);
    return { [Symbol.dispose]: () => void this.#locks.delete(range) };
  }

  /** Lets an access reach into it. */
  addAccess(access: AccessShape, call: string): void {
    if (access.alignment > this.alignment && this.#hasUnaligned(access.alignment)) {
      refuse(call, ERRNO.EADDRINUSE);
    }
    this.#accesses.add(access);
    this.#align();
  }

  /** It reaches into it no longer. */
  removeAccess(access: AccessShape): void {
    this.#accesses.delete(access);
    this.#align();
  }

  /** Removes whole areas, lowest first; those before a refusal stay removed. Returns the bytes. */
  remove(start: bigint, last: bigint, call: string): bigint {
    let removed = 0n;
    for (const area of this.#areas.filter((area) => overlaps(area, { start, last }))) {
      for (const lock of this.#locks) if (overlaps(lock, area)) refuse(call, ERRNO.EBUSY);
      if (area.start < start || area.last > last) refuse(call, ERRNO.ENOENT);
      for (const { unmapped } of this.#accesses) unmapped(area.start, area.last);
      for (const { unmapped } of this.#domains) unmapped?.(area.start, area.last);
      this.#areas = this.#areas.filter((other) => other !== area);
      this.#hide(area.pages);
      this.version++;
      removed += area.last - area.start + 1n;
    }
    return removed;
  }

  /** IOMMU_OPTION_HUGE_PAGES. */
  allowHugePages(isAllowed: boolean, call: string): void {
    if (isAllowed === this.hasHugePages) return;
    if (!isAllowed) {
      if (this.#domains.length > 0 && this.#areas.length > 0) refuse(call, ERRNO.EINVAL);
      if (this.#hasUnaligned(PAGE)) refuse(call, ERRNO.EADDRINUSE);
    }
    this.hasHugePages = isAllowed;
    this.#align();
  }

  #hasUnaligned(sizeBytes: bigint): boolean {
    return this.#areas.some((area) =>
      area.start % sizeBytes !== 0n || (area.last + 1n) % sizeBytes !== 0n ||
      pageOffset(area) % sizeBytes !== 0n
    );
  }

  /** Shows everything to a new domain. */
  addDomain(shape: DomainShape, call: string): void {
    const { aperture, pageSize } = shape;
    const below = aperture.start > 0n ? [{ start: 0n, last: aperture.start - 1n }] : [];
    const above = aperture.last < LAST ? [{ start: aperture.last + 1n, last: LAST }] : [];
    try {
      for (const range of [...below, ...above]) this.reserve(range, shape, call);
      if (this.#hasUnaligned(pageSize)) refuse(call, ERRNO.EADDRINUSE);
      this.#show(this.#areas, call);
    } catch (error) {
      this.unreserve(shape);
      throw error;
    }
    this.#domains.push(shape);
    this.#align();
  }

  /** A domain shows it no longer. */
  removeDomain(shape: DomainShape): void {
    this.#domains.splice(this.#domains.indexOf(shape), 1);
    this.unreserve(shape);
    this.#align();
    if (this.#domains.length > 0) return;
    for (const { pages } of this.#areas) this.#hide(pages);
    this.version++;
  }

  #align(): void {
    const needed = [
      this.hasHugePages ? 1n : PAGE,
      ...this.#domains.map(({ pageSize }) => pageSize),
      ...[...this.#accesses].map(({ alignment }) => alignment),
    ];
    this.alignment = needed.reduce((most, one) => one > most ? one : most);
  }

  /** Shows memory to devices; all of it or none that was not shown before. */
  #show(parts: readonly { readonly pages: Pages }[], call: string): void {
    for (const { pages } of parts) {
      if (pages.physical === undefined) {
        const found = this.#pin(pages.source, pages.length, pages.writable);
        if (found < 0) {
          for (const { pages } of parts) this.#hide(pages);
          refuse(call, -found);
        }
        pages.physical = found;
      }
      pages.shownBy.add(this);
    }
  }

  /** Ends that, unless a domain still shows it. */
  #hide(pages: Pages): void {
    const isShown = this.#domains.length > 0 && this.#areas.some((area) => area.pages === pages);
    if (isShown) return;
    pages.shownBy.delete(this);
    if (pages.shownBy.size === 0) pages.physical = undefined;
  }

  #check(start: bigint, length: bigint, call: string): void {
    if (start % this.alignment !== 0n) refuse(call, ERRNO.EINVAL);
    const range = { start, last: start + length - 1n };
    if (range.last > LAST) refuse(call, ERRNO.EOVERFLOW);
    if (this.#reserved.some((reserved) => overlaps(reserved, range))) refuse(call, ERRNO.EINVAL);
    if (this.#areas.some((area) => overlaps(area, range))) refuse(call, ERRNO.EEXIST);
  }

  /** The lowest place, aligned as the memory is, so that large pages stay possible. */
  #room({ pages, offset }: Part, length: bigint, call: string): bigint {
    if (length >= LAST / 2n) refuse(call, ERRNO.EOVERFLOW);
    const { source } = pages;
    const address = (source.kind === "user" ? source.userVa : source.start) + offset;
    let alignment = powerOfTwoFrom(length);
    if (address !== 0n && (address & -address) < alignment) alignment = address & -address;
    if (alignment > HUGE_PAGE) alignment = HUGE_PAGE;
    if (alignment < this.alignment) refuse(call, ERRNO.EINVAL);
    const inPage = address % PAGE;
    const allowed = this.#allowed.length > 0
      ? merged(this.#allowed)
      : [{ start: PAGE, last: LAST - PAGE }];
    const used: IovaRange[] = [...this.#reserved, ...this.#areas]
      .sort((a, b) => a.start < b.start ? -1 : 1);
    for (const range of allowed) {
      const first = range.start < PAGE ? PAGE : range.start;
      const end = range.last > LAST - PAGE ? LAST - PAGE : range.last;
      let at = fit(first, end, length, alignment, inPage);
      for (const { start, last } of used) {
        if (at === undefined || at + length - 1n < start) break;
        if (last >= at) at = fit(last + 1n, end, length, alignment, inPage);
      }
      if (at !== undefined) return at;
    }
    return refuse(call, ERRNO.ENOSPC);
  }
}

/** The first aligned place from `start` on with `length` bytes up to `last`. */
function fit(
  start: bigint,
  last: bigint,
  length: bigint,
  alignment: bigint,
  inPage: bigint,
): bigint | undefined {
  const at = ((start + alignment - 1n) & -alignment) | inPage;
  return at >= last || last - at < length - 1n ? undefined : at;
}

/** Ranges that do not overlap, ascending, with neighbours as one. */
function merged(ranges: readonly IovaRange[]): IovaRange[] {
  const all: IovaRange[] = [];
  for (const range of [...ranges].sort((a, b) => a.start < b.start ? -1 : 1)) {
    const before = all.at(-1);
    if (before === undefined || before.last + 1n !== range.start) all.push(range);
    else all[all.length - 1] = { start: before.start, last: range.last };
  }
  return all;
}

function overlaps(a: IovaRange, b: IovaRange): boolean {
  return a.start <= b.last && b.start <= a.last;
}

function powerOfTwoFrom(value: bigint): bigint {
  let power = 1n;
  while (power < value) power <<= 1n;
  return power;
}
