/**
 * The PASID capability, and its insertion into a function that has none. PCI Express Base 5.0 §7.8.8.
 *
 * The control register is ours alone: the host enables PASIDs of the device itself, so what the guest writes here takes
 * effect in the one who serves the function.
 * @module
 */
import { bits, type Field, maskOf } from "../bits.ts";
import { EXTENDED_START } from "./capability_chain.ts";
import type { Capability } from "./config_space.ts";
import { ExtendedCapabilityId } from "./extended_capability_kinds.ts";
import { extendedHeader, linkTo } from "./extended_link.ts";
import { PASID_SIZE, type PasidPlace } from "./pasid_place.ts";
import { type ConfigRegister, ro, rw } from "./registers.ts";
import { fixedRun, type PatchRun, type SpacePatch } from "./space_patch.ts";

/** PASID Capability register. §7.8.8.2. */
export const PASID_CAPABILITY = {
  ExecutePermissionSupported: bits(1),
  PrivilegedModeSupported: bits(2),
  MaxPASIDWidth: bits(12, 8),
} as const;

/** PASID Control register. §7.8.8.3. */
export const PASID_CONTROL = {
  PASIDEnable: bits(0),
  ExecutePermissionEnable: bits(1),
  PrivilegedModeEnable: bits(2),
} as const;

/** What a function can do with PASIDs, within what its host's SMMU and physical function can. */
export interface PasidAbilities {
  /** Bits of a PASID: 1 to 20. */
  readonly width: number;
  /** Requests may ask for execute permission. */
  readonly execute: boolean;
  /** Requests may be privileged. */
  readonly privileged: boolean;
}

/** Registers of the capability; a flag that it does not have cannot be enabled. */
function registers(
  { width, execute, privileged }: PasidAbilities,
): readonly (readonly [ConfigRegister, number])[] {
  if (!Number.isInteger(width) || width < 1 || width > 20) {
    throw new RangeError(`PASIDs have 1 to 20 bits, not ${width}`);
  }
  const place = (field: Field, value: number): number => (value & field.mask) << field.shift;
  const { ExecutePermissionSupported, PrivilegedModeSupported, MaxPASIDWidth } = PASID_CAPABILITY;
  const enables = [
    PASID_CONTROL.PASIDEnable,
    ...execute ? [PASID_CONTROL.ExecutePermissionEnable] : [],
    ...privileged ? [PASID_CONTROL.PrivilegedModeEnable] : [],
  ];
  return [
    [
      ro(0x04, 2),
      place(ExecutePermissionSupported, execute ? 1 : 0) |
      place(PrivilegedModeSupported, privileged ? 1 : 0) | place(MaxPASIDWidth, width),
    ],
    [rw(0x06, 2, maskOf(...enables)), 0],
  ];
}

/** The capability for an emulated function. Throws a `RangeError` for a width that no PASID has. */
export function pasidCapability(abilities: PasidAbilities): Capability {
  return {
    id: ExtendedCapabilityId.ProcessAddressSpaceId,
    sizeBytes: PASID_SIZE,
    registers: registers(abilities),
  };
}

/**
 * The bytes that give a function a PASID capability at `place`, which `findPasidPlace` chose in the same `space`: the
 * capability, the end of the list, and the pointer that leads to it. Throws a `RangeError` for a width that no PASID has.
 */
export function insertPasid(
  space: Uint8Array,
  place: PasidPlace,
  abilities: PasidAbilities,
): SpacePatch {
  const capability = capabilityRun(place.offset, abilities);
  if (place.previous === undefined) return [capability];
  const pointer = place.anchor
    ? fixedRun(EXTENDED_START, extendedHeader(ExtendedCapabilityId.Null, 0, place.offset))
    : linkTo(space, place.previous, place.offset);
  return [pointer, capability];
}

function capabilityRun(offset: number, abilities: PasidAbilities): PatchRun {
  const bytes = new Uint8Array(PASID_SIZE);
  const writable = new Uint8Array(PASID_SIZE);
  bytes.set(extendedHeader(ExtendedCapabilityId.ProcessAddressSpaceId, 1, 0));
  for (const [register, initial] of registers(abilities)) {
    for (let i = 0; i < register.sizeBytes; i++) {
      bytes[register.offset + i] = initial >>> (8 * i);
      writable[register.offset + i] = register.writable >>> (8 * i);
    }
  }
  return { offset, bytes, writable };
}
