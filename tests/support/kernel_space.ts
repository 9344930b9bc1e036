/**
 * Address spaces of the real kernel for PASIDs of a device.
 * @module
 */
import type { KernelIommufd } from "../../vmm/iommufd/kernel.ts";
import type { SharedPages } from "./shared_pages.ts";

const [FAULT_ID_VALID, PASID] = [4, 8];
/** Size of a page in bytes. */
export const PAGE = 0x1000;

/** An IOAS, and a HWPT of it that PASIDs can be attached to. */
export class KernelSpace {
  readonly hwptId: number;
  readonly #iommufd: KernelIommufd;
  readonly #ioasId: number;

  /** Empty, for the device `devId`; with `faultId` its faults go to that queue. */
  constructor(iommufd: KernelIommufd, devId: number, faultId?: number) {
    this.#iommufd = iommufd;
    this.#ioasId = iommufd.ioasAlloc();
    const flags = faultId === undefined ? PASID : PASID | FAULT_ID_VALID;
    const call = { flags, devId, ptId: this.#ioasId, dataType: 0, faultId };
    this.hwptId = iommufd.hwptAlloc(call);
  }

  /** Maps the page at `iova` to the `page`-th of `pages`. */
  map(iova: number, pages: SharedPages, page: number): void {
    this.#iommufd.ioasMapFile({
      flags: 7,
      ioasId: this.#ioasId,
      fd: pages.fd.number,
      start: BigInt(page * PAGE),
      length: BigInt(PAGE),
      iova: BigInt(iova),
    });
  }

  /** Unmaps the page at `iova`. */
  unmap(iova: number): void {
    this.#iommufd.ioasUnmap(this.#ioasId, BigInt(iova), BigInt(PAGE));
  }
}
