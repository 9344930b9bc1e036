/**
 * A function of a host that is made up: configuration space, one BAR in memory, interrupts that a test fires.
 * @module
 */
import { ERRNO, SystemError } from "../../uapi/errno.ts";
import { Fd } from "../../uapi/fd.ts";
import { libc } from "../../uapi/libc.ts";
import type { IrqInfo, IrqSet } from "../../uapi/vfio/irq.ts";
import type { RegionInfo } from "../../uapi/vfio/region_info.ts";
import type { HostFunction } from "../../vmm/vfio/host_function.ts";

/** Where the capabilities are. */
export const AT = { PM: 0x40, MSI: 0x50, MSIX: 0x70, EXPRESS: 0xa0 } as const;

/** Vectors of MSI-X; the table is at 0x1000 of BAR 0, the pending bits are at 0x2800. */
export const VECTORS = 3;

/** The function: a 16 KiB BAR 0 of memory, and an I/O BAR 2. */
export class FakeHostFunction implements HostFunction {
  readonly fd = new Fd(-1);
  readonly space = new Uint8Array(4096);
  readonly bar = new Uint8Array(0x4000);
  /** What was asked, such as `irqs 2 trigger 3` or `reset`. */
  readonly log: string[] = [];
  /** Errors of the next accesses of BARs. */
  errno = 0;
  readonly #events = new Map<number, readonly number[]>();
  readonly #hasIntx: boolean;

  constructor({ hasIntx = false }: { hasIntx?: boolean } = {}) {
    this.#hasIntx = hasIntx;
    const view = new DataView(this.space.buffer);
    view.setUint32(0, 0x10ca_8086, true);
    view.setUint16(6, 0x10, true);
    view.setUint32(0x10, 0xc, true);
    view.setUint32(0x18, 0x1, true);
    view.setUint32(0x30, 0xfff0_0001, true);
    this.space.set([AT.PM], 0x34);
    this.space.set([0x0b, 1], 0x3c);
    this.space.set([0x01, AT.MSI, 3, 0], AT.PM);
    this.space.set([0x05, AT.MSIX, 0x80, 0], AT.MSI);
    this.space.set([0x11, AT.EXPRESS, VECTORS - 1, 0], AT.MSIX);
    view.setUint32(AT.MSIX + 4, 0x1000, true);
    view.setUint32(AT.MSIX + 8, 0x2800, true);
    this.space.set([0x10, 0, 2, 0], AT.EXPRESS);
  }

  region(index: number): RegionInfo {
    const sizeBytes = index === 0 ? 0x4000 : index === 2 ? 0x20 : index === 7 ? 4096 : 0;
    const flags = index === 0 ? 7 : 3;
    return {
      index,
      flags,
      sizeBytes,
      offset: index * 2 ** 40,
      sparse: undefined,
      type: undefined,
      isMsixMappable: true,
      capabilities: [],
    };
  }

  irq(index: number): IrqInfo {
    // Without errors, as outside PCI Express.
    if (index === 3) throw new SystemError("VFIO_DEVICE_GET_IRQ_INFO", ERRNO.EINVAL);
    return { flags: 0, count: [this.#hasIntx ? 1 : 0, 1, VECTORS, 0, 1][index] };
  }

  read(index: number, offset: number, into: Uint8Array): void {
    if (index !== 7 && this.errno !== 0) throw new SystemError("read region 0", this.errno);
    into.set((index === 7 ? this.space : this.bar).subarray(offset, offset + into.length));
  }

  write(index: number, offset: number, from: Uint8Array): void {
    if (index !== 7 && this.errno !== 0) throw new SystemError("write region 0", this.errno);
    this.log.push(`write ${index} 0x${offset.toString(16)}: ${from.join(" ")}`);
    (index === 7 ? this.space : this.bar).set(from, offset);
  }

  setIrqs({ index, action, eventfds = [] }: IrqSet): void {
    this.#events.set(index, eventfds);
    const name = { 0x20: "trigger", 0x10: "unmask", 0x8: "mask" }[action];
    this.log.push(`irqs ${index} ${name} ${eventfds.length}`);
  }

  reset(): void {
    this.log.push("reset");
  }

  /** Signals an interrupt, as the kernel does. */
  fire(index: number, vector = 0): void {
    if (!this.signal(index, vector)) {
      throw new Error(`Interrupt ${vector} of index ${index} is off`);
    }
  }

  /** The same; false when nobody listens. */
  signal(index: number, vector = 0): boolean {
    const fd = this.#events.get(index)?.[vector];
    if (fd === undefined) return false;
    libc().write(fd, Uint8Array.of(1, 0, 0, 0, 0, 0, 0, 0), 8n);
    return true;
  }
}
