/**
 * What an Arm SMMUv3 of the host says of itself. linux/iommufd.h: `struct iommu_hw_info_arm_smmuv3`.
 * @module
 */

/** Where the members of the structure are, and how long it is. */
const OFFSET = { flags: 0, idr: 8, iidr: 32, aidr: 36, size: 40 } as const;
const IDR_COUNT = 6;

/** The registers as they are in hardware: the kernel masks nothing. */
export interface HostIdentity {
  /** Of `IOMMU_HW_INFO_ARM_SMMUV3`. */
  readonly flags: number;
  /** IDR0 to IDR5. */
  readonly idr: readonly number[];
  /** Who made it, and which revision. */
  readonly iidr: number;
  /** Which version of the architecture it has. */
  readonly aidr: number;
}

/** Decodes what GET_HW_INFO returned for an Arm SMMUv3. What an older kernel does not tell is 0. */
export function hostIdentity(data: Uint8Array): HostIdentity {
  const bytes = new Uint8Array(OFFSET.size);
  bytes.set(data.subarray(0, OFFSET.size));
  const view = new DataView(bytes.buffer);
  const word = (offset: number): number => view.getUint32(offset, true);
  return {
    flags: word(OFFSET.flags),
    idr: Array.from({ length: IDR_COUNT }, (_, i) => word(OFFSET.idr + 4 * i)),
    iidr: word(OFFSET.iidr),
    aidr: word(OFFSET.aidr),
  };
}
