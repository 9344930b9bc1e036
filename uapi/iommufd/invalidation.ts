/**
 * IOMMU_HWPT_INVALIDATE without allocation: it is on the way of every invalidation of a guest.
 * @module
 */
import { ERRNO } from "../errno.ts";
import { addressOf } from "../ioctl.ts";
import { lastErrno, libc } from "../libc.ts";
import { StructBuffer } from "../struct.ts";
import { iommu_hwpt_invalidate } from "./hwpt.ts";
import { IOMMUFD_REQUEST } from "./requests.ts";

const FIELD = iommu_hwpt_invalidate.fields;
const REQUEST = IOMMUFD_REQUEST.IOMMU_HWPT_INVALIDATE;
/** Beyond these the kernel answers EINVAL without a look at the entries: the largest page, and entries in a call. */
const LARGEST_ENTRY = 0x1_0000;
const MOST_ENTRIES = 0x8_0000;

/** Entries for hardware to forget. */
export interface InvalidationEntries {
  /** A vIOMMU, or a nested HWPT. */
  readonly hwptId: number;
  /** Of IOMMU_HWPT_INVALIDATE_DATA or IOMMU_VIOMMU_INVALIDATE_DATA. */
  readonly dataType: number;
  /** Bytes of one entry. */
  readonly entryLength: number;
  /** How many there are. */
  readonly count: number;
  /** The entries. */
  readonly entries: Uint8Array<ArrayBuffer>;
}

/** The argument of the ioctl, used again and again. */
export class Invalidation {
  /** How many entries the kernel says to have handled, of the last call. */
  handled = 0;
  readonly #argument = new StructBuffer(iommu_hwpt_invalidate);
  #entries: Uint8Array | undefined;
  #address = 0n;

  /**
   * Does the ioctl on the iommufd with descriptor `fd`. Returns 0, or the positive error number. Throws `RangeError` when
   * `entries` is shorter than it is said to be.
   */
  run(fd: number, { hwptId, dataType, entryLength, count, entries }: InvalidationEntries): number {
    const isRead = entryLength <= LARGEST_ENTRY && count <= MOST_ENTRIES;
    if (isRead && count * entryLength > entries.byteLength) {
      throw new RangeError(`${entries.byteLength} bytes are no ${count} entries of ${entryLength}`);
    }
    if (entries !== this.#entries || entries.byteLength === 0) {
      this.#address = addressOf(entries);
      this.#entries = entries;
    }
    const { view, bytes } = this.#argument;
    view.setUint32(FIELD.size.offset, iommu_hwpt_invalidate.size, true);
    view.setUint32(FIELD.hwpt_id.offset, hwptId, true);
    view.setBigUint64(FIELD.data_uptr.offset, this.#address, true);
    view.setUint32(FIELD.data_type.offset, dataType, true);
    view.setUint32(FIELD.entry_len.offset, entryLength, true);
    view.setUint32(FIELD.entry_num.offset, count, true);
    const result = libc().ioctl(fd, REQUEST, bytes);
    const errno = result < 0 ? lastErrno() : 0;
    // Where the kernel does not know the ioctl, it leaves the count as it was.
    this.handled = errno === ERRNO.ENOTTY ? 0 : view.getUint32(FIELD.entry_num.offset, true);
    return errno;
  }
}
