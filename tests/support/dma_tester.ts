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
const [ATS_REQUEST, ATS_RESULT, ATS_ADDRESS] = [0x1010, 0x1014, 0x1018];
const [ADDRESSING, ATC_COUNT, ATC_INVALIDATIONS] = [0x1020, 0x1024, 0x1028];
const [PRI_REQUEST, PRI_RESULT, PRI_OUTSTANDING] = [0x1030, 0x1034, 0x1038];
const PASID_VALID = 0x8000_0000;

/** Values of RESULT: it was written; it was not; it was, and what it reads back by another way differs; it is stalled. */
export const OUTCOME = {
  WRITTEN: 0,
  FAILED: 0xdead_0002,
  READBACK_FAILED: 0xdead_0003,
  MISMATCH: 0xdead_0004,
  WAITING: 0xffff_fffd,
} as const;
/** How often RESULT is read before a transfer counts as one that nobody answers. */
const MOST_READS = 5000;

/** How transfers address memory. */
export const BY = { SMMU: 0, ATC: 1, TRANSLATED: 2 } as const;

/** What a translation request that was not sent has for a status. */
export const NOT_SENT = 7;

/** The answer to a translation request: PCI Express's completion status, and where it leads. */
export interface Translated {
  readonly status: number;
  readonly read: boolean;
  readonly write: boolean;
  /** In bytes. */
  readonly address: number;
  /** Of what is translated in one piece, in bytes. */
  readonly log2size: number;
}

/** What became of page requests: the group that was answered last and how; neither while nothing was. */
export interface PageAnswer {
  /** The last request was not sent. */
  readonly notSent: boolean;
  readonly group?: number;
  /** As in CMD_PRI_RESP. */
  readonly response?: number;
  /** Requests that nobody answered. */
  readonly outstanding: number;
}

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
    this.begin(iova, sizeBytes, pasid);
    for (let i = 0; i < MOST_READS; i++) {
      const outcome = this.outcome;
      if (outcome !== undefined) return outcome;
    }
    throw new Error("The DMA test device is stalled, and nobody answers");
  }

  /** The same, without waiting for an answer where it is stalled. */
  begin(iova: number, sizeBytes: number, pasid?: number): void {
    this.#about(iova, pasid);
    this.#set(LENGTH, sizeBytes);
    this.#set(DOORBELL, 1);
    this.#get(TRIGGER);
  }

  /** What came of it: undefined while it is stalled. */
  get outcome(): boolean | undefined {
    const result = this.#get(RESULT);
    if (result === OUTCOME.WAITING) return undefined;
    if (result === OUTCOME.FAILED) return false;
    const done: readonly number[] = [OUTCOME.WRITTEN, OUTCOME.READBACK_FAILED, OUTCOME.MISMATCH];
    if (done.includes(result)) return true;
    throw new Error(`The DMA test device says 0x${result.toString(16)}`);
  }

  /** How transfers address memory from now on: one of `BY`. */
  set addressing(how: number) {
    this.#set(ADDRESSING, how);
  }

  /** Asks for the translation of a page, to read and, with `write`, to write it. */
  translate(iova: number, write: boolean, pasid?: number): Translated {
    this.#about(iova, pasid);
    this.#set(ATS_REQUEST, write ? 2 : 0);
    const result = this.#get(ATS_RESULT);
    return {
      status: result & 7,
      read: (result >>> 8 & 1) !== 0,
      write: (result >>> 9 & 1) !== 0,
      address: this.#get(ATS_ADDRESS) + this.#get(ATS_ADDRESS + 4) * 2 ** 32,
      log2size: result >>> 16 & 0x3f,
    };
  }

  /** Translations in the ATC, and the commands to invalidate some that came since the device was reset. */
  get atc(): { readonly count: number; readonly invalidations: number } {
    return { count: this.#get(ATC_COUNT), invalidations: this.#get(ATC_INVALIDATIONS) };
  }

  /** Asks for a page to be read and written, as one of a group, of which it may be the last. */
  requestPage(iova: number, group: number, last: boolean, pasid?: number): void {
    this.#about(iova, pasid);
    this.#set(PRI_REQUEST, 3 | Number(last) << 4 | group << 16);
  }

  /** What became of page requests. */
  get pages(): PageAnswer {
    const result = this.#get(PRI_RESULT);
    return {
      notSent: (result >>> 30 & 1) !== 0,
      ...(result >>> 31 === 0 ? {} : { group: result & 0x1ff, response: result >>> 16 & 3 }),
      outstanding: this.#get(PRI_OUTSTANDING),
    };
  }

  #about(iova: number, pasid: number | undefined): void {
    this.#set(PASID, pasid === undefined ? 0 : PASID_VALID | pasid);
    this.#set(IOVA_LO, iova);
    this.#set(IOVA_HI, Math.floor(iova / 2 ** 32));
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
