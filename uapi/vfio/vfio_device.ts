/**
 * A VFIO device by its own character device, `/dev/vfio/devices/vfioN`. linux/vfio.h of Linux 7.3.
 * @module
 */
import { check, ERRNO, SystemError } from "../errno.ts";
import { Fd } from "../fd.ts";
import { ioctl, plainIoctl } from "../ioctl.ts";
import { lastErrno, libc } from "../libc.ts";
import { Mapping } from "../mapping.ts";
import { cString, Pinned } from "../pinned.ts";
import { type Fields, type Struct, StructBuffer, type Values } from "../struct.ts";
import { readCapabilities, type VfioCapability } from "./capabilities.ts";
import {
  VFIO_DEVICE_ATTACH,
  vfio_device_attach_iommufd_pt,
  VFIO_DEVICE_BIND_FLAG,
  vfio_device_bind_iommufd,
  VFIO_DEVICE_DETACH,
  vfio_device_detach_iommufd_pt,
  vfio_device_info,
  vfio_pci_dependent_device,
  vfio_pci_hot_reset,
  vfio_pci_hot_reset_info,
} from "./device.ts";
import { type DependentDevices, readDependents } from "./dependent_devices.ts";
import { VFIO_DEVICE_FEATURE, vfio_device_feature } from "./feature.ts";
import { type IrqInfo, type IrqSet, irqSetBytes, readIrqInfo, vfio_irq_info } from "./irq.ts";
import { readRegionInfo, type RegionInfo } from "./region_info.ts";
import { vfio_device_ioeventfd, vfio_region_info } from "./region.ts";
import { VFIO_REQUEST, type VfioRequest } from "./requests.ts";

const O_RDWR = 2;
const O_CLOEXEC = 0x8_0000;
/** Bytes of a VF's token. */
const UUID = 16;

/** What a device is. */
export interface VfioDeviceInfo {
  /** Of VFIO_DEVICE_FLAGS. */
  readonly flags: number;
  /** One more than the highest index of a region. */
  readonly regionCount: number;
  /** One more than the highest index of interrupts. */
  readonly irqCount: number;
  /** What else the kernel tells, of VFIO_DEVICE_INFO_CAP. */
  readonly capabilities: readonly VfioCapability[];
}

/**
 * An open device. Closing it unbinds it and resets it, if it can be reset. Every method throws `SystemError` when the
 * kernel refuses; before `bind`, it refuses everything.
 */
export class VfioDevice implements Disposable {
  /** Where it was opened. */
  readonly path: string;
  readonly #fd: Fd;
  readonly #offsets = new Map<number, number>();

  /** Opens the character device at `path`. */
  constructor(path: string) {
    this.path = path;
    this.#fd = new Fd(check(libc().open(cString(path), O_RDWR | O_CLOEXEC, 0), `open ${path}`));
  }

  /** The descriptor, which stays this object's. */
  get fd(): Fd {
    return this.#fd;
  }

  /** Binds the device to the iommufd with descriptor `iommufd`; returns its id there. `token` is that of a VF's owner. */
  bind(iommufd: number, token?: Uint8Array): number {
    const uuid = new Pinned(UUID);
    if (token !== undefined) uuid.bytes.set(token);
    const answer = this.#call("VFIO_DEVICE_BIND_IOMMUFD", vfio_device_bind_iommufd, {
      iommufd,
      flags: token === undefined ? 0 : VFIO_DEVICE_BIND_FLAG.TOKEN,
      token_uuid_ptr: token === undefined ? 0n : BigInt(uuid.address),
    });
    return answer.get("out_devid");
  }

  /** Attaches to an IOAS or HWPT, or replaces what the device or its `pasid` is attached to. Returns the HWPT. */
  attach(ptId: number, pasid?: number): number {
    const answer = this.#call("VFIO_DEVICE_ATTACH_IOMMUFD_PT", vfio_device_attach_iommufd_pt, {
      pt_id: ptId,
      flags: pasid === undefined ? 0 : VFIO_DEVICE_ATTACH.PASID,
      pasid,
    });
    return answer.get("pt_id");
  }

  /** Detaches; nothing happens when it is not attached. */
  detach(pasid?: number): void {
    this.#call("VFIO_DEVICE_DETACH_IOMMUFD_PT", vfio_device_detach_iommufd_pt, {
      flags: pasid === undefined ? 0 : VFIO_DEVICE_DETACH.PASID,
      pasid,
    });
  }

  /** What the device is. */
  info(): VfioDeviceInfo {
    const answer = this.#ask("VFIO_DEVICE_GET_INFO", vfio_device_info, {});
    return {
      flags: answer.get("flags"),
      regionCount: answer.get("num_regions"),
      irqCount: answer.get("num_irqs"),
      capabilities: readCapabilities(answer.view, answer.get("cap_offset")),
    };
  }

  /** What a region is, by its index, such as those of VFIO_PCI. */
  region(index: number): RegionInfo {
    const region = readRegionInfo(
      this.#ask("VFIO_DEVICE_GET_REGION_INFO", vfio_region_info, { index }),
    );
    this.#offsets.set(index, region.offset);
    return region;
  }

  /** What interrupts there are at an index, such as those of VFIO_PCI. */
  irq(index: number): IrqInfo {
    return readIrqInfo(this.#call("VFIO_DEVICE_GET_IRQ_INFO", vfio_irq_info, { index }));
  }

  /** Says what interrupts do. ENOTTY when these interrupts cannot do it. */
  setIrqs(set: IrqSet): void {
    const name = "VFIO_DEVICE_SET_IRQS";
    plainIoctl(this.#fd.number, VFIO_REQUEST[name], irqSetBytes(set), this.#name(name));
  }

  /** Resets the function alone. EINVAL when it cannot. */
  reset(): void {
    const name = "VFIO_DEVICE_RESET";
    ioctl(
      this.#fd.number,
      VFIO_REQUEST[name],
      new Uint8Array(new ArrayBuffer(1)),
      this.#name(name),
    );
  }

  /** The functions that a reset of the slot or bus affects, this one too. */
  dependents(): DependentDevices {
    const name = "VFIO_DEVICE_GET_PCI_HOT_RESET_INFO";
    for (let tailBytes = 0;;) {
      const answer = new StructBuffer(vfio_pci_hot_reset_info, tailBytes);
      answer.set("argsz", answer.bytes.length);
      const result = libc().ioctl(this.#fd.number, VFIO_REQUEST[name], answer.bytes);
      const errno = result < 0 ? lastErrno() : 0;
      if (errno === 0) return readDependents(answer);
      const needed = answer.get("count") * vfio_pci_dependent_device.size;
      if (errno !== ERRNO.ENOSPC || needed <= tailBytes) {
        throw new SystemError(this.#name(name), errno);
      }
      tailBytes = needed;
    }
  }

  /** Resets the slot or bus; all functions that `dependents` tells have to be this process's. */
  hotReset(): void {
    this.#call("VFIO_DEVICE_PCI_HOT_RESET", vfio_pci_hot_reset, {});
  }

  /** Makes a signal of `eventfd` write `data`, 1, 2, 4 or 8 bytes, to a region; -1 ends that. */
  ioeventfd(
    index: number,
    offset: number,
    widthBytes: number,
    data: bigint,
    eventfd: number,
  ): void {
    this.#call("VFIO_DEVICE_IOEVENTFD", vfio_device_ioeventfd, {
      flags: widthBytes,
      offset: BigInt(this.#offset(index) + offset),
      data,
      fd: eventfd,
    });
  }

  /** Whether the device has a feature, and can do with it what `how` asks: GET, SET or both. */
  hasFeature(feature: number, how: number): boolean {
    try {
      this.feature(feature, VFIO_DEVICE_FEATURE.PROBE | how, new Uint8Array());
      return true;
    } catch (error) {
      if (error instanceof SystemError && error.errno === ERRNO.ENOTTY) return false;
      throw error;
    }
  }

  /**
   * VFIO_DEVICE_FEATURE, `how` being GET, SET or PROBE: `data` is given to the kernel and filled by it. Returns what the
   * ioctl returns, a descriptor for DMA_BUF. ENOTTY when the device does not have the feature.
   */
  feature(feature: number, how: number, data: Uint8Array): number {
    const name = "VFIO_DEVICE_FEATURE";
    const argument = new StructBuffer(vfio_device_feature, data.length);
    argument.fill({ argsz: argument.bytes.length, flags: feature | how });
    argument.bytes.set(data, vfio_device_feature.size);
    const result = plainIoctl(
      this.#fd.number,
      VFIO_REQUEST[name],
      argument.bytes,
      this.#name(name),
    );
    data.set(argument.bytes.subarray(vfio_device_feature.size));
    return result;
  }

  /** Reads from a region; EIO when it ends before. */
  read(index: number, offset: number, into: Uint8Array): void {
    this.#transfer("read", index, offset, into);
  }

  /** Writes to a region; EIO when it ends before. */
  write(index: number, offset: number, from: Uint8Array): void {
    this.#transfer("write", index, offset, from);
  }

  /** Maps a part of a region: what its registers do, loads and stores do. EINVAL where that is not allowed. */
  map(index: number, offset: number, sizeBytes: number): Mapping {
    const at = this.#offset(index) + offset;
    return new Mapping(this.#fd, { offset: at, sizeBytes, writable: true });
  }

  /** Closes the device. */
  [Symbol.dispose](): void {
    this.#fd[Symbol.dispose]();
  }

  /** Does an ioctl on a structure that begins with its size. */
  #call<F extends Fields>(
    name: VfioRequest,
    struct: Struct<F>,
    values: Values<F>,
    tailBytes = 0,
  ): StructBuffer<F> {
    const argument = new StructBuffer(struct, tailBytes).fill(values);
    argument.view.setUint32(0, argument.bytes.length, true);
    ioctl(this.#fd.number, VFIO_REQUEST[name], argument.bytes, this.#name(name));
    return argument;
  }

  /** As `#call`, again with more room when the kernel has more to tell. */
  #ask<F extends Fields>(
    name: VfioRequest,
    struct: Struct<F>,
    values: Values<F>,
  ): StructBuffer<F> {
    const answer = this.#call(name, struct, values);
    const length = answer.view.getUint32(0, true);
    return length <= struct.size ? answer : this.#call(name, struct, values, length - struct.size);
  }

  #name(name: VfioRequest): string {
    return `${name} on ${this.path}`;
  }

  #offset(index: number): number {
    return this.#offsets.get(index) ?? this.region(index).offset;
  }

  #transfer(direction: "read" | "write", index: number, offset: number, bytes: Uint8Array): void {
    const at = this.#offset(index) + offset;
    for (let done = 0; done < bytes.length;) {
      const rest = done === 0 ? bytes : bytes.subarray(done);
      const position = BigInt(at + done);
      const count = direction === "read"
        ? libc().pread(this.#fd.number, rest as BufferSource, BigInt(rest.length), position)
        : libc().pwrite(this.#fd.number, rest as BufferSource, BigInt(rest.length), position);
      const errno = count < 0 ? lastErrno() : count === 0 ? ERRNO.EIO : 0;
      if (errno === ERRNO.EINTR) continue;
      if (errno !== 0) throw new SystemError(`${direction} region ${index} of ${this.path}`, errno);
      done += count;
    }
  }
}
