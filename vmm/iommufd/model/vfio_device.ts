/**
 * A device of the model as its VFIO character device shows it. As drivers/vfio/iommufd.c has it.
 * @module
 */
import { ERRNO } from "../../../uapi/errno.ts";
import type { BoundDevice } from "../iommufd.ts";
import type { Attachments } from "./attachment.ts";
import { type ModelDevice, NO_PASID } from "./device.ts";
import { refuse } from "./objects.ts";

/** One more than VFIO can remember. */
const PASIDS = 2 ** 31;

/** The device. VFIO remembers by itself what it has attached. */
export class ModelVfioDevice implements BoundDevice {
  readonly devId: number;
  readonly #device: ModelDevice;
  readonly #attachments: Attachments;
  readonly #pasids = new Set<number>();
  #isAttached = false;
  #isBound = true;

  /** Of a bound device; disposing it unbinds. */
  constructor(device: ModelDevice, attachments: Attachments) {
    this.devId = device.id;
    this.#device = device;
    this.#attachments = attachments;
  }

  attach(ptId: number, pasid?: number): number {
    if (pasid === undefined) {
      const hwptId = this.#change(this.#isAttached, NO_PASID, ptId);
      this.#isAttached = true;
      return hwptId;
    }
    if (pasid >= PASIDS) refuse("VFIO_DEVICE_ATTACH_IOMMUFD_PT", ERRNO.ENOSPC);
    const hwptId = this.#change(this.#pasids.has(pasid), pasid, ptId);
    this.#pasids.add(pasid);
    return hwptId;
  }

  detach(pasid?: number): void {
    if (pasid === undefined) {
      if (this.#isAttached) this.#attachments.detach(this.#device, NO_PASID);
      this.#isAttached = false;
    } else if (this.#pasids.delete(pasid)) this.#attachments.detach(this.#device, pasid);
  }

  [Symbol.dispose](): void {
    if (!this.#isBound) return;
    this.#isBound = false;
    this.#attachments.unbind(this.#device);
  }

  #change(isReplaced: boolean, pasid: number, ptId: number): number {
    return isReplaced
      ? this.#attachments.replace(this.#device, pasid, ptId)
      : this.#attachments.attach(this.#device, pasid, ptId);
  }
}
