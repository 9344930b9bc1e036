/**
 * A device bound to the model: what it is attached to, and its way to memory. As drivers/iommu/iommufd/device.c has it.
 * @module
 */
import type { DmaPort, MsiPort, Requester } from "../../../hw/device.ts";
import type { Driver, DriverDevice, DriverViommu } from "./driver.ts";
import { ModelObject } from "./objects.ts";
import type { Hwpt } from "./page_tables.ts";
import type { ModelVdevice } from "./viommu.ts";

const CALL = "VFIO_DEVICE_ATTACH_IOMMUFD_PT";

/** The device. */
export class ModelDevice extends ModelObject implements DriverDevice {
  readonly driver: Driver;
  readonly streamId: number;
  /** Where its messages go, as long as somebody takes them. */
  msi: MsiPort | undefined;
  readonly messages: MsiPort = { send: (gpa, data) => this.msi?.send(gpa, data) ?? false };
  port: DmaPort | undefined;
  leave: (() => void) | undefined;
  /** Its name at a vIOMMU. */
  vdevice: ModelVdevice | undefined;
  #hwpt: Hwpt | undefined;

  /** Blocked. */
  constructor(driver: Driver, streamId: number) {
    super();
    this.driver = driver;
    this.streamId = streamId;
    // Only unbinding it ends it.
    this.users = 1;
  }

  /** What it is attached to. */
  get hwpt(): Hwpt | undefined {
    return this.#hwpt;
  }

  virtIdAt(viommu: DriverViommu): bigint | undefined {
    return this.vdevice?.viommu.driver === viommu ? this.vdevice.virtId : undefined;
  }

  /** Moves it to another HWPT; returns the one it leaves. Throws `SystemError`, with nothing changed. */
  attach(hwpt: Hwpt): Hwpt | undefined {
    const old = this.#hwpt;
    if (old === hwpt) return undefined;
    const { table } = hwpt.paging.ioas;
    const isElsewhere = old?.paging.ioas !== hwpt.paging.ioas;
    if (isElsewhere) this.#reserve(hwpt);
    try {
      hwpt.domain.attach(this);
    } catch (error) {
      if (isElsewhere) table.unreserve(this);
      throw error;
    }
    if (isElsewhere) old?.paging.ioas.table.unreserve(this);
    hwpt.users++;
    this.#hwpt = hwpt;
    if (old !== undefined) old.users--;
    return old;
  }

  /** Blocks it; returns the HWPT that it leaves. */
  detach(): Hwpt | undefined {
    const old = this.#hwpt;
    if (old === undefined) return undefined;
    this.leave?.();
    this.leave = undefined;
    this.port = undefined;
    old.paging.ioas.table.unreserve(this);
    old.users--;
    this.#hwpt = undefined;
    return old;
  }

  #reserve(hwpt: Hwpt): void {
    const { table } = hwpt.paging.ioas;
    try {
      for (const range of this.driver.reserved) table.reserve(range, this, CALL);
    } catch (error) {
      table.unreserve(this);
      throw error;
    }
  }
}

/** A device's way to memory, wherever it is attached at the moment; blocked, everything aborts. */
export class DevicePort implements DmaPort {
  readonly #device: ModelDevice;

  /** Of a device. */
  constructor(device: ModelDevice) {
    this.#device = device;
  }

  read(requester: Requester, lo: number, hi: number, into: Uint8Array): boolean {
    return this.#device.port?.read(requester, lo, hi, into) ?? false;
  }

  write(requester: Requester, lo: number, hi: number, from: Uint8Array): boolean {
    return this.#device.port?.write(requester, lo, hi, from) ?? false;
  }

  message(requester: Requester, lo: number, hi: number, data: number): boolean {
    return this.#device.port?.message(requester, lo, hi, data) ?? false;
  }
}
