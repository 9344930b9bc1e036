/**
 * IOMMU_HWPT_ALLOC, in the kernel's order of checks. As drivers/iommu/iommufd/hw_pagetable.c has it.
 * @module
 */
import { ERRNO } from "../../../uapi/errno.ts";
import { IOMMU_HWPT_ALLOC, IOMMU_HWPT_FAULT_ID_VALID } from "../../../uapi/iommufd/mod.ts";
import type { HwptAlloc } from "../iommufd.ts";
import { ModelDevice } from "./device.ts";
import type { UserData } from "./driver.ts";
import { ModelFaultQueue } from "./fault_queue.ts";
import { type ObjectTable, refuse } from "./objects.ts";
import { type Hwpt, Ioas, NestedHwpt, PagingHwpt } from "./page_tables.ts";
import { ModelViommu } from "./viommu.ts";

const CALL = "IOMMU_HWPT_ALLOC";
const { NEST_PARENT, DIRTY_TRACKING, PASID } = IOMMU_HWPT_ALLOC;
const FAULT = IOMMU_HWPT_FAULT_ID_VALID;

/** Makes a HWPT; returns its id. Throws `SystemError`. */
export function allocHwpt(objects: ObjectTable, alloc: HwptAlloc): number {
  const { flags, devId, ptId, dataType, data, faultId = 0 } = alloc;
  const hasData = data !== undefined && data.length > 0;
  if ((dataType === 0) === hasData) refuse(CALL, ERRNO.EINVAL);
  const device = objects.get(devId, ModelDevice, CALL);
  const userData = hasData ? { type: dataType, bytes: data } : undefined;
  const hwpt = make(objects.find(ptId), device, flags, userData);
  try {
    if (hwpt instanceof PagingHwpt) hwpt.show(CALL);
    // The last thing that is looked at, when the driver has made everything.
    if (flags & FAULT) hwpt.sendFaults(objects.get(faultId, ModelFaultQueue, CALL));
  } catch (error) {
    hwpt.release();
    throw error;
  }
  return objects.add(hwpt).id;
}

function make(on: unknown, device: ModelDevice, flags: number, data: UserData | undefined): Hwpt {
  if (on instanceof Ioas) return makePaging(on, device, flags, data);
  if (on instanceof PagingHwpt) return makeNested(on, device, flags, data);
  if (on instanceof ModelViommu) return makeVirtual(on, device, flags, data);
  return refuse(CALL, ERRNO.EINVAL);
}

function makePaging(
  ioas: Ioas,
  { driver }: ModelDevice,
  flags: number,
  data: UserData | undefined,
): PagingHwpt {
  if ((flags & ~(NEST_PARENT | DIRTY_TRACKING | PASID | FAULT)) !== 0) {
    refuse(CALL, ERRNO.EOPNOTSUPP);
  }
  if (flags & DIRTY_TRACKING && !driver.hasDirtyTracking) refuse(CALL, ERRNO.EOPNOTSUPP);
  const isNestParent = (flags & NEST_PARENT) !== 0;
  if (isNestParent && flags & FAULT) refuse(CALL, ERRNO.EOPNOTSUPP);
  const domain = driver.allocPaging(ioas.table, flags & ~FAULT, data);
  return new PagingHwpt(ioas, domain, {
    isNestParent,
    isPasidCompatible: (flags & PASID) !== 0,
    iommu: driver.iommu,
  });
}

/** What nests without a vIOMMU. */
function makeNested(
  parent: PagingHwpt,
  { driver }: ModelDevice,
  flags: number,
  data: UserData | undefined,
): NestedHwpt {
  const allocNested = driver.allocNested?.bind(driver);
  if (!isNestable(flags) || data === undefined || allocNested === undefined) {
    return refuse(CALL, ERRNO.EOPNOTSUPP);
  }
  if (!parent.isNestParent || parent.iommu !== driver.iommu) refuse(CALL, ERRNO.EINVAL);
  const domain = allocNested(parent.domain, flags & ~FAULT, data);
  return new NestedHwpt(parent, domain, (flags & PASID) !== 0);
}

function makeVirtual(
  viommu: ModelViommu,
  { driver }: ModelDevice,
  flags: number,
  data: UserData | undefined,
): NestedHwpt {
  if (viommu.iommu !== driver.iommu) refuse(CALL, ERRNO.EINVAL);
  if (!isNestable(flags) || data === undefined) return refuse(CALL, ERRNO.EOPNOTSUPP);
  const domain = viommu.driver.allocNested(flags & ~FAULT, data);
  return new NestedHwpt(viommu, domain, (flags & PASID) !== 0);
}

function isNestable(flags: number): boolean {
  return (flags & ~(FAULT | PASID)) === 0;
}
