/**
 * Guest RAM as hardware sees it: one IOAS, and the nest parent that is made of it. IHI 0070 §3.3 stage 2;
 * Linux has no other place for it than an IOAS whose IOVAs are guest physical addresses.
 * @module
 */
import { ERRNO, SystemError } from "../../uapi/errno.ts";
import type { Fd } from "../../uapi/fd.ts";
import type { RamRange } from "../guest_ram_map.ts";
import type { Iommufd } from "../iommufd/iommufd.ts";
import { Destroyer } from "./destroyer.ts";
import { IOMMU_HWPT_ALLOC, IOMMU_HWPT_DATA, IOMMU_IOAS_MAP } from "../../uapi/iommufd/mod.ts";

/** The stage 2 of one guest. */
export class StageTwo implements Disposable {
  /** The nest parent. */
  readonly id: number;
  readonly #iommufd: Iommufd;
  readonly #ioasId: number;
  readonly #log: (line: string) => void;
  readonly #hold: () => void;
  /** What hardware may still reach, although it was taken away. */
  readonly #stuck: RamRange[] = [];
  readonly #stack = new DisposableStack();

  /**
   * Empty; for devices behind the same physical SMMU as `devId`. `hold` is called when RAM cannot be taken away: no
   * stream must reach it then. Throws `SystemError`, with nothing left.
   */
  constructor(iommufd: Iommufd, devId: number, log: (line: string) => void, hold: () => void) {
    using stack = new DisposableStack();
    this.#iommufd = iommufd;
    this.#log = log;
    this.#hold = hold;
    const destroyer = stack.use(new Destroyer(iommufd, log));
    this.#ioasId = iommufd.ioasAlloc();
    stack.defer(() => destroyer.destroy(this.#ioasId));
    this.id = iommufd.hwptAlloc({
      flags: IOMMU_HWPT_ALLOC.NEST_PARENT,
      devId,
      ptId: this.#ioasId,
      dataType: IOMMU_HWPT_DATA.NONE,
    });
    stack.defer(() => destroyer.destroy(this.id));
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
  unmap(range: RamRange): void {
    this.#stuck.push(range);
    try {
      this.settle();
    } catch (error) {
      if (!(error instanceof SystemError)) throw error;
      this.#log(`${error.message}; all streams abort`);
      this.#hold();
    }
  }

  /** Takes away what could not be before. Throws `SystemError` as long as hardware may reach something of it. */
  settle(): void {
    for (; this.#stuck.length > 0; this.#stuck.shift()) {
      const [{ gpa, sizeBytes }] = this.#stuck;
      try {
        this.#iommufd.ioasUnmap(this.#ioasId, BigInt(gpa), BigInt(sizeBytes));
      } catch (error) {
        // Nothing is mapped there.
        if (!(error instanceof SystemError && error.errno === ERRNO.ENOENT)) throw error;
      }
    }
  }

  /** Destroys the nest parent, and takes all RAM away. */
  [Symbol.dispose](): void {
    this.#stack[Symbol.dispose]();
  }
}
