/**
 * The Arm SMMUv3 of the model: what its ID registers allow, its domains, its vSMMUs.
 * @module
 */
import { get } from "../../../hw/bits.ts";
import type { GuestMemory } from "../../../hw/guest_memory.ts";
import {
  ADDRESS_SIZES,
  DEFAULT_FEATURES,
  type Features,
  features,
} from "../../../hw/smmuv3/features.ts";
import { identify } from "../../../hw/smmuv3/identify.ts";
import type { Observer } from "../../../hw/smmuv3/observer.ts";
import { IDR0, IDR1, IDR3, IDR5, REG } from "../../../hw/smmuv3/spec/registers.ts";
import { ERRNO } from "../../../uapi/errno.ts";
import type { IovaRange } from "../iommufd.ts";
import type { ArmCommandRules } from "./arm_commands.ts";
import { ArmVsmmu } from "./arm_vsmmu.ts";
import { DirtyLog } from "./dirty_log.ts";
import type { Driver, DriverDevice, DriverViommu, PagingDomain, UserData } from "./driver.ts";
import type { IoPagetable } from "./io_pagetable.ts";
import { refuse } from "./objects.ts";
import { StageTwoMemory } from "./stage_two_memory.ts";
import { StageTwoPort } from "./stage_two_port.ts";
import {
  IOMMU_HW_CAP,
  IOMMU_HW_INFO_TYPE,
  IOMMU_HWPT_ALLOC,
  IOMMU_VIOMMU_TYPE,
} from "../../../uapi/iommufd/mod.ts";

/** IDR0.HTTU with dirty state. */
const HTTU_DIRTY = 2;
/** Where the kernel maps doorbells for devices: MSI_IOVA_BASE of the driver. */
const SW_MSI: IovaRange = { start: 0x0800_0000n, last: 0x080f_ffffn };
const PAGE = 4096n;
/** struct iommu_hw_info_arm_smmuv3: flags, reserved, idr[6], iidr, aidr. */
const HW_INFO_WORDS = 10;
/** Address bits of a domain that is no nest parent: those of the kernel that this is like. */
const STAGE1_BITS = 48;

/** Number of ID registers in `idrs`: IDR0 to IDR5, IIDR, AIDR. */
export const IDR_COUNT = 8;

/** What a physical SMMU is. */
export interface ArmSmmuV3Options {
  /** The model's memory, by its physical addresses. */
  readonly memory: GuestMemory;
  /** IDR0 to IDR5, IIDR, AIDR; a good host by default. */
  readonly idrs?: readonly number[];
  /** Watches translations and transfers. */
  readonly observer?: Observer | undefined;
  /** Size of each vSMMU's TLB, as log2 of its sets. */
  readonly log2tlbSets?: number;
}

/** The ID registers of a host on which everything can be nested that our own device offers. */
export function goodHost(choice: Partial<Features> = {}): number[] {
  const words = new Uint32Array(0x20 / 4);
  identify(words, features({ ...DEFAULT_FEATURES, ...choice }));
  const idr0 = words.subarray(0, 1);
  idr0[0] |= 1; // S2P
  idr0[0] |= 1 << 18; // VMID16
  return [...words.subarray(0, IDR_COUNT)];
}

/** The driver. */
export class ArmSmmuV3 implements Driver {
  readonly iommu = this;
  readonly hwInfoType = IOMMU_HW_INFO_TYPE.ARM_SMMUV3;
  readonly hwInfo: Uint8Array;
  readonly pasids = 0;
  readonly capabilities: bigint;
  readonly hasDirtyTracking: boolean;
  readonly reserved: readonly IovaRange[] = [SW_MSI];
  readonly #options: ArmSmmuV3Options;
  readonly #features: Features;
  readonly #rules: ArmCommandRules;
  readonly #canNest: boolean;

  /** An SMMU with such ID registers. Throws a RangeError when our translator cannot be one. */
  constructor(options: ArmSmmuV3Options) {
    const idrs = options.idrs ?? goodHost();
    const register = (offset: number): Uint32Array => Uint32Array.of(idrs[offset / 4]);
    const [idr0, idr1, idr3, idr5] = [REG.IDR0, REG.IDR1, REG.IDR3, REG.IDR5]
      .map(({ offset }) => register(offset));
    this.#options = options;
    this.#features = features({
      ssidSize: get(idr1, IDR1.SSIDSIZE),
      oas: ADDRESS_SIZES[get(idr5, IDR5.OAS)] ?? ADDRESS_SIZES.at(-1)!,
      asid16: get(idr0, IDR0.ASID16) === 1,
      rangeInvalidation: get(idr3, IDR3.RIL) === 1,
    });
    this.#rules = {
      asidBits: this.#features.asid16 ? 16 : 8,
      ssidBits: this.#features.ssidSize,
      hasRanges: this.#features.rangeInvalidation,
      hasDs: get(idr5, IDR5.DS) === 1,
      hasAts: get(idr0, IDR0.ATS) === 1,
    };
    this.#canNest = get(idr0, IDR0.S1P) === 1 && get(idr0, IDR0.S2P) === 1;
    this.hasDirtyTracking = get(idr0, IDR0.HTTU) >= HTTU_DIRTY;
    this.capabilities = this.hasDirtyTracking ? BigInt(IOMMU_HW_CAP.DIRTY_TRACKING) : 0n;
    const info = new Uint32Array(HW_INFO_WORDS);
    info.set(idrs.slice(0, IDR_COUNT), 2);
    this.hwInfo = new Uint8Array(info.buffer);
  }

  allocPaging(table: IoPagetable, flags: number, data: UserData | undefined): PagingDomain {
    const isParent = flags === IOMMU_HWPT_ALLOC.NEST_PARENT;
    const hasDirty = this.hasDirtyTracking && (flags & IOMMU_HWPT_ALLOC.DIRTY_TRACKING) !== 0;
    const plain = hasDirty ? flags & ~IOMMU_HWPT_ALLOC.DIRTY_TRACKING : flags;
    const isKnown = plain === 0 || plain === IOMMU_HWPT_ALLOC.PASID || (isParent && this.#canNest);
    if (!isKnown || data !== undefined) refuse("IOMMU_HWPT_ALLOC", ERRNO.EOPNOTSUPP);
    const dirty = hasDirty ? new DirtyLog(PAGE) : undefined;
    const memory = new StageTwoMemory(table, this.#options.memory, dirty);
    const bits = BigInt(isParent ? this.#features.oas : STAGE1_BITS);
    return {
      aperture: { start: 0n, last: (1n << bits) - 1n },
      pageSize: PAGE,
      dirty,
      unmapped: (start, last) => dirty?.forget(start, last),
      attach: (device: DriverDevice) => {
        device.leave?.();
        device.leave = undefined;
        device.port = new StageTwoPort(memory, device.messages, this.#options.observer);
      },
      // Its devices have none, so there is nothing to be set.
      attachPasid: () => {},
    };
  }

  hasViommu(type: number): boolean {
    return type === IOMMU_VIOMMU_TYPE.ARM_SMMUV3 && this.#canNest;
  }

  allocViommu(_type: number, _parent: PagingDomain, table: IoPagetable): DriverViommu {
    const { memory, observer, log2tlbSets = 10 } = this.#options;
    return new ArmVsmmu({
      memory: new StageTwoMemory(table, memory),
      features: this.#features,
      rules: this.#rules,
      log2tlbSets,
      observer,
    });
  }
}
