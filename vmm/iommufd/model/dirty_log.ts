/**
 * Which pages of a domain were written to. As drivers/iommu/iommufd/io_pagetable.c has the checks of its ioctls.
 * @module
 */
import { ERRNO } from "../../../uapi/errno.ts";
import type { HwptGetDirtyBitmap } from "../iommufd.ts";
import { refuse } from "./objects.ts";

const LAST = 0xffff_ffff_ffff_ffffn;

/** The log of one domain; only what is mapped can be written to, so it is no longer than that. */
export class DirtyLog {
  readonly #pageSize: number;
  readonly #pages = new Set<number>();
  #isTracking = false;

  /** For a domain of such pages, in bytes. */
  constructor(pageSize: bigint) {
    this.#pageSize = Number(pageSize);
  }

  /** Whether it listens. */
  get isTracking(): boolean {
    return this.#isTracking;
  }

  /** IOMMU_HWPT_SET_DIRTY_TRACKING; it begins with nothing. */
  track(isTracking: boolean): void {
    if (isTracking) this.#pages.clear();
    this.#isTracking = isTracking;
  }

  /** A device wrote there. */
  mark(iova: number, sizeBytes: number): void {
    if (!this.#isTracking) return;
    const last = Math.floor((iova + sizeBytes - 1) / this.#pageSize);
    for (let page = Math.floor(iova / this.#pageSize); page <= last; page++) this.#pages.add(page);
  }

  /** What is unmapped was never written to; both ends included. */
  forget(start: bigint, last: bigint): void {
    const size = BigInt(this.#pageSize);
    for (const page of this.#pages) {
      const at = BigInt(page) * size;
      if (at + size > start && at <= last) this.#pages.delete(page);
    }
  }

  /** Sets the bits of a range that was checked; forgets what is in it unless `isKept`. */
  read({ iova, length, pageSize, bitmap }: HwptGetDirtyBitmap, isKept: boolean): void {
    const size = BigInt(this.#pageSize);
    // The kernel takes the lowest bit for the page that is meant.
    const unit = pageSize & -pageSize;
    for (const page of [...this.#pages]) {
      const start = BigInt(page) * size;
      if (start + size <= iova || start >= iova + length) continue;
      const first = start > iova ? (start - iova) / unit : 0n;
      const end = start + size - iova < length ? start + size - iova : length;
      for (let bit = Number(first); BigInt(bit) * unit < end; bit++) {
        bitmap[bit >> 3] |= 1 << (bit & 7);
      }
      if (!isKept) this.#pages.delete(page);
    }
  }
}

/** What is looked at before the domain is. */
export function checkDirtyRange(
  { iova, length, pageSize }: HwptGetDirtyBitmap,
  alignment: bigint,
  call: string,
): void {
  if (length === 0n) refuse(call, ERRNO.EINVAL);
  const last = iova + length - 1n;
  if (last > LAST) refuse(call, ERRNO.EOVERFLOW);
  for (const unit of [alignment, pageSize]) {
    if (unit === 0n) refuse(call, ERRNO.EINVAL);
    // The kernel masks with one less, which for what is no power of two is another question.
    const mask = unit - 1n;
    if ((iova & mask) !== 0n || (((last + 1n) & LAST) & mask) !== 0n) refuse(call, ERRNO.EINVAL);
  }
}
