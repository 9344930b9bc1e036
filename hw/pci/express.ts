/**
 * The PCI Express capability. PCI Express Base 5.0 §7.5.3.
 * @module
 */
import type { Capability, ConfigSpace } from "./config_space.ts";
import { CapabilityId, DEVICE_CONTROL, EXPRESS, EXPRESS_SIZE, PortType } from "./registers.ts";

/** Device Capabilities: Role-Based Error Reporting, Function Level Reset; payloads of 128 bytes. §7.5.3.3. */
const DEVICE_CAPABILITIES = 0x1000_8000;
/** Device Control: Relaxed Ordering, No Snoop, read requests of 512 bytes. §7.5.3.4. */
const DEVICE_CONTROL_INITIAL = 0x2810;
/** Device Capabilities 2: Completion Timeout Disable. §7.5.3.15. */
const DEVICE_CAPABILITIES_2 = 0x10;
/** Device Capabilities 2: End-End TLP Prefix Supported, and Max End-End TLP Prefixes, where 0 is 4. §7.5.3.15. */
const END_TO_END = { prefixes: 1 << 21, maxShift: 22, maxMask: 3 } as const;
/** Link Capabilities: 2.5 GT/s, one lane, ASPM optional. §7.5.3.6. */
const LINK_CAPABILITIES = 0x0040_0011;
/** Link Status: 2.5 GT/s, one lane. §7.5.3.8. */
const LINK_STATUS = 0x0011;
/** Link Capabilities 2: 2.5 GT/s. §7.5.3.18. */
const LINK_CAPABILITIES_2 = 0x2;
/** Link Control 2: target 2.5 GT/s. §7.5.3.19. */
const LINK_CONTROL_2 = 0x1;

/** What the capability needs. */
export interface ExpressOptions {
  /** A {@linkcode PortType}; an integrated endpoint has no link. Endpoint when absent. */
  readonly type?: number;
  /** Prefixes that go with a request all the way, up to 4; a PASID is one. None when absent. */
  readonly endToEndPrefixes?: number;
  /** Resets the function: software asked for a Function Level Reset. */
  reset(): void;
}

/** A PCI Express capability of version 2 with Function Level Reset. */
export function expressCapability(options: ExpressOptions): Capability {
  const type = options.type ?? PortType.Endpoint;
  const link = type === PortType.Endpoint;
  const prefixes = options.endToEndPrefixes ?? 0;
  const { maxShift, maxMask } = END_TO_END;
  const endToEnd = prefixes === 0 ? 0 : END_TO_END.prefixes | (prefixes & maxMask) << maxShift;
  return {
    id: CapabilityId.PciExpress,
    sizeBytes: EXPRESS_SIZE,
    registers: [
      [EXPRESS.Capabilities, 0x0002 | type << 4],
      [EXPRESS.DeviceCapabilities, DEVICE_CAPABILITIES],
      [EXPRESS.DeviceControl, DEVICE_CONTROL_INITIAL],
      [EXPRESS.DeviceStatus, 0],
      [EXPRESS.DeviceCapabilities2, DEVICE_CAPABILITIES_2 | endToEnd],
      [EXPRESS.DeviceControl2, 0],
      ...(link
        ? [
          [EXPRESS.LinkCapabilities, LINK_CAPABILITIES],
          [EXPRESS.LinkControl, 0],
          [EXPRESS.LinkStatus, LINK_STATUS],
          [EXPRESS.LinkCapabilities2, LINK_CAPABILITIES_2],
          [EXPRESS.LinkControl2, LINK_CONTROL_2],
        ] as const
        : []),
    ],
    attach(config: ConfigSpace, offset: number): void {
      config.watch(offset + EXPRESS.DeviceControl.offset, EXPRESS.DeviceControl.sizeBytes, {
        written: () => {
          const control = config.get(offset, EXPRESS.DeviceControl);
          const asked = control >>> DEVICE_CONTROL.InitiateFunctionLevelReset.shift;
          if (asked !== 0) options.reset();
        },
      });
    },
  };
}
