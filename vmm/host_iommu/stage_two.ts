/**
 * Guest RAM as hardware sees it: one IOAS, and the nest parent that is made of it. IHI 0070 §3.3 stage 2;
 * Linux has no other place for it than an IOAS whose IOVAs are guest physical addresses.
 * @module
 */
import { SystemError } from "../../uapi/errno.ts";
import type { Fd } from "../../uapi/fd.ts";
import type { RamRange } from "../guest_ram_map.ts";
import type { Iommufd } from "../iommufd/iommufd.ts";
import { IOMMU_HWPT_ALLOC, IOMMU_HWPT_DATA, IOMMU_IOAS_MAP } from "../../uapi/iommufd/mod.ts";

/** The stage 2 of one guest. */
export class StageTwo implements Disposable {
  /** The nest parent. */
  readonly id: number;
  readonly #iommufd: Iommufd;
  readonly #ioasId: number;
  readonly #log: (line: string) => void;
  readonly #stack = new DisposableStack();

  /** Empty; for devices behind the same physical SMMU as `devId`. Throws `SystemError`, with nothing left. */
  constructor(iommufd: Iommufd, devId: number, log: (line: string) => void) {
    using stack = new DisposableStack();
    this.#iommufd = iommufd;
    this.#log = log;
    this.#ioasId = iommufd.ioasAlloc();
    stack.defer(() => this.#destroy(this.#ioasId));
    this.id = iommufd.hwptAlloc({
      flags: IOMMU_HWPT_ALLOC.NEST_PARENT,
      devId,
      ptId: this.#ioasId,
      dataType: IOMMU_HWPT_DATA.NONE,
    });
    stack.defer(() => this.#destroy(this.id));
    this.#stack = stack.move();
  }

  /** Shows a range of `fd` to hardware, pinned until it is unmapped. Throws `SystemError`. */
  map({ gpa, sizeBytes, offset, writable }: RamRange, fd: Fd): void {
    this.#iommufd.ioasMapFile({
      flags: IOMMU_IOAS_MAP.FIXED_IOVA | IOMMU_IOAS_MAP.READABLE |
        (writable ? IOMMU_IOAS_MAP.WRITEABLE : 0),
      ioasId: this.#ioasId,
      fd: fd.number,
      start: BigInt(offset),
      length: BigInt(sizeBytes),
      iova: BigInt(gpa),
    });
  }

  /** Takes a range away that was mapped as one. */
  unmap({ gpa, sizeBytes }: RamRange): void {
    try {
      this.#iommufd.ioasUnmap(this.#ioasId, BigInt(gpa), BigInt(sizeBytes));
    } catch (error) {
      this.#tell(error);
    }
  }

  /** Destroys the nest parent, and takes all RAM away. */
  [Symbol.dispose](): void {
    this.#stack[Symbol.dispose]();
  }

  #destroy(id: number): void {
    try {
      this.#iommufd.destroy(id);
    } catch (error) {
      this.#tell(error);
    }
  }

  #tell(error: unknown): void {
    if (!(error instanceof SystemError)) throw error;
    this.#log(error.message);
  }
}
