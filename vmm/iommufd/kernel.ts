/**
 * The iommufd of this machine's kernel. Names of calls in errors are those of the ioctls.
 * @module
 */
import { check, ERRNO, SystemError } from "../../uapi/errno.ts";
import { Fd } from "../../uapi/fd.ts";
import { addressOf, ioctl } from "../../uapi/ioctl.ts";
import * as abi from "../../uapi/iommufd/mod.ts";
import { lastErrno, libc } from "../../uapi/libc.ts";
import { cString, Pinned } from "../../uapi/pinned.ts";
import type { Poller } from "../../uapi/poll.ts";
import {
  type Field,
  type Fields,
  getField,
  type Struct,
  StructBuffer,
  type Values,
} from "../../uapi/struct.ts";
import type * as port from "./iommufd.ts";
import { KernelDevice } from "./kernel_device.ts";
import { KernelQueue } from "./kernel_queue.ts";

const O_RDWR = 2;
const O_CLOEXEC = 0x8_0000;
const { INPUT_TYPE } = abi.IOMMU_HW_INFO_FLAG;
const INVALIDATE = abi.iommu_hwpt_invalidate.fields;
const HWPT_INVALIDATE = abi.IOMMUFD_REQUEST.IOMMU_HWPT_INVALIDATE;
/** Room for what hardware tells, and for ranges; when it does not suffice, the kernel says how much does. */
const HW_INFO_BYTES = 64;
const RANGES = 16;

/** Every argument begins with its size. */
type Sized = Fields & { readonly size: Field<"u32"> };

/** Options of `KernelIommufd.open`. */
export interface KernelIommufdOptions {
  /** Who waits for records of queues; without it, they cannot be watched. */
  readonly poller?: Poller | undefined;
}

/** An open `/dev/iommu`. Closing it destroys what is left in it. */
export class KernelIommufd implements port.Iommufd {
  /** The descriptor, to bind devices to. */
  readonly fd: Fd;
  readonly #poller: Poller | undefined;
  readonly #invalidate = new Pinned(abi.iommu_hwpt_invalidate.size);
  /** The entries of the last invalidation, and where they are: most often they are the same buffer. */
  #entries: Uint8Array<ArrayBuffer> | undefined;
  #entriesAddress = 0n;
  /** What the kernel is writing to, so that it is not collected meanwhile. */
  #kept: Uint8Array | undefined;

  private constructor(fd: Fd, poller: Poller | undefined) {
    this.fd = fd;
    this.#poller = poller;
    this.#invalidate.view.setUint32(INVALIDATE.size.offset, abi.iommu_hwpt_invalidate.size, true);
  }

  /** Opens `path`. Throws `SystemError`. */
  static open(path = "/dev/iommu", { poller }: KernelIommufdOptions = {}): KernelIommufd {
    const number = check(libc().open(cString(path), O_RDWR | O_CLOEXEC, 0), `open ${path}`);
    return new KernelIommufd(new Fd(number), poller);
  }

  /** The ioctls that this kernel does not have. */
  missingCalls(): abi.IommufdRequest[] {
    const names = Object.keys(abi.IOMMUFD_REQUEST) as abi.IommufdRequest[];
    // A structure of no size is refused with EINVAL before anything is looked at.
    const none = new Uint8Array(new ArrayBuffer(8));
    return names.filter((name) =>
      libc().ioctl(this.fd.number, abi.IOMMUFD_REQUEST[name], none) < 0 &&
      lastErrno() === ERRNO.ENOTTY
    );
  }

  /** IOMMU_DESTROY. */
  destroy(id: number): void {
    this.#call("IOMMU_DESTROY", abi.iommu_destroy, { id });
  }

  /** IOMMU_IOAS_ALLOC. */
  ioasAlloc(flags = 0): number {
    return this.#call("IOMMU_IOAS_ALLOC", abi.iommu_ioas_alloc, { flags }).get("out_ioas_id");
  }

  /** IOMMU_IOAS_IOVA_RANGES. */
  ioasIovaRanges(ioasId: number): { ranges: port.IovaRange[]; alignment: bigint } {
    for (let room = RANGES;;) {
      const call = this.#new(abi.iommu_ioas_iova_ranges, { ioas_id: ioasId, num_iovas: room });
      const found = new Pinned(room * abi.iommu_iova_range.size);
      call.set("allowed_iovas", BigInt(found.address));
      try {
        this.#do("IOMMU_IOAS_IOVA_RANGES", call);
      } catch (error) {
        if (!(error instanceof SystemError) || error.errno !== ERRNO.EMSGSIZE) throw error;
        room = call.get("num_iovas");
        continue;
      }
      const count = call.get("num_iovas");
      return { ranges: iovaRanges(found.view, count), alignment: call.get("out_iova_alignment") };
    }
  }

  /** IOMMU_IOAS_ALLOW_IOVAS. */
  ioasAllowIovas(ioasId: number, ranges: readonly port.IovaRange[]): void {
    const { size } = abi.iommu_iova_range;
    const list = new Pinned(Math.max(ranges.length, 1) * size);
    ranges.forEach(({ start, last }, i) => {
      list.view.setBigUint64(i * size, start, true);
      list.view.setBigUint64(i * size + 8, last, true);
    });
    this.#kept = list.bytes;
    this.#call("IOMMU_IOAS_ALLOW_IOVAS", abi.iommu_ioas_allow_iovas, {
      ioas_id: ioasId,
      num_iovas: ranges.length,
      allowed_iovas: BigInt(list.address),
    });
  }

  /** IOMMU_IOAS_MAP. */
  ioasMap({ flags, ioasId, userVa, length, iova }: port.IoasMap): bigint {
    const values = { flags, ioas_id: ioasId, user_va: userVa, length, iova };
    return this.#call("IOMMU_IOAS_MAP", abi.iommu_ioas_map, values).get("iova");
  }

  /** IOMMU_IOAS_MAP_FILE. */
  ioasMapFile({ flags, ioasId, fd, start, length, iova }: port.IoasMapFile): bigint {
    const values = { flags, ioas_id: ioasId, fd, start, length, iova };
    return this.#call("IOMMU_IOAS_MAP_FILE", abi.iommu_ioas_map_file, values).get("iova");
  }

  /** IOMMU_IOAS_COPY. */
  ioasCopy(copy: port.IoasCopy): bigint {
    return this.#call("IOMMU_IOAS_COPY", abi.iommu_ioas_copy, {
      flags: copy.flags,
      dst_ioas_id: copy.dstIoasId,
      src_ioas_id: copy.srcIoasId,
      length: copy.length,
      dst_iova: copy.dstIova,
      src_iova: copy.srcIova,
    }).get("dst_iova");
  }

  /** IOMMU_IOAS_UNMAP. */
  ioasUnmap(ioasId: number, iova: bigint, length: bigint): bigint {
    const values = { ioas_id: ioasId, iova, length };
    return this.#call("IOMMU_IOAS_UNMAP", abi.iommu_ioas_unmap, values).get("length");
  }

  /** IOMMU_IOAS_CHANGE_PROCESS. */
  ioasChangeProcess(): void {
    this.#call("IOMMU_IOAS_CHANGE_PROCESS", abi.iommu_ioas_change_process, {});
  }

  /** IOMMU_OPTION. */
  option(optionId: number, op: number, objectId: number, value: bigint): bigint {
    const values = { option_id: optionId, op, object_id: objectId, val64: value };
    return this.#call("IOMMU_OPTION", abi.iommu_option, values).get("val64");
  }

  /** IOMMU_VFIO_IOAS. */
  vfioIoas(op: number, ioasId: number): number {
    const values = { op, ioas_id: ioasId };
    return this.#call("IOMMU_VFIO_IOAS", abi.iommu_vfio_ioas, values).get("ioas_id");
  }

  /** IOMMU_HWPT_ALLOC. */
  hwptAlloc({ flags, devId, ptId, dataType, data, faultId }: port.HwptAlloc): number {
    return this.#call("IOMMU_HWPT_ALLOC", abi.iommu_hwpt_alloc, {
      flags,
      dev_id: devId,
      pt_id: ptId,
      data_type: dataType,
      data_len: data?.length,
      data_uptr: this.#keep(data),
      fault_id: faultId,
    }).get("out_hwpt_id");
  }

  /** IOMMU_GET_HW_INFO. */
  getHwInfo(devId: number, dataType?: number): port.HwInfo {
    for (let room = HW_INFO_BYTES;;) {
      const data = new Pinned(room);
      const call = this.#call("IOMMU_GET_HW_INFO", abi.iommu_hw_info, {
        flags: dataType === undefined ? 0 : INPUT_TYPE,
        dev_id: devId,
        data_len: room,
        data_uptr: BigInt(data.address),
        in_data_type: dataType,
      });
      const length = call.get("data_len");
      if (length > room) room = length;
      else {
        return {
          dataType: call.get("out_data_type"),
          data: data.bytes.slice(0, length),
          maxPasidLog2: call.get("out_max_pasid_log2"),
          capabilities: call.get("out_capabilities"),
        };
      }
    }
  }

  /** IOMMU_HWPT_SET_DIRTY_TRACKING. */
  hwptSetDirtyTracking(hwptId: number, flags: number): void {
    const values = { flags, hwpt_id: hwptId };
    this.#call("IOMMU_HWPT_SET_DIRTY_TRACKING", abi.iommu_hwpt_set_dirty_tracking, values);
  }

  /** IOMMU_HWPT_GET_DIRTY_BITMAP. */
  hwptGetDirtyBitmap(get: port.HwptGetDirtyBitmap): void {
    this.#call("IOMMU_HWPT_GET_DIRTY_BITMAP", abi.iommu_hwpt_get_dirty_bitmap, {
      hwpt_id: get.hwptId,
      flags: get.flags,
      iova: get.iova,
      length: get.length,
      page_size: get.pageSize,
      data: this.#keep(get.bitmap),
    });
  }

  /** IOMMU_HWPT_INVALIDATE. */
  hwptInvalidate(what: port.HwptInvalidate): port.InvalidateResult {
    const { entries } = what;
    const { view, bytes } = this.#invalidate;
    if (entries !== this.#entries || entries.length === 0) {
      this.#entries = entries;
      this.#entriesAddress = addressOf(entries);
      view.setBigUint64(INVALIDATE.data_uptr.offset, this.#entriesAddress, true);
    }
    view.setUint32(INVALIDATE.hwpt_id.offset, what.hwptId, true);
    view.setUint32(INVALIDATE.data_type.offset, what.dataType, true);
    view.setUint32(INVALIDATE.entry_len.offset, what.entryLength, true);
    view.setUint32(INVALIDATE.entry_num.offset, what.count, true);
    const result = libc().ioctl(this.fd.number, HWPT_INVALIDATE, bytes);
    const errno = result < 0 ? lastErrno() : 0;
    return { errno, handled: view.getUint32(INVALIDATE.entry_num.offset, true) };
  }

  /** IOMMU_FAULT_QUEUE_ALLOC. */
  faultQueueAlloc(flags = 0): KernelQueue {
    const call = this.#call("IOMMU_FAULT_QUEUE_ALLOC", abi.iommu_fault_alloc, { flags });
    const fd = new Fd(call.get("out_fault_fd"));
    return new KernelQueue(call.get("out_fault_id"), fd, "a fault queue", this.#poller);
  }

  /** IOMMU_VIOMMU_ALLOC. */
  viommuAlloc({ flags, type, devId, hwptId, data }: port.ViommuAlloc): number {
    return this.#call("IOMMU_VIOMMU_ALLOC", abi.iommu_viommu_alloc, {
      flags,
      type,
      dev_id: devId,
      hwpt_id: hwptId,
      data_len: data?.length,
      data_uptr: this.#keep(data),
    }).get("out_viommu_id");
  }

  /** IOMMU_VDEVICE_ALLOC. */
  vdeviceAlloc({ viommuId, devId, virtId }: port.VdeviceAlloc): number {
    const values = { viommu_id: viommuId, dev_id: devId, virt_id: virtId };
    return this.#call("IOMMU_VDEVICE_ALLOC", abi.iommu_vdevice_alloc, values).get(
      "out_vdevice_id",
    );
  }

  /** IOMMU_VEVENTQ_ALLOC. */
  veventqAlloc({ flags, viommuId, type, depth }: port.VeventqAlloc): KernelQueue {
    const values = { flags, viommu_id: viommuId, type, veventq_depth: depth };
    const call = this.#call("IOMMU_VEVENTQ_ALLOC", abi.iommu_veventq_alloc, values);
    const fd = new Fd(call.get("out_veventq_fd"));
    return new KernelQueue(call.get("out_veventq_id"), fd, "an event queue", this.#poller);
  }

  /** IOMMU_HW_QUEUE_ALLOC. */
  hwQueueAlloc(alloc: port.HwQueueAlloc): number {
    return this.#call("IOMMU_HW_QUEUE_ALLOC", abi.iommu_hw_queue_alloc, {
      flags: alloc.flags,
      viommu_id: alloc.viommuId,
      type: alloc.type,
      index: alloc.index,
      nesting_parent_iova: alloc.nestingParentIova,
      length: alloc.length,
    }).get("out_hw_queue_id");
  }

  /** IOMMU_IOAS_NOIOMMU_GET_PA. */
  ioasNoiommuGetPa(
    ioasId: number,
    iova: bigint,
    length: bigint,
  ): { physicalAddress: bigint; length: bigint } {
    const values = { ioas_id: ioasId, iova, length };
    const call = this.#call("IOMMU_IOAS_NOIOMMU_GET_PA", abi.iommu_ioas_noiommu_get_pa, values);
    return { physicalAddress: call.get("out_phys"), length: call.get("length") };
  }

  /** Opens a VFIO device by its character device, and binds it. Throws `SystemError`. */
  bindVfio(path: string, token?: Uint8Array): KernelDevice {
    return new KernelDevice(this, path, token);
  }

  /** Closes the descriptor. */
  [Symbol.dispose](): void {
    this.fd[Symbol.dispose]();
  }

  #call<F extends Sized>(
    name: abi.IommufdRequest,
    struct: Struct<F>,
    values: Values<F>,
  ): StructBuffer<F> {
    return this.#do(name, this.#new(struct, values));
  }

  #new<F extends Sized>(struct: Struct<F>, values: Values<F>): StructBuffer<F> {
    return new StructBuffer(struct).fill({ size: struct.size, ...values });
  }

  #do<F extends Fields>(name: abi.IommufdRequest, call: StructBuffer<F>): StructBuffer<F> {
    ioctl(this.fd.number, abi.IOMMUFD_REQUEST[name], call.bytes, name);
    return call;
  }

  /** Where `bytes` are, for the next call. */
  #keep(bytes: Uint8Array | undefined): bigint {
    this.#kept = bytes;
    return bytes === undefined ? 0n : addressOf(bytes);
  }
}

function iovaRanges(view: DataView, count: number): port.IovaRange[] {
  const { size, fields } = abi.iommu_iova_range;
  return Array.from({ length: count }, (_, i) => ({
    start: getField(view, fields.start, 0, i * size),
    last: getField(view, fields.last, 0, i * size),
  }));
}
