/**
 * Registers that are memory, as something to look at; and the same registers for those accesses that trap nevertheless.
 * @module
 */
import type { MmioDevice } from "../hw/device.ts";
import type { RegisterWriter } from "../hw/smmuv3/mapped_registers.ts";
import type { SmmuV3 } from "../hw/smmuv3/smmuv3.ts";
import type { Counters } from "./counters.ts";
import type { Watched } from "./watcher.ts";

/** What software wrote passes the door by which it would have come if it had trapped: counted, and recorded there. */
export class WatchedRegisters implements Watched, RegisterWriter, MmioDevice {
  readonly #smmu: SmmuV3;
  readonly #door: MmioDevice;
  readonly #client: { readonly isConnected: boolean };
  readonly #counters: Counters;
  readonly #value = new DataView(new ArrayBuffer(4));
  readonly #bytes = new Uint8Array(this.#value.buffer);
  #trapped = 0;
  #found = 0;

  /** Those of `smmu`, behind its `door`, while the `client` that maps them is there. */
  constructor(
    smmu: SmmuV3,
    door: MmioDevice,
    client: { readonly isConnected: boolean },
    counters: Counters,
  ) {
    this.#smmu = smmu;
    this.#door = door;
    this.#client = client;
    this.#counters = counters;
  }

  get isUsed(): boolean {
    return this.#client.isConnected;
  }

  get trapped(): number {
    return this.#trapped;
  }

  get found(): number {
    return this.#found;
  }

  look(): boolean {
    return this.#smmu.look(this) > 0;
  }

  glance(): boolean {
    return this.#smmu.glance(this) > 0;
  }

  /** An access that traps, after all that was written to memory before it. */
  read(offset: number, into: Uint8Array): void {
    this.#trap();
    this.#door.read(offset, into);
  }

  /** The same. */
  write(offset: number, from: Uint8Array): void {
    this.#trap();
    this.#door.write(offset, from);
  }

  write32(offset: number, value: number): void {
    this.#found++;
    this.#counters.noticed();
    this.#value.setUint32(0, value, true);
    this.#door.write(offset, this.#bytes);
  }

  #trap(): void {
    this.#trapped++;
    this.#smmu.look(this, true);
  }
}
