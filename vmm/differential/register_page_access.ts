/**
 * Software's accesses to registers that are memory, where the device looks as often as it is told to.
 * @module
 */
import type { MmioDevice } from "../../hw/device.ts";
import type { SmmuV3 } from "../../hw/smmuv3/smmuv3.ts";
import { UnseenWrites } from "./unseen_writes.ts";

/** The registers as memory: what is written there has been looked at when the write returns. */
export class RegisterPageAccess implements MmioDevice {
  readonly #page: Uint8Array;
  readonly #smmu: Pick<SmmuV3, "look">;
  readonly #unseen = new UnseenWrites();

  /** Accesses to `page`, which is that of `smmu`. */
  constructor(page: ArrayBuffer, smmu: Pick<SmmuV3, "look">) {
    this.#page = new Uint8Array(page);
    this.#smmu = smmu;
  }

  read(offset: number, into: Uint8Array): void {
    for (let looks = this.#unseen.looksBefore(offset); looks > 0; looks--) this.#smmu.look();
    into.set(this.#page.subarray(offset, offset + into.length));
  }

  write(offset: number, from: Uint8Array): void {
    this.#page.set(from, offset);
    this.#unseen.add(offset, from.length);
    this.#smmu.look();
  }

  /** Nothing is on its way: after a reset. */
  clear(): void {
    this.#unseen.clear();
  }
}
