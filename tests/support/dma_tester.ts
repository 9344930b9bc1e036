/**
 * A driver of the DMA test device that a program has through VFIO. QEMU `docs/specs/iommu-testdev.rst`.
 * @module
 */
import type { VfioDevice } from "../../uapi/vfio/vfio_device.ts";

/** PCI class of the device. */
export const DMA_TEST_CLASS = 0x00_ff00;
/** What it writes, again and again. */
export const PATTERN = 0x1234_5678;

const [BAR0, CONFIG_REGION, PCI_COMMAND] = [0, 7, 4];
const MEMORY = 2;
const [TRIGGER, IOVA_LO, IOVA_HI, LENGTH, RESULT, DOORBELL, PASID] = [0, 4, 8, 12, 16, 20, 0x1000];
const PASID_VALID = 0x8000_0000;

/** Values of RESULT: it was written; it was not; it was, and what it reads back by another way differs. */
export const OUTCOME = {
  WRITTEN: 0,
  FAILED: 0xdead_0002,
  READBACK_FAILED: 0xdead_0003,
  MISMATCH: 0xdead_0004,
} as const;

/** A device whose registers are read and written one by one. */
export class DmaTester {
  readonly #device: VfioDevice;

  /** Lets the device answer. */
  constructor(device: VfioDevice) {
    this.#device = device;
    const command = new Uint8Array(new ArrayBuffer(2));
    device.read(CONFIG_REGION, PCI_COMMAND, command);
    command[0] |= MEMORY;
    device.write(CONFIG_REGION, PCI_COMMAND, command);
  }

  /**
   * Has it write `sizeBytes` at an IOVA, as `pasid` or without one. Returns whether the SMMU let it: what it reads back
   * is at host physical addresses, which a program does not know. Throws for anything else that it says.
   */
  write(iova: number, sizeBytes: number, pasid?: number): boolean {
    this.#set(PASID, pasid === undefined ? 0 : PASID_VALID | pasid);
    this.#set(IOVA_LO, iova);
    this.#set(IOVA_HI, Math.floor(iova / 2 ** 32));
    this.#set(LENGTH, sizeBytes);
    this.#set(DOORBELL, 1);
    this.#get(TRIGGER);
    const result = this.#get(RESULT);
    if (result === OUTCOME.FAILED) return false;
    const done: readonly number[] = [OUTCOME.WRITTEN, OUTCOME.READBACK_FAILED, OUTCOME.MISMATCH];
    if (done.includes(result)) return true;
    throw new Error(`The DMA test device says 0x${result.toString(16)}`);
  }

  #set(register: number, value: number): void {
    const bytes = new Uint8Array(new ArrayBuffer(4));
    new DataView(bytes.buffer).setUint32(0, value >>> 0, true);
    this.#device.write(BAR0, register, bytes);
  }

  #get(register: number): number {
    const bytes = new Uint8Array(new ArrayBuffer(4));
    this.#device.read(BAR0, register, bytes);
    return new DataView(bytes.buffer).getUint32(0, true);
  }
}
