/**
 * The 4096 bytes of a function's configuration space. PCI Express Base 5.0 §7.5, §7.6.
 *
 * Every byte has a write mask and a write-one-to-clear mask, so reserved bits cannot be set and a sizing probe of a
 * BAR reads back its size by construction.
 * @module
 */
import { type Field, set } from "../bits.ts";
import type { MmioDevice } from "../device.ts";
import { BAR0, BAR_64BIT, COMMAND, type ConfigRegister, HEADER, STATUS } from "./registers.ts";

/** One structure of the capability list, or of the extended one. */
export interface Capability {
  /** Capability ID: 8 bits, or 16 in the extended list. */
  readonly id: number;
  /** Version, in the extended list only. */
  readonly version?: number;
  /** Size in bytes, with the ID. */
  readonly sizeBytes: number;
  /** The registers after the ID and next pointer, each with its value after reset. */
  readonly registers: readonly (readonly [register: ConfigRegister, initial: number])[];
  /** Told once where in configuration space it was placed. */
  attach?(config: ConfigSpace, offset: number): void;
}

/** What a memory BAR asks for. */
export interface BarRequest {
  /** 0 to 5. */
  readonly index: number;
  /** A power of two, at least 16. */
  readonly sizeBytes: number;
  /** Takes this register and the next, for addresses of 64 bits. */
  readonly wide?: boolean;
}

/** The identity and the structures of a function. */
export interface ConfigSpaceOptions {
  /** 16 bits. */
  readonly vendorId: number;
  /** 16 bits. */
  readonly deviceId: number;
  /** Base class, sub-class and programming interface: 24 bits. */
  readonly classCode: number;
  /** 8 bits; 0 when absent. */
  readonly revision?: number;
  /** 16 bits; 0 when absent. */
  readonly subsystemVendorId?: number;
  /** 16 bits; 0 when absent. */
  readonly subsystemId?: number;
  /** 1 to 4 for INTA to INTD, 0 for none. */
  readonly interruptPin?: number;
  /** The memory BARs, none overlapping. */
  readonly bars?: readonly BarRequest[];
  /** The capability list, in order. */
  readonly capabilities?: readonly Capability[];
  /** The extended capability list, in order. */
  readonly extended?: readonly Capability[];
}

/** What wants to know of accesses to a range. */
export interface Watcher {
  /** Called before bytes of the range are read. */
  read?(): void;
  /** Called after bytes of the range were written, and after a reset. */
  written?(): void;
}

/** Configuration space of a type 0 function. */
export class ConfigSpace implements MmioDevice {
  /** 4096. */
  static readonly SIZE = 4096;

  readonly #bytes = new Uint8Array(ConfigSpace.SIZE);
  readonly #initial = new Uint8Array(ConfigSpace.SIZE);
  readonly #writable = new Uint8Array(ConfigSpace.SIZE);
  readonly #clearable = new Uint8Array(ConfigSpace.SIZE);
  readonly #watchers: { first: number; end: number; watcher: Watcher }[] = [];
  readonly #word = new Uint32Array(1);

  /** Throws a `RangeError` when a BAR or the capabilities do not fit. */
  constructor(options: ConfigSpaceOptions) {
    this.#define(0, HEADER.VendorID, options.vendorId);
    this.#define(0, HEADER.DeviceID, options.deviceId);
    this.#define(0, HEADER.Command, 0);
    this.#define(0, HEADER.Status, 0);
    this.#define(0, HEADER.RevisionID, options.revision ?? 0);
    this.#define(0, HEADER.ProgrammingInterface, options.classCode & 0xff);
    this.#define(0, HEADER.SubClass, (options.classCode >>> 8) & 0xff);
    this.#define(0, HEADER.BaseClass, options.classCode >>> 16);
    this.#define(0, HEADER.CacheLineSize, 0);
    this.#define(0, HEADER.SubsystemVendorID, options.subsystemVendorId ?? 0);
    this.#define(0, HEADER.SubsystemID, options.subsystemId ?? 0);
    this.#define(0, HEADER.InterruptLine, 0);
    this.#define(0, HEADER.InterruptPin, options.interruptPin ?? 0);
    for (const bar of options.bars ?? []) this.#defineBar(bar);
    this.#link(options.capabilities ?? []);
    this.#linkExtended(options.extended ?? []);
    this.#bytes.set(this.#initial);
  }

  /** Reads bytes; beyond the end they are zero. */
  read(offset: number, into: Uint8Array): void {
    for (const { first, end, watcher } of this.#watchers) {
      if (offset < end && first < offset + into.length) watcher.read?.();
    }
    for (let i = 0; i < into.length; i++) into[i] = this.#bytes[offset + i] ?? 0;
  }

  /** Writes bytes as software does: only bits that their masks let through change. */
  write(offset: number, from: Uint8Array): void {
    const end = Math.min(offset + from.length, ConfigSpace.SIZE);
    for (let i = offset; i < end; i++) {
      const value = from[i - offset];
      const kept = this.#bytes[i] & ~this.#writable[i] & ~(value & this.#clearable[i]);
      this.#bytes[i] = kept | (value & this.#writable[i]);
    }
    for (const { first, end: last, watcher } of this.#watchers) {
      if (offset < last && first < end) watcher.written?.();
    }
  }

  /** Returns every register to its initial value. */
  reset(): void {
    this.#bytes.set(this.#initial);
    for (const { watcher } of this.#watchers) watcher.written?.();
  }

  /** Calls `watcher` for accesses that touch `sizeBytes` bytes at `offset`. */
  watch(offset: number, sizeBytes: number, watcher: Watcher): void {
    this.#watchers.push({ first: offset, end: offset + sizeBytes, watcher });
  }

  /** The value of a register of the structure at `base`. */
  get(base: number, register: ConfigRegister): number {
    let value = 0;
    for (let i = register.sizeBytes - 1; i >= 0; i--) {
      value = value * 256 + this.#bytes[base + register.offset + i];
    }
    return value;
  }

  /** Changes bytes as hardware does, whatever their masks; a reset undoes it. */
  put(offset: number, from: Uint8Array): void {
    this.#bytes.set(from, offset);
  }

  /** Changes one byte for good: a reset returns to it. */
  redefine(offset: number, value: number): void {
    this.#bytes[offset] = value;
    this.#initial[offset] = value;
  }

  /** Whether BARs answer. */
  get memoryEnabled(): boolean {
    return this.#test(HEADER.Command, COMMAND.MemorySpaceEnable);
  }

  /** Whether the function may make memory requests, messages included. */
  get busMaster(): boolean {
    return this.#test(HEADER.Command, COMMAND.BusMasterEnable);
  }

  /** Whether the function must not assert its INTx pin. */
  get interruptDisabled(): boolean {
    return this.#test(HEADER.Command, COMMAND.InterruptDisable);
  }

  /** Shows in the Status register whether an INTx interrupt is pending inside the function. */
  set interruptStatus(pending: boolean) {
    this.#word[0] = this.get(0, HEADER.Status);
    set(this.#word, STATUS.InterruptStatus, pending ? 1 : 0);
    this.#bytes[HEADER.Status.offset] = this.#word[0] & 0xff;
  }

  #test(register: ConfigRegister, field: Field): boolean {
    return ((this.get(0, register) >>> field.shift) & field.mask) !== 0;
  }

  #define(base: number, register: ConfigRegister, value: number): void {
    const at = base + register.offset;
    for (let i = 0; i < register.sizeBytes; i++) {
      this.#initial[at + i] = value >>> (8 * i);
      this.#writable[at + i] = register.writable >>> (8 * i);
      this.#clearable[at + i] = register.clearable >>> (8 * i);
    }
  }

  #defineBar({ index, sizeBytes, wide = false }: BarRequest): void {
    const log2size = Math.log2(sizeBytes);
    if (!Number.isInteger(log2size) || log2size < 4 || index + (wide ? 1 : 0) > 5) {
      throw new RangeError(`BAR ${index} cannot have ${sizeBytes} bytes`);
    }
    if (!wide && log2size > 31) throw new RangeError(`BAR ${index} needs 64 bits`);
    const low = log2size > 31 ? 0 : (-1 << log2size) >>> 0;
    const high = log2size > 31 ? (-1 << (log2size - 32)) >>> 0 : 0xffff_ffff;
    const offset = BAR0 + 4 * index;
    const type = wide ? BAR_64BIT : 0;
    this.#define(0, { offset, sizeBytes: 4, writable: low, clearable: 0 }, type);
    if (wide) {
      this.#define(0, { offset: offset + 4, sizeBytes: 4, writable: high, clearable: 0 }, 0);
    }
  }

  #link(capabilities: readonly Capability[]): void {
    let pointer = HEADER.CapabilitiesPointer.offset;
    let offset = 0x40;
    for (const capability of capabilities) {
      if (offset + capability.sizeBytes > 0x100) throw new RangeError("Capabilities do not fit");
      this.#initial[pointer] = offset;
      this.#initial[offset] = capability.id;
      this.#place(capability, offset);
      pointer = offset + 1;
      offset = (offset + capability.sizeBytes + 3) & ~3;
    }
    if (capabilities.length > 0) {
      this.#initial[HEADER.Status.offset] |= 1 << STATUS.CapabilitiesList.shift;
    }
  }

  #linkExtended(capabilities: readonly Capability[]): void {
    let previous = 0;
    let offset = 0x100;
    for (const capability of capabilities) {
      const { id, version = 1, sizeBytes } = capability;
      if (offset + sizeBytes > ConfigSpace.SIZE) throw new RangeError("Capabilities do not fit");
      this.#define(
        offset,
        { offset: 0, sizeBytes: 4, writable: 0, clearable: 0 },
        version << 16 | id,
      );
      if (previous !== 0) {
        this.#initial[previous + 2] |= (offset & 0xf) << 4;
        this.#initial[previous + 3] = offset >>> 4;
      }
      this.#place(capability, offset);
      previous = offset;
      offset = (offset + sizeBytes + 3) & ~3;
    }
  }

  #place(capability: Capability, offset: number): void {
    for (const [register, initial] of capability.registers) this.#define(offset, register, initial);
    capability.attach?.(this, offset);
  }
}
