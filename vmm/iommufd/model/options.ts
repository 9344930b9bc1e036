/**
 * IOMMU_OPTION, IOMMU_VFIO_IOAS and IOMMU_IOAS_CHANGE_PROCESS: what is set for a whole iommufd, or an IOAS.
 * @module
 */
import { ERRNO } from "../../../uapi/errno.ts";
import { IOMMU_OPTION, IOMMU_OPTION_OP, IOMMU_VFIO_IOAS } from "../../../uapi/iommufd/mod.ts";
import { type ObjectTable, refuse } from "./objects.ts";
import { Ioas } from "./page_tables.ts";

const { GET, SET } = IOMMU_OPTION_OP;

/** The settings of one iommufd. */
export class ModelOptions {
  readonly #objects: ObjectTable;
  #rlimitMode = 0n;
  #vfioIoas: Ioas | undefined;

  /** As a new iommufd has them. */
  constructor(objects: ObjectTable) {
    this.#objects = objects;
  }

  /** IOMMU_OPTION. */
  option(optionId: number, op: number, objectId: number, value: bigint): bigint {
    const call = "IOMMU_OPTION";
    if (optionId === IOMMU_OPTION.RLIMIT_MODE) return this.#rlimit(op, objectId, value, call);
    if (optionId !== IOMMU_OPTION.HUGE_PAGES) return refuse(call, ERRNO.EOPNOTSUPP);
    const { table } = this.#objects.get(objectId, Ioas, call);
    if (op === GET) return table.hasHugePages ? 1n : 0n;
    if (op !== SET) return refuse(call, ERRNO.EOPNOTSUPP);
    if (value > 1n) return refuse(call, ERRNO.EINVAL);
    table.allowHugePages(value === 1n, call);
    return value;
  }

  /** IOMMU_VFIO_IOAS. */
  vfioIoas(op: number, ioasId: number): number {
    const call = "IOMMU_VFIO_IOAS";
    switch (op) {
      case IOMMU_VFIO_IOAS.GET: {
        const { id } = this.#vfioIoas ?? refuse(call, ERRNO.ENODEV);
        return this.#objects.find(id) === this.#vfioIoas ? id : refuse(call, ERRNO.ENODEV);
      }
      case IOMMU_VFIO_IOAS.SET:
        this.#vfioIoas = this.#objects.get(ioasId, Ioas, call);
        return ioasId;
      case IOMMU_VFIO_IOAS.CLEAR:
        this.#vfioIoas = undefined;
        return ioasId;
      default:
        return refuse(call, ERRNO.EOPNOTSUPP);
    }
  }

  /** IOMMU_IOAS_CHANGE_PROCESS: only what is mapped from files is nobody's memory. */
  changeProcess(): void {
    for (const { table } of this.#objects.all(Ioas)) {
      if (table.areas.some(({ pages }) => pages.source.kind !== "file")) {
        refuse("IOMMU_IOAS_CHANGE_PROCESS", ERRNO.EINVAL);
      }
    }
  }

  #rlimit(op: number, objectId: number, value: bigint, call: string): bigint {
    if (objectId !== 0) refuse(call, ERRNO.EOPNOTSUPP);
    if (op === GET) return this.#rlimitMode;
    if (op !== SET) refuse(call, ERRNO.EOPNOTSUPP);
    if (this.#objects.size > 0) refuse(call, ERRNO.EBUSY);
    if (value > 1n) refuse(call, ERRNO.EINVAL);
    return this.#rlimitMode = value;
  }
}
