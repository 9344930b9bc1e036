/**
 * The regions of a function: its BARs and its configuration space, by index and offset.
 * @module
 */
import type { MmioDevice } from "../../hw/device.ts";
import type { PciFunction } from "../../hw/pci/function.ts";
import type { MappedRegion } from "./mapped_region.ts";
import { REGION } from "./protocol.ts";

/** What an observer hears of accesses, after they were done. */
export interface AccessObserver {
  /** A BAR was read. */
  barRead?(bar: number, offset: number, sizeBytes: number): void;
  /** A BAR was written. */
  barWrite?(bar: number, offset: number, sizeBytes: number): void;
  /** Configuration space was read or written. */
  configAccess?(isWrite: boolean, offset: number, sizeBytes: number): void;
}

const CONFIG_SIZE = 4096;
/** Widest access of memory space and of configuration space, in bytes. */
const WIDEST = { bar: 8, config: 4 } as const;

/**
 * Carries accesses to a function. Whatever a client sends, a device sees what a bus carries: naturally aligned 1, 2, 4
 * or 8 bytes, in configuration space at most 4.
 */
export class Regions {
  readonly #devices: (MmioDevice | undefined)[] = new Array(REGION.count).fill(undefined);
  readonly #sizes: number[] = new Array(REGION.count).fill(0);
  readonly #observer: AccessObserver;
  readonly #mapped: ReadonlyMap<number, MappedRegion>;
  /** Views of 1, 2, 4 and 8 bytes; indexed by their size. */
  readonly #units: readonly Uint8Array[];

  /** The regions of `pci`, some of which the client maps. */
  constructor(
    pci: PciFunction,
    observer: AccessObserver,
    mapped: ReadonlyMap<number, MappedRegion> = new Map(),
  ) {
    this.#observer = observer;
    this.#mapped = mapped;
    this.#devices[REGION.CONFIG] = pci.config;
    this.#sizes[REGION.CONFIG] = CONFIG_SIZE;
    for (const { index, sizeBytes, device } of pci.bars) {
      this.#devices[index] = device;
      this.#sizes[index] = sizeBytes;
    }
    const unit = new ArrayBuffer(WIDEST.bar);
    this.#units = Array.from(
      { length: WIDEST.bar + 1 },
      (_, size) => new Uint8Array(unit, 0, size),
    );
  }

  /** Size of a region in bytes; 0 when the function does not have it. */
  sizeBytes(index: number): number {
    return this.#sizes[index] ?? 0;
  }

  /** What of a region the client maps. */
  mapped(index: number): MappedRegion | undefined {
    return this.#mapped.get(index);
  }

  /** Whether all of a range lies in a region. */
  contains(index: number, offset: number, sizeBytes: number): boolean {
    return sizeBytes > 0 && offset + sizeBytes <= this.sizeBytes(index);
  }

  /** Reads a range that the region contains to `into` at `at`. */
  read(index: number, offset: number, sizeBytes: number, into: Uint8Array, at: number): void {
    const device = this.#devices[index]!;
    for (let done = 0; done < sizeBytes;) {
      const unit = this.#unit(index, offset + done, sizeBytes - done);
      unit.fill(0);
      device.read(offset + done, unit);
      for (let i = 0; i < unit.length; i++) into[at + done + i] = unit[i];
      done += unit.length;
    }
    if (index === REGION.CONFIG) this.#observer.configAccess?.(false, offset, sizeBytes);
    else this.#observer.barRead?.(index, offset, sizeBytes);
  }

  /** Writes to a range that the region contains, from `from` at `at`. */
  write(index: number, offset: number, sizeBytes: number, from: Uint8Array, at: number): void {
    const device = this.#devices[index]!;
    for (let done = 0; done < sizeBytes;) {
      const unit = this.#unit(index, offset + done, sizeBytes - done);
      for (let i = 0; i < unit.length; i++) unit[i] = from[at + done + i];
      device.write(offset + done, unit);
      done += unit.length;
    }
    if (index === REGION.CONFIG) this.#observer.configAccess?.(true, offset, sizeBytes);
    else this.#observer.barWrite?.(index, offset, sizeBytes);
  }

  /** The widest access that starts at `offset` and leaves neither its alignment nor the range. */
  #unit(index: number, offset: number, left: number): Uint8Array {
    let size: number = index === REGION.CONFIG ? WIDEST.config : WIDEST.bar;
    while (size > left || offset % size !== 0) size /= 2;
    return this.#units[size];
  }
}
