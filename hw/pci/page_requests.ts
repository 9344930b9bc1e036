/**
 * The Page Request Interface capability of an emulated function. PCI Express Base 5.0 §7.8.10, §10.5.2.
 * @module
 */
import { bits, maskOf } from "../bits.ts";
import type { ControlWatcher } from "./ats.ts";
import type { Capability } from "./config_space.ts";
import { ExtendedCapabilityId } from "./extended_capability_kinds.ts";
import { type ConfigRegister, ro, rw, w1c } from "./registers.ts";

/** Page Request Control register; Reset reads as 0. */
export const PRI_CONTROL = { Enable: bits(0), Reset: bits(1) } as const;

/** Page Request Status register. */
export const PRI_STATUS = {
  ResponseFailure: bits(0),
  UnexpectedPageRequestGroupIndex: bits(1),
  Stopped: bits(8),
  ResponsePASIDRequired: bits(15),
} as const;

/** Registers of the capability by their offsets in it. */
export const PRI_REGISTER = {
  Control: rw(0x04, 2, maskOf(PRI_CONTROL.Enable, PRI_CONTROL.Reset)),
  Status: w1c(
    0x06,
    2,
    maskOf(PRI_STATUS.ResponseFailure, PRI_STATUS.UnexpectedPageRequestGroupIndex),
  ),
  Capacity: ro(0x08, 4),
  Allocation: rw(0x0c, 4, 0xffff_ffff),
} as const satisfies Record<string, ConfigRegister>;

/** The capability of a function that has up to `capacity` requests outstanding, and wants PASIDs in answers to those. */
export function pageRequestCapability(capacity: number, watcher: ControlWatcher): Capability {
  return {
    id: ExtendedCapabilityId.PageRequestInterface,
    sizeBytes: 16,
    registers: [
      [PRI_REGISTER.Control, 0],
      [PRI_REGISTER.Status, maskOf(PRI_STATUS.Stopped, PRI_STATUS.ResponsePASIDRequired)],
      [PRI_REGISTER.Capacity, capacity],
      [PRI_REGISTER.Allocation, 0],
    ],
    attach(config, offset): void {
      watcher.placed(config, offset);
      const { offset: at, sizeBytes } = PRI_REGISTER.Control;
      config.watch(offset + at, sizeBytes, { written: () => watcher.controlled() });
    },
  };
}
