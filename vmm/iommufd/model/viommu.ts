/**
 * vIOMMUs and vDEVICEs as objects. As drivers/iommu/iommufd/viommu.c has them.
 * @module
 */
import type { ModelDevice } from "./device.ts";
import type { DriverViommu } from "./driver.ts";
import type { ModelEventQueue } from "./event_queue.ts";
import { ModelObject } from "./objects.ts";
import type { PagingHwpt } from "./page_tables.ts";

/** A vIOMMU. */
export class ModelViommu extends ModelObject {
  readonly parent: PagingHwpt;
  /** The IOMMU whose devices it is for. */
  readonly iommu: unknown;
  /** What the driver made of it. */
  readonly driver: DriverViommu;
  /** Devices by what the guest calls them. */
  readonly devices = new Map<bigint, ModelVdevice>();
  /** Its event queues, by type. */
  readonly queues = new Map<number, ModelEventQueue>();

  /** On a nest parent, which it needs from now on. */
  constructor(parent: PagingHwpt, driver: DriverViommu, iommu: unknown) {
    super();
    this.iommu = iommu;
    this.parent = parent;
    this.driver = driver;
    parent.users++;
    driver.events = (type, payload) => {
      const queue = this.queues.get(type);
      queue?.push(payload);
      return queue !== undefined;
    };
  }

  override release(): void {
    this.driver.release?.();
    this.parent.users--;
  }
}

/** A device's name at a vIOMMU. */
export class ModelVdevice extends ModelObject {
  readonly viommu: ModelViommu;
  readonly device: ModelDevice;
  readonly virtId: bigint;

  /** Of a device that has none yet. Throws `SystemError` when the driver refuses it. */
  constructor(viommu: ModelViommu, device: ModelDevice, virtId: bigint) {
    super();
    this.viommu = viommu;
    this.device = device;
    this.virtId = virtId;
    viommu.driver.adopt(device, virtId);
    viommu.users++;
    viommu.devices.set(virtId, this);
    device.vdevice = this;
  }

  override release(): void {
    this.viommu.driver.forget(this.device);
    this.viommu.devices.delete(this.virtId);
    this.viommu.users--;
    this.device.vdevice = undefined;
  }
}
