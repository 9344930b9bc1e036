/**
 * An Arm SMMUv3 for virtual machines: the device, the endpoints behind it, and the ways to serve them.
 *
 * ```ts
 * import { GuestRam, SmmuV3 } from "./mod.ts";
 * const memory = new GuestRam();
 * memory.map(0x4000_0000, new ArrayBuffer(0x1000));
 * const smmu = new SmmuV3({ memory });
 * console.assert(smmu.read32(0x1c) === 0x2); // AIDR: SMMUv3.2
 * ```
 * @module
 */
export * from "./hw/mod.ts";
export * from "./uapi/mod.ts";
export * from "./vmm/mod.ts";
