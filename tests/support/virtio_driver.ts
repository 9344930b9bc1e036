/**
 * A small virtio driver over plain memory, written from the virtio 1.2 text: its numbers are not those of the device
 * under test.
 * @module
 */
import type { MmioDevice } from "../../hw/device.ts";
import type { PciFunction } from "../../hw/pci/function.ts";
import { MemoryBlockStore } from "../../hw/endpoints/memory_block_store.ts";
import { VirtioBlk, type VirtioBlkOptions } from "../../hw/endpoints/virtio_blk.ts";
import { VirtioPci, type VirtioPciOptions } from "../../hw/endpoints/virtio_pci.ts";
import { FakeDma, FakeIrq } from "./fake_dma.ts";

/** One descriptor's buffer. */
export interface Buffer {
  readonly iova: number;
  readonly size: number;
  readonly writable: boolean;
}

/** An element of the used ring. */
export interface UsedElement {
  readonly id: number;
  readonly len: number;
}

/** Reads a little-endian value of 1, 2 or 4 bytes. */
export function peek(device: MmioDevice, offset: number, size: number): number {
  const bytes = new Uint8Array(size).fill(0xee);
  device.read(offset, bytes);
  return bytes.reduceRight((value, byte) => value * 256 + byte, 0);
}

/** Writes a little-endian value of 1, 2, 4 or 8 bytes. */
export function poke(device: MmioDevice, offset: number, size: number, value: number): void {
  const bytes = new Uint8Array(size);
  for (let i = 0; i < size; i++) bytes[i] = Math.floor(value / 2 ** (8 * i)) % 256;
  device.write(offset, bytes);
}

/** How to bring a device up. */
export interface DriverOptions {
  /** Queue size; 8 when absent. */
  readonly size?: number;
  /** Feature bits 31:0; FLUSH, DISCARD, WRITE_ZEROES and EVENT_IDX are not in it when absent. */
  readonly lo?: number;
  /** Feature bits 63:32; VERSION_1 and ACCESS_PLATFORM when absent. */
  readonly hi?: number;
  /** MSI-X vectors of the queue and of configuration changes. */
  readonly vectors?: readonly [queue: number, config: number];
}

/** Drives queue 0 of a function; rings at the start of the memory, buffers wherever the test wants. */
export class VirtioDriver {
  readonly size: number;
  readonly desc: number;
  readonly avail: number;
  readonly used: number;
  /** Indirect tables are written here, one after the other. */
  readonly tables: number;
  /** First byte that is not rings. */
  readonly free: number;
  readonly bar: MmioDevice;
  readonly config: MmioDevice;
  readonly memory: FakeDma;
  /** Where the next available index stands; free-running. */
  availIndex = 0;
  /** How far used elements were taken; free-running. */
  usedIndex = 0;
  #nextDescriptor = 0;
  #nextTable = 0;

  constructor(fn: PciFunction, memory: FakeDma, options: DriverOptions = {}) {
    this.size = options.size ?? 8;
    this.memory = memory;
    this.config = fn.config;
    this.bar = fn.bars[0].device;
    this.desc = memory.base;
    this.avail = this.desc + this.size * 16;
    this.used = this.avail + Math.ceil((6 + 2 * this.size) / 4) * 4;
    this.tables = Math.ceil((this.used + 6 + 8 * this.size) / 4096) * 4096;
    this.free = this.tables + 0x4000;
  }

  /** Everything of virtio 1.2 §3.1.1, up to DRIVER_OK; false when FEATURES_OK did not stick. */
  start(options: DriverOptions = {}): boolean {
    poke(this.config, 0x04, 2, 0x0406);
    poke(this.config, 0x04, 2, 0x0006);
    poke(this.bar, 0x14, 1, 0);
    poke(this.bar, 0x14, 1, 1);
    poke(this.bar, 0x14, 1, 3);
    this.negotiate(options.lo ?? 0x1000_0000, options.hi ?? 3);
    if ((peek(this.bar, 0x14, 1) & 8) === 0) return false;
    this.setUpQueue(options.vectors);
    poke(this.bar, 0x14, 1, 0x0f);
    return true;
  }

  /** Writes the driver's features and FEATURES_OK. */
  negotiate(lo: number, hi: number): void {
    poke(this.bar, 0x08, 4, 0);
    poke(this.bar, 0x0c, 4, lo);
    poke(this.bar, 0x08, 4, 1);
    poke(this.bar, 0x0c, 4, hi);
    poke(this.bar, 0x14, 1, 0x0b);
  }

  /** Tells the device where queue 0 lies and enables it. */
  setUpQueue(vectors?: readonly [number, number]): void {
    poke(this.bar, 0x16, 2, 0);
    poke(this.bar, 0x18, 2, this.size);
    if (vectors !== undefined) {
      poke(this.bar, 0x1a, 2, vectors[0]);
      poke(this.bar, 0x10, 2, vectors[1]);
    }
    const areas = [this.desc, this.avail, this.used];
    areas.forEach((area, i) => {
      poke(this.bar, 0x20 + 8 * i, 4, area % 2 ** 32);
      poke(this.bar, 0x24 + 8 * i, 4, Math.floor(area / 2 ** 32));
    });
    poke(this.bar, 0x1c, 2, 1);
  }

  /** The device status. */
  get status(): number {
    return peek(this.bar, 0x14, 1);
  }

  /** Writes one descriptor into any table. */
  writeDescriptor(
    iova: number,
    buffer: { iova: number; size: number },
    flags: number,
    next: number,
  ): void {
    const at = iova - this.memory.base;
    this.memory.view.setUint32(at, buffer.iova % 2 ** 32, true);
    this.memory.view.setUint32(at + 4, Math.floor(buffer.iova / 2 ** 32), true);
    this.memory.view.setUint32(at + 8, buffer.size, true);
    this.memory.view.setUint16(at + 12, flags, true);
    this.memory.view.setUint16(at + 14, next, true);
  }

  /** Writes a chain of descriptors and makes it available; returns its head. */
  add(buffers: readonly Buffer[]): number {
    const head = this.#nextDescriptor % this.size;
    buffers.forEach((buffer, i) => {
      const index = (head + i) % this.size;
      const last = i === buffers.length - 1;
      const flags = (buffer.writable ? 2 : 0) | (last ? 0 : 1);
      this.writeDescriptor(
        this.desc + 16 * index,
        buffer,
        flags,
        last ? 0 : (index + 1) % this.size,
      );
    });
    this.#nextDescriptor += buffers.length;
    this.offer(head);
    return head;
  }

  /** Writes a chain into an indirect table and makes it available; returns its head. */
  addIndirect(buffers: readonly Buffer[]): number {
    if (this.#nextTable + buffers.length * 16 > 0x4000) this.#nextTable = 0;
    const table = this.tables + this.#nextTable;
    this.#nextTable += buffers.length * 16;
    buffers.forEach((buffer, i) => {
      const last = i === buffers.length - 1;
      const flags = (buffer.writable ? 2 : 0) | (last ? 0 : 1);
      this.writeDescriptor(table + 16 * i, buffer, flags, last ? 0 : i + 1);
    });
    const head = this.#nextDescriptor++ % this.size;
    this.writeDescriptor(this.desc + 16 * head, { iova: table, size: buffers.length * 16 }, 4, 0);
    this.offer(head);
    return head;
  }

  /** Puts a head into the available ring and moves its index. */
  offer(head: number): void {
    const at = this.avail - this.memory.base;
    this.memory.view.setUint16(at + 4 + 2 * (this.availIndex % this.size), head, true);
    this.availIndex++;
    this.memory.view.setUint16(at + 2, this.availIndex % 65536, true);
  }

  /** Notifies queue 0. */
  kick(): void {
    poke(this.bar, 0x3000, 2, 0);
  }

  /** Wants an interrupt once used element `index` is written. */
  set usedEvent(index: number) {
    this.memory.view.setUint16(
      this.avail - this.memory.base + 4 + 2 * this.size,
      index % 65536,
      true,
    );
  }

  /** The index at which the device wants the next notification. */
  get availEvent(): number {
    return this.memory.view.getUint16(this.used - this.memory.base + 4 + 8 * this.size, true);
  }

  /** Flags of the available ring. */
  set availFlags(flags: number) {
    this.memory.view.setUint16(this.avail - this.memory.base, flags, true);
  }

  /** The used index as the device wrote it. */
  get writtenUsedIndex(): number {
    return this.memory.view.getUint16(this.used - this.memory.base + 2, true);
  }

  /** Takes the new used elements. */
  take(): UsedElement[] {
    const elements: UsedElement[] = [];
    const at = this.used - this.memory.base;
    while (this.usedIndex % 65536 !== this.writtenUsedIndex) {
      const slot = at + 4 + 8 * (this.usedIndex % this.size);
      elements.push({
        id: this.memory.view.getUint32(slot, true),
        len: this.memory.view.getUint32(slot + 4, true),
      });
      this.usedIndex++;
    }
    return elements;
  }
}

/** Where the parts of a block request are. */
export interface BlockRequest {
  readonly header: number;
  readonly status: number;
  readonly buffers: readonly Buffer[];
}

/** A block request: header at `at`, status byte at `at` + 16 (set to 0xff), and these data buffers between. */
export function blockRequest(
  memory: FakeDma,
  at: number,
  type: number,
  sector: number,
  data: readonly Buffer[] = [],
): BlockRequest {
  const offset = at - memory.base;
  memory.view.setUint32(offset, type, true);
  memory.view.setUint32(offset + 4, 0, true);
  memory.view.setUint32(offset + 8, sector % 2 ** 32, true);
  memory.view.setUint32(offset + 12, Math.floor(sector / 2 ** 32), true);
  memory.bytes[offset + 16] = 0xff;
  return {
    header: at,
    status: at + 16,
    buffers: [
      { iova: at, size: 16, writable: false },
      ...data,
      { iova: at + 16, size: 1, writable: true },
    ],
  };
}

/** Everything a test of the disk needs. */
export interface DiskRig {
  readonly memory: FakeDma;
  readonly irq: FakeIrq;
  readonly disk: VirtioPci;
  readonly driver: VirtioDriver;
  /** Contents of the disk: byte i is i + i / 512, modulo 256, so neighbouring sectors differ. */
  readonly contents: Uint8Array;
}

/** How the rig differs from a disk of 64 sectors, INTx, 128 KiB of memory from 0x4000_0000, a started driver. */
export interface DiskRigOptions extends DriverOptions {
  readonly base?: number;
  readonly memoryBytes?: number;
  readonly sectors?: number;
  readonly started?: boolean;
  readonly disk?: Partial<VirtioBlkOptions>;
  readonly pci?: Pick<VirtioPciOptions, "msix" | "later">;
}

/** A disk and its driver. */
export function diskRig(options: DiskRigOptions = {}): DiskRig {
  const memory = new FakeDma(options.base ?? 0x4000_0000, options.memoryBytes ?? 0x2_0000);
  const contents = new Uint8Array((options.sectors ?? 64) * 512);
  for (let i = 0; i < contents.length; i++) contents[i] = i + Math.floor(i / 512);
  const irq = new FakeIrq();
  const disk = new VirtioPci({
    device: new VirtioBlk({ store: new MemoryBlockStore(contents), ...options.disk }),
    requester: { streamId: 0x28, substreamId: -1 },
    dma: memory,
    irq,
    ...options.pci,
  });
  const driver = new VirtioDriver(disk, memory, options);
  if (options.started ?? true) driver.start(options);
  return { memory, irq, disk, driver, contents };
}
