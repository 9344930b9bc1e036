/**
 * A device bound to the model: what it and its PASIDs are attached to, and its way to memory. As
 * drivers/iommu/iommufd/device.c has it, with drivers/iommu/iommu.c for what that asks of a group of one device.
 * @module
 */
import type { DmaPort, MsiPort, Requester } from "../../../hw/device.ts";
import { ERRNO } from "../../../uapi/errno.ts";
import { iommu_hwpt_pgfault, IOMMU_PGFAULT_FLAGS } from "../../../uapi/iommufd/mod.ts";
import { StructBuffer } from "../../../uapi/struct.ts";
import type { Driver, DriverDevice, DriverViommu } from "./driver.ts";
import { ModelObject, refuse } from "./objects.ts";
import { type Hwpt, NestedHwpt } from "./page_tables.ts";
import type { ModelVdevice } from "./viommu.ts";

const { LAST_PAGE, PASID_VALID } = IOMMU_PGFAULT_FLAGS;
const CALL = "VFIO_DEVICE_ATTACH_IOMMUFD_PT";

/** What stands for the device itself where a PASID is asked for. */
export const NO_PASID = 0;

/** That a device, or one of its PASIDs, was attached, until it is so anew. */
interface Attachment {
  readonly hwpt: Hwpt;
}

/** A device that would go on if there were a page. */
export interface PageRequest {
  /** The PASID; `NO_PASID` for none. */
  readonly pasid: number;
  /** Number of the group that it is the last of. */
  readonly group: number;
  /** Of IOMMU_PGFAULT_PERM. */
  readonly permission: number;
  /** Where, in bytes. */
  readonly address: bigint;
}

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
  /** By PASID, the device itself as `NO_PASID`. */
  readonly #attached = new Map<number, Attachment>();

  /** Blocked. */
  constructor(driver: Driver, streamId: number) {
    super();
    this.driver = driver;
    this.streamId = streamId;
    // Only unbinding it ends it.
    this.users = 1;
  }

  /** What it, or one of its PASIDs, is attached to. */
  hwptOf(pasid: number): Hwpt | undefined {
    return this.#attached.get(pasid)?.hwpt;
  }

  /** Asks for a page; false when nobody is there to be asked. */
  requestPage({ pasid, group, permission, address }: PageRequest): boolean {
    const own = this.#attached.get(NO_PASID);
    // A guest that has its own table of PASIDs is asked for those that the host does not know.
    const from = this.#attached.get(pasid) ?? (own?.hwpt instanceof NestedHwpt ? own : undefined);
    const queue = from?.hwpt.faults;
    if (from === undefined || queue === undefined) return false;
    const record = new StructBuffer(iommu_hwpt_pgfault).fill({
      flags: LAST_PAGE | (pasid === NO_PASID ? 0 : PASID_VALID),
      dev_id: this.id,
      pasid,
      grpid: group,
      perm: permission,
      addr: address,
    });
    queue.push({ records: record.bytes, from });
    return true;
  }

  virtIdAt(viommu: DriverViommu): bigint | undefined {
    return this.vdevice?.viommu.driver === viommu ? this.vdevice.virtId : undefined;
  }

  /** Attaches what is attached to nothing. Throws `SystemError`, with nothing changed. */
  attach(hwpt: Hwpt, pasid: number): void {
    if (this.#attached.has(pasid)) refuse(CALL, ERRNO.EBUSY);
    const { table } = hwpt.paging.ioas;
    if (pasid === NO_PASID) this.#reserve(hwpt);
    try {
      this.#checkPasids(hwpt, pasid);
      this.#set(hwpt, pasid, undefined);
    } catch (error) {
      if (pasid === NO_PASID) table.unreserve(this);
      throw error;
    }
    hwpt.users++;
    this.#attached.set(pasid, { hwpt });
  }

  /** Moves what is attached; returns the HWPT it leaves. Throws `SystemError`, and it stays where it was. */
  replace(hwpt: Hwpt, pasid: number): Hwpt | undefined {
    const attachment = this.#attached.get(pasid) ?? refuse(CALL, ERRNO.EINVAL);
    const old = attachment.hwpt;
    if (old === hwpt) return undefined;
    const isElsewhere = old.paging.ioas !== hwpt.paging.ioas;
    if (pasid === NO_PASID && isElsewhere) this.#reserve(hwpt);
    try {
      this.#checkPasids(hwpt, pasid);
      this.#set(hwpt, pasid, old);
    } catch (error) {
      // As the kernel does, also when what is reserved there was so before.
      if (pasid === NO_PASID) hwpt.paging.ioas.table.unreserve(this);
      throw error;
    }
    if (pasid === NO_PASID && isElsewhere) old.paging.ioas.table.unreserve(this);
    old.faults?.drop(attachment);
    hwpt.users++;
    this.#attached.set(pasid, { hwpt });
    old.users--;
    return old;
  }

  /** Blocks it, or a PASID; returns the HWPT that is left. */
  detach(pasid: number): Hwpt | undefined {
    const attachment = this.#attached.get(pasid);
    if (attachment === undefined) return undefined;
    const old = attachment.hwpt;
    if (pasid === NO_PASID) {
      this.leave?.();
      this.leave = undefined;
      this.port = undefined;
      old.paging.ioas.table.unreserve(this);
    } else if (this.driver.pasids > 0) this.driver.blockPasid?.(this, pasid, old.domain);
    old.faults?.drop(attachment);
    old.users--;
    this.#attached.delete(pasid);
    return old;
  }

  /** Detaches all. */
  block(): Hwpt[] {
    const left = [...this.#attached.keys()].map((pasid) => this.detach(pasid));
    return left.filter((hwpt) => hwpt !== undefined);
  }

  /** Once a PASID is in use, only what was made for that comes next to it. */
  #checkPasids(hwpt: Hwpt, pasid: number): void {
    if (pasid === NO_PASID) {
      const hasPasids = [...this.#attached.keys()].some((other) => other !== NO_PASID);
      if (hasPasids && !hwpt.isPasidCompatible) refuse(CALL, ERRNO.EINVAL);
      return;
    }
    const own = this.hwptOf(NO_PASID);
    if (!hwpt.isPasidCompatible || own?.isPasidCompatible === false) refuse(CALL, ERRNO.EINVAL);
  }

  #set({ domain }: Hwpt, pasid: number, old: Hwpt | undefined): void {
    if (pasid === NO_PASID) return domain.attach(this);
    const attachPasid = domain.attachPasid ?? refuse(CALL, ERRNO.EOPNOTSUPP);
    const { pasids } = this.driver;
    // What knows of no PASIDs has nothing to be set: the kernel lets it be.
    if (pasids === 0) return;
    if (old === undefined && pasid >= pasids) refuse(CALL, ERRNO.EINVAL);
    attachPasid(this, pasid, old?.domain);
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
  /** The physical StreamID, which stays when a guest knows the device by another. */
  readonly #requester: { readonly streamId: number; substreamId: number };

  /** Of a device. */
  constructor(device: ModelDevice) {
    this.#device = device;
    this.#requester = { streamId: device.streamId, substreamId: -1 };
  }

  read(requester: Requester, lo: number, hi: number, into: Uint8Array): boolean {
    return this.#device.port?.read(this.#physical(requester), lo, hi, into) ?? false;
  }

  write(requester: Requester, lo: number, hi: number, from: Uint8Array): boolean {
    return this.#device.port?.write(this.#physical(requester), lo, hi, from) ?? false;
  }

  message(requester: Requester, lo: number, hi: number, data: number): boolean {
    return this.#device.port?.message(this.#physical(requester), lo, hi, data) ?? false;
  }

  #physical({ substreamId }: Requester): Requester {
    this.#requester.substreamId = substreamId;
    return this.#requester;
  }
}
