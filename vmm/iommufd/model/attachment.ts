/**
 * Attaching devices and PASIDs by the ids of what they are to be attached to. As iommufd_device_change_pt() of
 * drivers/iommu/iommufd/device.c has it.
 * @module
 */
import { ERRNO, SystemError } from "../../../uapi/errno.ts";
import type { ModelDevice } from "./device.ts";
import { type ObjectTable, refuse } from "./objects.ts";
import { type Hwpt, Ioas, NestedHwpt, PagingHwpt } from "./page_tables.ts";

const CALL = "VFIO_DEVICE_ATTACH_IOMMUFD_PT";

/** Takes a HWPT instead of another; returns the one that is left. */
type Change = (hwpt: Hwpt) => Hwpt | undefined;

/** What is attached to what, in one iommufd. */
export class Attachments {
  readonly #objects: ObjectTable;

  /** Of these objects. */
  constructor(objects: ObjectTable) {
    this.#objects = objects;
  }

  /** Attaches what is attached to nothing; returns the HWPT. Throws `SystemError`. */
  attach(device: ModelDevice, pasid: number, ptId: number): number {
    const attach: Change = (hwpt) => void device.attach(hwpt, pasid);
    return this.#change(ptId, attach, (ioas) => {
      const made = automatic(ioas, device);
      try {
        // The kernel attaches it before it shows the IOAS, which can be refused as well.
        attach(made);
        try {
          made.show(CALL);
        } catch (error) {
          device.detach(pasid);
          throw error;
        }
      } catch (error) {
        made.release();
        throw error;
      }
      return this.#objects.add(made);
    });
  }

  /** Moves what is attached; returns the HWPT. Throws `SystemError`, and it stays where it was. */
  replace(device: ModelDevice, pasid: number, ptId: number): number {
    const replace: Change = (hwpt) => device.replace(hwpt, pasid);
    return this.#change(ptId, replace, (ioas) => {
      const made = automatic(ioas, device);
      try {
        made.show(CALL);
        // It has its id before the one that is left loses its own.
        this.#objects.add(made);
        this.#left(replace(made));
      } catch (error) {
        if (made.id === 0) made.release();
        else this.#objects.remove(made);
        throw error;
      }
      return made;
    });
  }

  /** Detaches what is attached, if it is. */
  detach(device: ModelDevice, pasid: number): void {
    this.#left(device.detach(pasid));
  }

  /** Detaches a device and all its PASIDs, and ends its being bound. */
  unbind(device: ModelDevice): void {
    for (const hwpt of device.block()) this.#left(hwpt);
    // Its id is not given again: the guest's name would mean another device.
    if (device.vdevice !== undefined) this.#objects.remove(device.vdevice, true);
    this.#objects.remove(device);
  }

  #change(ptId: number, change: Change, make: (ioas: Ioas) => Hwpt): number {
    const found = this.#objects.find(ptId) ?? refuse(CALL, ERRNO.ENOENT);
    if (found instanceof Ioas) return this.#changeTo(found, change, make).id;
    if (!(found instanceof PagingHwpt) && !(found instanceof NestedHwpt)) {
      return refuse(CALL, ERRNO.EINVAL);
    }
    this.#left(change(found));
    return found.id;
  }

  /** Through a HWPT that was made for another device of this IOAS, or a new one. */
  #changeTo(ioas: Ioas, change: Change, make: (ioas: Ioas) => Hwpt): Hwpt {
    for (const hwpt of [...ioas.automatic]) {
      try {
        this.#left(change(hwpt));
        return hwpt;
      } catch (error) {
        // Which says that these two do not fit.
        if (!(error instanceof SystemError) || error.errno !== ERRNO.EINVAL) throw error;
      }
    }
    return make(ioas);
  }

  /** An automatic HWPT goes with its last device. */
  #left(hwpt: Hwpt | undefined): void {
    if (hwpt instanceof PagingHwpt && hwpt.isAutomatic && hwpt.users === 0) {
      this.#objects.remove(hwpt);
    }
  }
}

function automatic(ioas: Ioas, { driver }: ModelDevice): PagingHwpt {
  const domain = driver.allocPaging(ioas.table, 0, undefined);
  return new PagingHwpt(ioas, domain, { isAutomatic: true, iommu: driver.iommu });
}
