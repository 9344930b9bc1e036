/**
 * VFIO devices bound to the kernel's iommufd.
 * @module
 */
import { VfioDevice } from "../../uapi/vfio/vfio_device.ts";
import type { BoundDevice } from "./iommufd.ts";
import type { KernelIommufd } from "./kernel.ts";

/** A bound device, with its character device. */
export class KernelDevice implements BoundDevice {
  /** Its object id in the iommufd. */
  readonly devId: number;
  /** Its registers, interrupts and features. */
  readonly vfio: VfioDevice;

  /**
   * Opens and binds the device at `path`, such as `/dev/vfio/devices/vfio0`; `token` is that of a VF's owner. Throws
   * `SystemError`.
   */
  constructor(iommufd: KernelIommufd, path: string, token?: Uint8Array) {
    using stack = new DisposableStack();
    this.vfio = stack.use(new VfioDevice(path));
    this.devId = this.vfio.bind(iommufd.fd.number, token);
    stack.move();
  }

  /** Attaches or replaces. */
  attach(ptId: number, pasid?: number): number {
    return this.vfio.attach(ptId, pasid);
  }

  /** Detaches. */
  detach(pasid?: number): void {
    this.vfio.detach(pasid);
  }

  /** Closes the device, which unbinds it. */
  [Symbol.dispose](): void {
    this.vfio[Symbol.dispose]();
  }
}
