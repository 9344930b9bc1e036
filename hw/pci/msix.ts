/**
 * MSI-X: capability, table, pending bits. PCI Express Base 5.0 §6.1.4, §7.7.2; PCI Local Bus 3.0 §6.8.2, §6.8.3.
 *
 * Messages leave through the function's own DMA, so an IOMMU translates them as it does on hardware.
 * @module
 */
import type { DmaPort, MmioDevice, Requester } from "../device.ts";
import type { Capability, ConfigSpace } from "./config_space.ts";
import { CapabilityId, HEADER, MSIX, MSIX_CONTROL, MSIX_SIZE } from "./registers.ts";

/** Words of a table entry: Message Address, Message Upper Address, Message Data, Vector Control. §7.7.2.5-8. */
const ENTRY = { Address: 0, UpperAddress: 1, Data: 2, VectorControl: 3, words: 4 } as const;
/** Bits of each word that software writes. */
const ENTRY_WRITABLE = [0xffff_fffc, 0xffff_ffff, 0xffff_ffff, 0x0000_0001] as const;
const MASK_BIT = 1;

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

  readonly #requester: Requester;
  readonly #dma: DmaPort;
  readonly #coldId: number;
  readonly #table: Uint32Array;
  readonly #tableBytes: Uint8Array;
  readonly #pending: Uint32Array;
  readonly #pendingBytes: Uint8Array;
  #config: ConfigSpace | undefined;
  #offset = 0;
  #enabled = false;
  #masked = false;

  /** Vectors as after power-on; throws a `RangeError` for a count that cannot be. */
  constructor(options: MsixOptions) {
    const { count, barIndex, disguised = false } = options;
    if (count < 1 || count > 2048) throw new RangeError(`MSI-X cannot have ${count} vectors`);
    this.count = count;
    this.sizeBytes = Math.max(4096, 2 ** Math.ceil(Math.log2(count * 32)));
    this.pbaOffset = this.sizeBytes / 2;
    this.#requester = options.requester;
    this.#dma = options.dma;
    this.#table = new Uint32Array(count * ENTRY.words);
    this.#tableBytes = new Uint8Array(this.#table.buffer);
    this.#pending = new Uint32Array(Math.ceil(count / 64) * 2);
    this.#pendingBytes = new Uint8Array(this.#pending.buffer);
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
    this.#clear();
  }

  /** Whether interrupts of the function are messages. */
  get enabled(): boolean {
    return this.#enabled;
  }

  /**
   * Sends the message of a vector, or keeps it pending while it may not be sent. A masked vector sets its pending bit
   * instead (§6.1.4, Per-vector Masking and Function Masking). Bus Master Enable, when clear, disables messages too
   * (§7.5.1.1.3); what becomes of them the specification leaves open, and we keep them pending, because an interrupt
   * that is lost wedges a driver and one that is late does not. Does nothing while MSI-X is disabled or for a vector
   * that is not there.
   */
  raise(vector: number): void {
    if (!this.#enabled || vector >= this.count) return;
    this.#pending[vector >>> 5] |= 1 << (vector & 31);
    this.#deliver(vector);
  }

  /** Function reset: every vector masked, nothing pending, and the disguise is dropped. */
  reset(): void {
    this.#clear();
    this.#config?.redefine(this.#offset, CapabilityId.MsiX);
  }

  /** Cold reset: as `reset()`, and the disguise is put on again. */
  coldReset(): void {
    this.#clear();
    this.#config?.redefine(this.#offset, this.#coldId);
  }

  read(offset: number, into: Uint8Array): void {
    for (let i = 0; i < into.length; i++) {
      const at = offset + i;
      const inTable = at < this.pbaOffset;
      into[i] = (inTable ? this.#tableBytes[at] : this.#pendingBytes[at - this.pbaOffset]) ?? 0;
    }
  }

  write(offset: number, from: Uint8Array): void {
    const end = Math.min(offset + from.length, this.#tableBytes.length);
    for (let at = offset; at < end; at++) {
      const mask = (ENTRY_WRITABLE[(at >>> 2) & 3] >>> (8 * (at & 3))) & 0xff;
      this.#tableBytes[at] = (this.#tableBytes[at] & ~mask) | (from[at - offset] & mask);
    }
    for (let vector = offset >>> 4; vector << 4 < end; vector++) this.#deliver(vector);
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
    this.#enabled = (control >>> MSIX_CONTROL.Enable.shift & 1) !== 0;
    this.#masked = (control >>> MSIX_CONTROL.FunctionMask.shift & 1) !== 0;
    for (let vector = 0; vector < this.count; vector++) this.#deliver(vector);
  }

  /** Sends a pending message that nothing holds back. An aborted message is gone, as any posted write. */
  #deliver(vector: number): void {
    const bit = 1 << (vector & 31);
    if ((this.#pending[vector >>> 5] & bit) === 0) return;
    const entry = vector * ENTRY.words;
    if (
      !this.#enabled || this.#masked || (this.#table[entry + ENTRY.VectorControl] & MASK_BIT) !== 0
    ) return;
    if (this.#config === undefined || !this.#config.busMaster) return;
    this.#pending[vector >>> 5] &= ~bit;
    const table = this.#table;
    this.#dma.message(
      this.#requester,
      table[entry + ENTRY.Address],
      table[entry + ENTRY.UpperAddress],
      table[entry + ENTRY.Data],
    );
  }

  #clear(): void {
    this.#enabled = false;
    this.#masked = false;
    this.#pending.fill(0);
    this.#table.fill(0);
    for (let vector = 0; vector < this.count; vector++) {
      this.#table[vector * ENTRY.words + ENTRY.VectorControl] = MASK_BIT;
    }
  }
}
