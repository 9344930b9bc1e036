/**
 * What a test of iommufd holds when it reaches into an IOAS by an access: the access, and the pages that it pinned.
 * As struct selftest_access in drivers/iommu/iommufd/selftest.c of Linux 7.3 has it.
 * @module
 */
import type { GuestMemory } from "../../hw/guest_memory.ts";
import { ERRNO } from "../../uapi/errno.ts";
import { ModelAccess } from "../../vmm/iommufd/model/access.ts";
import { type ObjectTable, refuse } from "../../vmm/iommufd/model/objects.ts";
import { Ioas } from "../../vmm/iommufd/model/page_tables.ts";

const CALL = "IOMMU_TEST access";

/** The holder. */
export class ModelTestAccess implements Disposable {
  readonly #objects: ObjectTable;
  readonly #memory: GuestMemory;
  readonly #pinsPages: boolean;
  readonly #access: ModelAccess;
  /** What is pinned, by number. */
  readonly #items = new Map<number, { readonly start: bigint; readonly last: bigint }>();
  #next = 0;

  /** To nothing yet; pages are in `memory`. */
  constructor(objects: ObjectTable, memory: GuestMemory, pinsPages: boolean) {
    this.#objects = objects;
    this.#memory = memory;
    this.#pinsPages = pinsPages;
    this.#access = objects.add(
      new ModelAccess({ pinsPages, unmapped: (start, last) => this.#unmapped(start, last) }),
    );
  }

  /** To an IOAS; without one, there is none. Throws `SystemError`. */
  begin(ioasId: number): void {
    try {
      this.replace(ioasId);
    } catch (error) {
      this[Symbol.dispose]();
      throw error;
    }
  }

  /** To another IOAS. Throws `SystemError`. */
  replace(ioasId: number): void {
    this.#access.move(this.#objects.get(ioasId, Ioas, CALL));
  }

  /** Pins a range; returns its number. Throws `SystemError`. */
  pin(iova: bigint, length: bigint, write: boolean): number {
    if (!this.#pinsPages) refuse(CALL, ERRNO.EOPNOTSUPP);
    this.#access.pin(iova, length, write);
    this.#items.set(this.#next, { start: iova, last: iova + length - 1n });
    return this.#next++;
  }

  /** Lets go of what has a number. Throws `SystemError`. */
  unpin(item: number): void {
    if (!this.#items.delete(item)) refuse(CALL, ERRNO.ENOENT);
  }

  /** Reads or writes. Throws `SystemError`. */
  transfer(iova: bigint, bytes: Uint8Array, write: boolean): void {
    // What is refused leaves no bytes behind with the reader.
    const copy = bytes.slice();
    this.#access.transfer(this.#memory, iova, copy, write);
    bytes.set(copy);
  }

  [Symbol.dispose](): void {
    this.#objects.remove(this.#access);
  }

  #unmapped(start: bigint, last: bigint): void {
    for (const [number, item] of this.#items) {
      if (item.start <= last && start <= item.last) this.#items.delete(number);
    }
  }
}
