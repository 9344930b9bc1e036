/**
 * MSI-X of an emulated function: its capability, and a BAR with table and pending bits. PCI Express Base 5.0 §7.7.2.
 * @module
 */
import type { DmaPort, MmioDevice, Requester } from "../device.ts";
import type { Capability, ConfigSpace } from "./config_space.ts";
import { MSIX_ENTRY_BYTES, MsixVectors } from "./msix_vectors.ts";
import { CapabilityId, HEADER, MSIX, MSIX_CONTROL, MSIX_SIZE } from "./registers.ts";

/** What an MSI-X structure is made of. */
export interface MsixOptions {
  /** Vectors: 1 to 2048. */
  readonly count: number;
  /** The memory BAR in which table and pending bits lie. */
  readonly barIndex: number;
  /** As whom messages are sent. */
  readonly requester: Requester;
  /** The way of messages. */
  readonly dma: DmaPort;
  /**
   * Shows the capability as vendor specific (ID 0x09) from a cold reset to the first function reset. A VMM that
   * emulates MSI-X for its guest by itself looks before that reset; it would send messages past the IOMMU.
   */
  readonly disguised?: boolean;
}

/** The vectors of a function. As a device it is the BAR: the table at 0, the pending bits in the second half. */
export class Msix implements MmioDevice {
  /** Vectors. */
  readonly count: number;
  /** Size of the BAR in bytes. */
  readonly sizeBytes: number;
  /** Offset of the pending bits in the BAR. */
  readonly pbaOffset: number;
  /** The MSI-X capability for this function's list. */
  readonly capability: Capability;

  readonly #vectors: MsixVectors;
  readonly #coldId: number;
  #config: ConfigSpace | undefined;
  #offset = 0;

  /** Vectors as after power-on; throws a `RangeError` for a count that cannot be. */
  constructor(options: MsixOptions) {
    const { count, barIndex, disguised = false } = options;
    this.#vectors = new MsixVectors(options);
    this.count = count;
    this.sizeBytes = Math.max(4096, 2 ** Math.ceil(Math.log2(count * 2 * MSIX_ENTRY_BYTES)));
    this.pbaOffset = this.sizeBytes / 2;
    this.#coldId = disguised ? CapabilityId.VendorSpecific : CapabilityId.MsiX;
    this.capability = {
      id: this.#coldId,
      sizeBytes: MSIX_SIZE,
      registers: [
        [MSIX.MessageControl, count - 1],
        [MSIX.Table, barIndex],
        [MSIX.PendingBitArray, this.pbaOffset | barIndex],
      ],
      attach: (config, offset) => this.#attach(config, offset),
    };
  }

  /** Whether interrupts of the function are messages. */
  get enabled(): boolean {
    return this.#vectors.enabled;
  }

  /** Sends the message of a vector, or keeps it pending: {@linkcode MsixVectors.raise}. */
  raise(vector: number): void {
    this.#vectors.raise(vector);
  }

  /** Function reset: every vector masked, nothing pending, and the disguise is dropped. */
  reset(): void {
    this.#vectors.clear();
    this.#config?.redefine(this.#offset, CapabilityId.MsiX);
  }

  /** Cold reset: as `reset()`, and the disguise is put on again. */
  coldReset(): void {
    this.#vectors.clear();
    this.#config?.redefine(this.#offset, this.#coldId);
  }

  read(offset: number, into: Uint8Array): void {
    const { table, pending } = this.#vectors;
    if (offset < this.pbaOffset) table.read(offset, into);
    else pending.read(offset - this.pbaOffset, into);
  }

  write(offset: number, from: Uint8Array): void {
    if (offset < this.pbaOffset) this.#vectors.table.write(offset, from);
  }

  #attach(config: ConfigSpace, offset: number): void {
    this.#config = config;
    this.#offset = offset;
    const written = (): void => this.#configure(config);
    config.watch(offset + MSIX.MessageControl.offset, MSIX.MessageControl.sizeBytes, { written });
    config.watch(HEADER.Command.offset, HEADER.Command.sizeBytes, { written });
  }

  #configure(config: ConfigSpace): void {
    const control = config.get(this.#offset, MSIX.MessageControl);
    this.#vectors.configure({
      enabled: (control >>> MSIX_CONTROL.Enable.shift & 1) !== 0,
      masked: (control >>> MSIX_CONTROL.FunctionMask.shift & 1) !== 0,
      busMaster: config.busMaster,
    });
  }
}
