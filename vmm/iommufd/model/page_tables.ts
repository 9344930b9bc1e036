/**
 * IOAS, paging and nested HWPTs as objects. As drivers/iommu/iommufd/ioas.c and hw_pagetable.c have them.
 * @module
 */
import type { Domain, PagingDomain } from "./driver.ts";
import type { ModelFaultQueue } from "./fault_queue.ts";
import { IoPagetable } from "./io_pagetable.ts";
import { ModelObject } from "./objects.ts";
import type { Pin } from "./area.ts";
import type { ModelViommu } from "./viommu.ts";

/** An IOAS. */
export class Ioas extends ModelObject {
  /** Its address space. */
  readonly table: IoPagetable;
  /** HWPTs that were made because a device was attached to it. */
  readonly automatic: PagingHwpt[] = [];

  /** Empty. */
  constructor(pin: Pin) {
    super();
    this.table = new IoPagetable(pin);
  }
}

/** What a device can be attached to. */
export abstract class Hwpt extends ModelObject {
  /** For the driver. */
  abstract readonly domain: Domain;
  /** The paging HWPT that decides which IOVAs its devices need. */
  abstract readonly paging: PagingHwpt;
  #faults: ModelFaultQueue | undefined;
  /** Allocated with IOMMU_HWPT_ALLOC_PASID. */
  readonly isPasidCompatible: boolean;

  /** With the flag, or without. */
  constructor(isPasidCompatible: boolean) {
    super();
    this.isPasidCompatible = isPasidCompatible;
  }

  /** Takes page requests of its devices. */
  get faults(): ModelFaultQueue | undefined {
    return this.#faults;
  }

  /** Page requests go there, which it needs from now on. */
  sendFaults(queue: ModelFaultQueue): void {
    this.#faults = queue;
    queue.users++;
  }

  override release(): void {
    if (this.#faults !== undefined) this.#faults.users--;
  }
}

/** Options of a paging HWPT. */
export interface PagingHwptOptions {
  /** The IOMMU that it is for. */
  readonly iommu: unknown;
  /** Allocated with IOMMU_HWPT_ALLOC_NEST_PARENT. */
  readonly isNestParent?: boolean;
  /** Allocated with IOMMU_HWPT_ALLOC_PASID. */
  readonly isPasidCompatible?: boolean;
  /** Goes with its last device. */
  readonly isAutomatic?: boolean;
}

/** A HWPT that shows an IOAS. */
export class PagingHwpt extends Hwpt {
  readonly domain: PagingDomain;
  readonly ioas: Ioas;
  /** The IOMMU that it is for. */
  readonly iommu: unknown;
  readonly isNestParent: boolean;
  /** Goes with its last device. */
  readonly isAutomatic: boolean;

  #isShown = false;

  /** Over an IOAS, which it needs from now on. */
  constructor(ioas: Ioas, domain: PagingDomain, options: PagingHwptOptions) {
    super(options.isPasidCompatible ?? false);
    this.ioas = ioas;
    this.domain = domain;
    this.iommu = options.iommu;
    this.isNestParent = options.isNestParent ?? false;
    this.isAutomatic = options.isAutomatic ?? false;
    ioas.users++;
  }

  /** Shows the IOAS to its devices. Throws `SystemError` when that does not fit the domain. */
  show(call: string): void {
    this.ioas.table.addDomain(this.domain, call);
    this.#isShown = true;
    if (this.isAutomatic) this.ioas.automatic.push(this);
  }

  get paging(): PagingHwpt {
    return this;
  }

  override release(): void {
    super.release();
    this.ioas.users--;
    if (!this.#isShown) return;
    this.ioas.table.removeDomain(this.domain);
    if (this.isAutomatic) this.ioas.automatic.splice(this.ioas.automatic.indexOf(this), 1);
  }
}

/** A HWPT with the guest's stage 1. */
export class NestedHwpt extends Hwpt {
  readonly domain: Domain;
  readonly #on: PagingHwpt | ModelViommu;

  /** On a vIOMMU, or a nest parent, which it needs from now on. */
  constructor(on: PagingHwpt | ModelViommu, domain: Domain, isPasidCompatible: boolean) {
    super(isPasidCompatible);
    this.#on = on;
    this.domain = domain;
    on.users++;
  }

  get paging(): PagingHwpt {
    return this.#on instanceof PagingHwpt ? this.#on : this.#on.parent;
  }

  override release(): void {
    super.release();
    this.#on.users--;
  }
}
