/**
 * The vendor-specific capabilities by which a driver finds the structures of a virtio device. Virtio 1.2 §4.1.4.
 * @module
 */
import type { Capability, ConfigSpace } from "../pci/config_space.ts";
import type { Bar } from "../pci/function.ts";
import { CapabilityId, type ConfigRegister, ro, rw } from "../pci/registers.ts";
import { CFG_TYPE } from "./virtio_spec.ts";

/** struct virtio_pci_cap. §4.1.4. */
const CAP = {
  cap_len: ro(2, 1),
  cfg_type: ro(3, 1),
  bar: ro(4, 1),
  offset: ro(8, 4),
  length: ro(12, 4),
} as const;
/** struct virtio_pci_notify_cap adds this. §4.1.4.4. */
const notify_off_multiplier = ro(16, 4);
/** struct virtio_pci_cfg_cap: writable, with a window. §4.1.4.9. */
const WINDOW = {
  bar: rw(4, 1, 0xff),
  offset: rw(8, 4, 0xffff_ffff),
  length: rw(12, 4, 0xffff_ffff),
  pci_cfg_data: rw(16, 4, 0xffff_ffff),
} as const;

/** Where a structure lies. */
export interface Location {
  /** BAR index. */
  readonly bar: number;
  /** Offset in the BAR, in bytes. */
  readonly offset: number;
  /** Length in bytes. */
  readonly length: number;
}

/** The capability that locates a structure of type `cfgType`. */
export function structureCapability(cfgType: number, location: Location): Capability {
  return {
    id: CapabilityId.VendorSpecific,
    sizeBytes: 16,
    registers: located(cfgType, 16, location),
  };
}

/** The capability that locates the notification area; queue n is notified at n times `multiplier`. */
export function notifyCapability(location: Location, multiplier: number): Capability {
  return {
    id: CapabilityId.VendorSpecific,
    sizeBytes: 20,
    registers: [...located(CFG_TYPE.NOTIFY, 20, location), [notify_off_multiplier, multiplier]],
  };
}

function located(
  cfgType: number,
  sizeBytes: number,
  location: Location,
): [ConfigRegister, number][] {
  return [
    [CAP.cap_len, sizeBytes],
    [CAP.cfg_type, cfgType],
    [CAP.bar, location.bar],
    [CAP.offset, location.offset],
    [CAP.length, location.length],
  ];
}

/**
 * The capability through which firmware reaches the BARs without mapping them: an access of pci_cfg_data becomes one
 * of 1, 2 or 4 bytes in the BAR. An access that is misaligned or outside a BAR does nothing.
 */
export function configAccessCapability(bars: () => readonly Bar[]): Capability {
  return {
    id: CapabilityId.VendorSpecific,
    sizeBytes: 20,
    registers: [
      [CAP.cap_len, 20],
      [CAP.cfg_type, CFG_TYPE.PCI],
      [WINDOW.bar, 0],
      [WINDOW.offset, 0],
      [WINDOW.length, 0],
      [WINDOW.pci_cfg_data, 0],
    ],
    attach(config: ConfigSpace, base: number): void {
      const at = base + WINDOW.pci_cfg_data.offset;
      config.watch(at, WINDOW.pci_cfg_data.sizeBytes, {
        read: () => {
          const { bar, offset, length } = target(config, base, bars());
          if (bar === undefined) return;
          const data = new Uint8Array(length);
          bar.device.read(offset, data);
          config.put(at, data);
        },
        written: () => {
          const { bar, offset, length } = target(config, base, bars());
          if (bar === undefined) return;
          const value = config.get(base, WINDOW.pci_cfg_data);
          const data = new Uint8Array(length);
          for (let i = 0; i < length; i++) data[i] = value >>> (8 * i);
          bar.device.write(offset, data);
        },
      });
    },
  };
}

function target(
  config: ConfigSpace,
  base: number,
  bars: readonly Bar[],
): { bar: Bar | undefined; offset: number; length: number } {
  const index = config.get(base, WINDOW.bar);
  const offset = config.get(base, WINDOW.offset);
  const length = config.get(base, WINDOW.length);
  const sized = (length === 1 || length === 2 || length === 4) && offset % length === 0;
  const bar = sized ? bars.find((candidate) => candidate.index === index) : undefined;
  const inside = bar !== undefined && offset + length <= bar.sizeBytes;
  return { bar: inside ? bar : undefined, offset, length };
}
