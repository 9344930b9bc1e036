/**
 * Vectors of MSI-X: table and pending bits. PCI Express Base 5.0 §6.1.4, §7.7.2; PCI Local Bus 3.0 §6.8.2, §6.8.3.
 *
 * Messages leave through the function's own DMA, so an IOMMU translates them as it does on hardware.
 * @module
 */
import type { DmaPort, MmioDevice, Requester } from "../device.ts";

/** Words of a table entry: Message Address, Message Upper Address, Message Data, Vector Control. §7.7.2.5-8. */
const ENTRY = { Address: 0, UpperAddress: 1, Data: 2, VectorControl: 3, words: 4 } as const;
/** Bits of each word that software writes. */
const ENTRY_WRITABLE = [0xffff_fffc, 0xffff_ffff, 0xffff_ffff, 0x0000_0001] as const;
const MASK_BIT = 1;

/** Bytes of an entry of the table. */
export const MSIX_ENTRY_BYTES = 16;

/** What vectors are made of. */
export interface MsixVectorsOptions {
  /** Vectors: 1 to 2048. */
  readonly count: number;
  /** As whom messages are sent. */
  readonly requester: Requester;
  /** The way of messages. */
  readonly dma: DmaPort;
}

/** What configuration space says of all vectors. */
export interface MsixState {
  /** MSI-X Enable. */
  readonly enabled: boolean;
  /** Function Mask. */
  readonly masked: boolean;
  /** Bus Master Enable. */
  readonly busMaster: boolean;
}

const OFF: MsixState = { enabled: false, masked: false, busMaster: false };

/** The vectors of a function. */
export class MsixVectors {
  /** Vectors. */
  readonly count: number;
  /** The table, from its beginning. */
  readonly table: MmioDevice;
  /** The pending bits, which software cannot write. */
  readonly pending: MmioDevice;

  readonly #requester: Requester;
  readonly #dma: DmaPort;
  readonly #entries: Uint32Array;
  readonly #pending: Uint32Array;
  #state: MsixState = OFF;

  /** Vectors as after power-on; throws a `RangeError` for a count that cannot be. */
  constructor({ count, requester, dma }: MsixVectorsOptions) {
    if (count < 1 || count > 2048) throw new RangeError(`MSI-X cannot have ${count} vectors`);
    this.count = count;
    this.#requester = requester;
    this.#dma = dma;
    this.#entries = new Uint32Array(count * ENTRY.words);
    this.#pending = new Uint32Array(Math.ceil(count / 64) * 2);
    const entryBytes = new Uint8Array(this.#entries.buffer);
    const pendingBytes = new Uint8Array(this.#pending.buffer);
    this.table = {
      read: (offset, into) => copy(entryBytes, offset, into),
      write: (offset, from) => this.#write(entryBytes, offset, from),
    };
    this.pending = { read: (offset, into) => copy(pendingBytes, offset, into), write: () => {} };
    this.clear();
  }

  /** Whether interrupts of the function are messages. */
  get enabled(): boolean {
    return this.#state.enabled;
  }

  /** Follows configuration space; messages that nothing holds back any more are sent. */
  configure(state: MsixState): void {
    this.#state = state;
    for (let vector = 0; vector < this.count; vector++) this.#deliver(vector);
  }

  /**
   * Sends the message of a vector, or keeps it pending while it may not be sent. A masked vector sets its pending bit
   * instead (§6.1.4, Per-vector Masking and Function Masking). Bus Master Enable, when clear, disables messages too
   * (§7.5.1.1.3); what becomes of them the specification leaves open, and we keep them pending, because an interrupt
   * that is lost wedges a driver and one that is late does not. Does nothing while MSI-X is disabled or for a vector
   * that is not there.
   */
  raise(vector: number): void {
    if (!this.#state.enabled || vector >= this.count) return;
    this.#pending[vector >>> 5] |= 1 << (vector & 31);
    this.#deliver(vector);
  }

  /** Function reset: disabled, every vector masked, nothing pending. */
  clear(): void {
    this.#state = OFF;
    this.#pending.fill(0);
    this.#entries.fill(0);
    for (let vector = 0; vector < this.count; vector++) {
      this.#entries[vector * ENTRY.words + ENTRY.VectorControl] = MASK_BIT;
    }
  }

  #write(bytes: Uint8Array, offset: number, from: Uint8Array): void {
    const end = Math.min(offset + from.length, bytes.length);
    for (let at = offset; at < end; at++) {
      const mask = (ENTRY_WRITABLE[(at >>> 2) & 3] >>> (8 * (at & 3))) & 0xff;
      bytes[at] = (bytes[at] & ~mask) | (from[at - offset] & mask);
    }
    for (let vector = offset >>> 4; vector << 4 < end; vector++) this.#deliver(vector);
  }

  /** Sends a pending message that nothing holds back. An aborted message is gone, as any posted write. */
  #deliver(vector: number): void {
    const bit = 1 << (vector & 31);
    if ((this.#pending[vector >>> 5] & bit) === 0) return;
    const { enabled, masked, busMaster } = this.#state;
    const entry = vector * ENTRY.words;
    const words = this.#entries;
    const isMasked = masked || (words[entry + ENTRY.VectorControl] & MASK_BIT) !== 0;
    if (!enabled || !busMaster || isMasked) return;
    this.#pending[vector >>> 5] &= ~bit;
    this.#dma.message(
      this.#requester,
      words[entry + ENTRY.Address],
      words[entry + ENTRY.UpperAddress],
      words[entry + ENTRY.Data],
    );
  }
}

function copy(bytes: Uint8Array, offset: number, into: Uint8Array): void {
  for (let i = 0; i < into.length; i++) into[i] = bytes[offset + i] ?? 0;
}
