/**
 * What a guest and its VMM set up for nested translation on a real Arm SMMUv3: memory, a context descriptor, tables of
 * stage 1, and the objects of iommufd below. IHI 0070 §5.4; DDI 0487 D8.3.
 * @module
 */
import type { Poller } from "../../uapi/poll.ts";
import type { RecordQueue } from "../../vmm/iommufd/iommufd.ts";
import { KernelIommufd } from "../../vmm/iommufd/kernel.ts";
import type { KernelDevice } from "../../vmm/iommufd/kernel_device.ts";
import { SharedPages } from "./shared_pages.ts";

/** Where the guest's memory is for the guest. */
export const RAM_GPA = 0x4000_0000;
const RAM_BYTES = 0x20_0000;
const [NEST_PARENT, ARM_SMMUV3] = [1, 2];
const FAULT_ID_VALID = 4;
const VIOMMU_ARM_SMMUV3 = 1;

/** Where things are in the guest's memory; free pages begin at `FREE`. */
export const AT = { CD: 0, L1: 0x1000, L2: 0x2000, L3: 0x3000, FREE: 0x1_0000 } as const;

/** The first two words of an STE: V, and Config in bits 3:1. */
export const VSTE = {
  INVALID: [0n, 0n],
  ABORT: [0x1n, 0n],
  BYPASS: [0x9n, 0n],
  // Config 5: the CD at S1ContextPtr, in shareable memory that is cached.
  STAGE1: [0xbn | BigInt(RAM_GPA + AT.CD), 0xd4n],
} as const;

/** The path of a VFIO device by the class of the PCI function, such as 0x010802; the `index`-th of them. */
export function vfioPath(pciClass: number, index = 0): string {
  const folder = "/sys/class/vfio-dev";
  const found = [...Deno.readDirSync(folder)].map(({ name }) => name).sort()
    .filter((name) => Number(Deno.readTextFileSync(`${folder}/${name}/device/class`)) === pciClass);
  if (found.length <= index) throw new Error(`No VFIO device of class ${pciClass.toString(16)}`);
  return `/dev/vfio/devices/${found[index]}`;
}

/** PCI classes of the devices that the Host VM gives away. */
export const PCI_CLASS = { ETHERNET: 0x02_0000, NVME: 0x01_0802 } as const;

/** A guest's memory, with one stage 1 of 39 bits in it, and what a VMM holds for it. */
export class KernelGuest implements Disposable {
  /** Closed last. */
  readonly iommufd: KernelIommufd;
  /** The guest's memory. */
  readonly ram: SharedPages;
  /** Its address space. */
  readonly ioasId: number;
  /** Stage 2. */
  readonly parent: number;
  /** The guest's SMMU. */
  readonly viommuId: number;
  /** What it reports. */
  readonly events: RecordQueue;
  /** The device. */
  readonly device: KernelDevice;
  readonly #stack: DisposableStack;

  /** Gives the device at `path` to a new guest, whose name for it is `streamId`, and leaves it on stage 2. */
  constructor(path: string, streamId: number, poller?: Poller) {
    using stack = new DisposableStack();
    this.iommufd = stack.use(KernelIommufd.open("/dev/iommu", { poller }));
    this.ram = stack.use(new SharedPages(RAM_BYTES));
    this.device = stack.use(this.iommufd.bindVfio(path));
    const { devId } = this.device;
    this.ioasId = this.iommufd.ioasAlloc();
    this.iommufd.ioasMapFile({
      flags: 7,
      ioasId: this.ioasId,
      fd: this.ram.fd.number,
      start: 0n,
      length: BigInt(RAM_BYTES),
      iova: BigInt(RAM_GPA),
    });
    const call = { flags: NEST_PARENT, devId, ptId: this.ioasId, dataType: 0 };
    this.parent = this.iommufd.hwptAlloc(call);
    this.device.attach(this.parent);
    const type = VIOMMU_ARM_SMMUV3;
    const viommuId = this.iommufd.viommuAlloc({ flags: 0, type, devId, hwptId: this.parent });
    this.viommuId = viommuId;
    this.events = stack.use(this.iommufd.veventqAlloc({ flags: 0, viommuId, type, depth: 64 }));
    this.iommufd.vdeviceAlloc({ viommuId, devId, virtId: BigInt(streamId) });
    this.#writeTables();
    this.#stack = stack.move();
  }

  /** A HWPT for an STE; with `faultId` the faults that stall go to that queue. */
  nested(vste: readonly [bigint, bigint], faultId?: number): number {
    return this.iommufd.hwptAlloc({
      flags: faultId === undefined ? 0 : FAULT_ID_VALID,
      faultId,
      devId: this.device.devId,
      ptId: this.viommuId,
      dataType: ARM_SMMUV3,
      data: new Uint8Array(BigUint64Array.from(vste).buffer),
    });
  }

  /** Maps the page at `iova`, below 2 MiB, to the one `offset` bytes into the guest's memory. */
  map(iova: number, offset: number): void {
    // Valid page, for everyone, shareable, accessed, of its ASID alone.
    const page = BigInt(RAM_GPA + offset) | 0xf43n;
    this.ram.view.setBigUint64(AT.L3 + (iova >> 12) * 8, page, true);
  }

  /** Hands commands of the guest to the SMMU. */
  command(...words: bigint[]): { errno: number; handled: number } {
    const entries = new Uint8Array(BigUint64Array.from(words).buffer);
    return this.iommufd.hwptInvalidate({
      hwptId: this.viommuId,
      dataType: 1,
      entryLength: 16,
      count: words.length / 2,
      entries,
    });
  }

  /** Closes all. */
  [Symbol.dispose](): void {
    this.#stack.dispose();
  }

  #writeTables(): void {
    const set = (offset: number, word: bigint): void =>
      this.ram.view.setBigUint64(offset, word, true);
    // T0SZ 25, 4 KiB pages, cached, shareable; EPD1, V, IPS of 44 bits; AA64, R, A, ASET, ASID 5.
    const low = 0x3519n | (1n << 30n) | (1n << 31n) | (4n << 32n);
    set(AT.CD, low | (1n << 41n) | (1n << 45n) | (1n << 46n) | (1n << 47n) | (5n << 48n));
    set(AT.CD + 8, BigInt(RAM_GPA + AT.L1));
    set(AT.CD + 24, 0xffn);
    set(AT.L1, BigInt(RAM_GPA + AT.L2) | 3n);
    set(AT.L2, BigInt(RAM_GPA + AT.L3) | 3n);
  }
}

/** Reads what waits in an event queue, as 64-bit words: the header and four of the record, each. */
export function eventWords(queue: RecordQueue): bigint[] {
  const words = new BigUint64Array(5 * 16);
  const count = queue.read(new Uint8Array(words.buffer));
  return [...words.subarray(0, count / 8)];
}
