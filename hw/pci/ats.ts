/**
 * The ATS capability of an emulated function. PCI Express Base 5.0 §7.8.9, §10.5.1.
 * @module
 */
import { bits, maskOf } from "../bits.ts";
import type { Capability, ConfigSpace } from "./config_space.ts";
import { ExtendedCapabilityId } from "./extended_capability_kinds.ts";
import { type ConfigRegister, ro, rw } from "./registers.ts";

/** ATS Capability register; a queue depth of 0 means 32. */
export const ATS_CAPABILITY = {
  InvalidateQueueDepth: bits(4, 0),
  PageAlignedRequest: bits(5),
  GlobalInvalidateSupported: bits(6),
} as const;

/** ATS Control register. */
export const ATS_CONTROL = { SmallestTranslationUnit: bits(4, 0), Enable: bits(15) } as const;

/** Where ATS Control is in the capability. */
export const ATS_CONTROL_REGISTER: ConfigRegister = rw(
  0x06,
  2,
  maskOf(ATS_CONTROL.SmallestTranslationUnit, ATS_CONTROL.Enable),
);

/** Told what software does with a capability. */
export interface ControlWatcher {
  /** Called once: where the capability is. */
  placed(config: ConfigSpace, offset: number): void;
  /** Its control register was written, or reset. */
  controlled(): void;
}

/** The capability of a function that asks for whole pages and knows Global Invalidate. */
export function atsCapability(watcher: ControlWatcher): Capability {
  const { PageAlignedRequest, GlobalInvalidateSupported } = ATS_CAPABILITY;
  return {
    id: ExtendedCapabilityId.AddressTranslationServices,
    sizeBytes: 8,
    registers: [
      [ro(0x04, 2), maskOf(PageAlignedRequest, GlobalInvalidateSupported)],
      [ATS_CONTROL_REGISTER, 0],
    ],
    attach(config, offset): void {
      watcher.placed(config, offset);
      const { offset: at, sizeBytes } = ATS_CONTROL_REGISTER;
      config.watch(offset + at, sizeBytes, { written: () => watcher.controlled() });
    },
  };
}
