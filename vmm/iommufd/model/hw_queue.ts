/**
 * IOMMU_HW_QUEUE_ALLOC: queues in guest memory that hardware works on by itself, so that the memory must stay mapped.
 * As drivers/iommu/iommufd/viommu.c has it.
 * @module
 */
import { ERRNO } from "../../../uapi/errno.ts";
import type { HwQueueAlloc } from "../iommufd.ts";
import { ModelAccess } from "./access.ts";
import type { DriverHwQueue, HwQueueDriver } from "./driver.ts";
import { ModelObject, type ObjectTable, refuse } from "./objects.ts";
import { ModelViommu } from "./viommu.ts";

const CALL = "IOMMU_HW_QUEUE_ALLOC";
const LAST = 0xffff_ffff_ffff_ffffn;
const PAGE = 4096n;
/** The kernel has an array of pointers to pages, no larger than it can allocate. */
const MOST_PAGES = 0x7fff_ffffn / 8n;

/** The queue. */
class ModelHwQueue extends ModelObject implements DriverHwQueue {
  readonly index: number;
  readonly #stack: DisposableStack;

  /** Ends with what is on `stack`. */
  constructor(index: number, stack: DisposableStack) {
    super();
    this.index = index;
    this.#stack = stack;
  }

  override release(): void {
    this.#stack[Symbol.dispose]();
  }
}

/** Makes a queue; returns its id. Throws `SystemError`. */
export function allocHwQueue(objects: ObjectTable, alloc: HwQueueAlloc): number {
  const { flags, viommuId, type, index, nestingParentIova: iova, length } = alloc;
  if (flags !== 0 || type === 0) refuse(CALL, ERRNO.EOPNOTSUPP);
  if (length === 0n) refuse(CALL, ERRNO.EINVAL);
  if (iova + length - 1n > LAST) refuse(CALL, ERRNO.EOVERFLOW);
  const viommu = objects.get(viommuId, ModelViommu, CALL);
  const driver = viommu.driver.hwQueues?.(type) ?? refuse(CALL, ERRNO.EOPNOTSUPP);
  const stack = new DisposableStack();
  const queue = objects.add(new ModelHwQueue(index, stack));
  try {
    stack.defer(() => viommu.users--);
    viommu.users++;
    pin(objects, viommu, iova, length, stack);
    start(driver, queue, stack);
    return queue.id;
  } catch (error) {
    objects.remove(queue);
    throw error;
  }
}

/** Pins whole pages; contiguous they are in the model anyway. */
function pin(
  objects: ObjectTable,
  { parent }: ModelViommu,
  iova: bigint,
  length: bigint,
  stack: DisposableStack,
): void {
  const inPage = iova % PAGE;
  if (inPage + length + PAGE - 1n > LAST) refuse(CALL, ERRNO.ERANGE);
  const pages = (inPage + length + PAGE - 1n) / PAGE;
  if (pages > MOST_PAGES) refuse(CALL, ERRNO.ENOMEM);
  const access = objects.add(new ModelAccess({ pinsPages: true }));
  stack.defer(() => objects.remove(access));
  access.move(parent.ioas);
  const start = iova - inPage;
  access.pin(start, pages * PAGE, false);
  stack.use(parent.ioas.table.lock({ start, last: start + pages * PAGE - 1n }));
}

/** The driver takes it; what it stands on stays as long as it does. */
function start(driver: HwQueueDriver, queue: ModelHwQueue, stack: DisposableStack): void {
  const below = driver.add(queue);
  if (below !== undefined) below.users++;
  stack.defer(() => {
    driver.delete(queue);
    if (below !== undefined) below.users--;
  });
}
