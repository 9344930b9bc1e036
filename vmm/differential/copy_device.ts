/**
 * A function that copies by DMA, for reads. Its identity and the registers of its DMA are those of QEMU's `edu`
 * (docs/specs/edu.rst), so one program drives both; a copy is done when the command is written.
 * @module
 */
import type { DmaPort, MmioDevice, Requester } from "../../hw/device.ts";
import { ConfigSpace } from "../../hw/pci/config_space.ts";
import type { Bar, PciFunction } from "../../hw/pci/function.ts";
import { COPY } from "./ground.ts";

/** Register offsets; each has 64 bits. */
export const COPY_REG = { source: 0x80, target: 0x88, count: 0x90, command: 0x98 } as const;
/** Bits of the command. */
export const COPY_COMMAND = { run: 1, toMemory: 2 } as const;
/** Where its own memory is in the addresses that source and target have. */
export const COPY_BUFFER = 0x4_0000;

const BAR_SIZE = 0x1000;

/** The function. */
export class CopyDevice implements PciFunction {
  readonly name = "copy-device";
  readonly config: ConfigSpace;
  readonly bars: readonly Bar[];

  readonly #requester: Requester;
  readonly #dma: DmaPort;
  readonly #registers = new DataView(new ArrayBuffer(BAR_SIZE));
  readonly #buffer = new Uint8Array(COPY.bufferBytes);

  /** A function that reads and writes as `requester`. */
  constructor(requester: Requester, dma: DmaPort) {
    this.#requester = requester;
    this.#dma = dma;
    const device: MmioDevice = {
      read: (offset, into) => into.set(this.#bytes(offset, into.length)),
      write: (offset, from) => this.#write(offset, from),
    };
    this.bars = [{ index: 0, sizeBytes: BAR_SIZE, device }];
    this.config = new ConfigSpace({
      vendorId: 0x1234,
      deviceId: 0x11e8,
      classCode: 0x00ff00,
      bars: this.bars,
    });
  }

  /** Forgets everything. */
  reset(): void {
    this.#bytes(0, BAR_SIZE).fill(0);
    this.#buffer.fill(0);
    this.config.reset();
  }

  #bytes(offset: number, length: number): Uint8Array {
    return new Uint8Array(this.#registers.buffer, offset, length);
  }

  #write(offset: number, from: Uint8Array): void {
    this.#bytes(offset, from.length).set(from);
    if (offset !== COPY_REG.command || (from[0] & COPY_COMMAND.run) === 0) return;
    const toMemory = (from[0] & COPY_COMMAND.toMemory) !== 0;
    const ours = this.#number(toMemory ? COPY_REG.source : COPY_REG.target) - COPY_BUFFER;
    const count = this.#number(COPY_REG.count);
    const at = toMemory ? COPY_REG.target : COPY_REG.source;
    const lo = this.#registers.getUint32(at, true);
    const hi = this.#registers.getUint32(at + 4, true);
    if (ours < 0 || ours + count > COPY.bufferBytes) return;
    const part = this.#buffer.subarray(ours, ours + count);
    if (toMemory) this.#dma.write(this.#requester, lo, hi, part);
    else if (!this.#dma.read(this.#requester, lo, hi, part)) part.fill(0);
  }

  #number(offset: number): number {
    return Number(this.#registers.getBigUint64(offset, true));
  }
}
