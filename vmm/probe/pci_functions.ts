/**
 * The PCI functions of a host: who drives them, where they can be opened, and what their configuration space offers.
 * PCI Express Base Specification: 7.8 to 10.5, extended capabilities.
 * @module
 */
import type { NodeState, Tree } from "./tree.ts";

/** A capability that a device may use for itself. */
export interface Capability {
  /** Whether the host has turned it on. */
  readonly enabled: boolean;
}

/** Process address spaces. */
export interface PasidCapability extends Capability {
  /** Width in bits. */
  readonly width: number;
  /** Whether it can ask for execute permission. */
  readonly execute: boolean;
  /** Whether it has a privileged mode. */
  readonly privileged: boolean;
}

/** What configuration space says of translation. */
export interface PciCapabilities {
  readonly ats?: Capability;
  readonly pri?: Capability;
  readonly pasid?: PasidCapability;
}

/** Where VFIO lets a program open a function. */
export interface Cdev {
  /** Such as `vfio0`; `noiommu-vfio0` without an IOMMU. */
  readonly name: string;
  /** Its node. */
  readonly path: string;
  readonly state: NodeState;
}

/** A PCI function. */
export interface PciFunction {
  /** Such as `0000:01:00.0`. */
  readonly address: string;
  /** Vendor and device, such as `8086:10ca`. */
  readonly id: string;
  /** Class code of 24 bits, in hexadecimal. */
  readonly class: string;
  readonly driver?: string | undefined;
  /** Its IOMMU group. */
  readonly group?: string | undefined;
  /** Its IOMMU, as in `/sys/class/iommu`. */
  readonly iommu?: string | undefined;
  /** The physical function, for a virtual one. */
  readonly physicalFunction?: string | undefined;
  /** How many virtual functions there are and can be; absent without SR-IOV. */
  readonly virtualFunctions?: { readonly enabled: number; readonly most: number } | undefined;
  /** Absent when configuration space cannot be read as far as there. */
  readonly capabilities?: PciCapabilities | undefined;
  /** VFIO has it. */
  readonly isVfio: boolean;
  /** Absent when VFIO does not have it, or the kernel makes no cdevs. */
  readonly cdev?: Cdev | undefined;
}

const CONVENTIONAL_SIZE = 256;
const READABLE_BY_ALL = 64;
const EXTENDED = { ATS: 0x0f, PRI: 0x13, PASID: 0x1b } as const;
const ROOT = "/sys/bus/pci/devices";

/** The PCI functions, by address. */
export function pciFunctions(tree: Tree): PciFunction[] {
  return tree.names(ROOT).map((address) => pciFunction(tree, address));
}

function pciFunction(tree: Tree, address: string): PciFunction {
  const at = (name: string): string => `${ROOT}/${address}/${name}`;
  const hex = (name: string): string => (tree.text(at(name)) ?? "").replace(/^0x/, "");
  const most = tree.number(at("sriov_totalvfs"));
  const physicalFunction = tree.target(at("physfn"));
  const config = tree.bytes(at("config"));
  const driver = tree.target(at("driver"));
  const [vfioName] = tree.names(at("vfio-dev"));
  return {
    address,
    id: `${hex("vendor")}:${hex("device")}`,
    class: hex("class"),
    driver,
    group: tree.target(at("iommu_group")),
    iommu: tree.target(at("iommu")),
    physicalFunction,
    virtualFunctions: most ? { enabled: tree.number(at("sriov_numvfs")) ?? 0, most } : undefined,
    capabilities: config && pciCapabilities(config),
    isVfio: vfioName !== undefined || (driver ?? "").startsWith("vfio"),
    cdev: vfioName === undefined ? undefined : cdev(tree, at(`vfio-dev/${vfioName}`), vfioName),
  };
}

function cdev(tree: Tree, folder: string, name: string): Cdev | undefined {
  // Without CONFIG_VFIO_DEVICE_CDEV the device has a folder and no number.
  if (!tree.has(`${folder}/dev`)) return undefined;
  const path = `/dev/vfio/devices/${name}`;
  return { name, path, state: tree.node(path) };
}

/** What configuration space says; `undefined` when there is too little of it. */
export function pciCapabilities(config: Uint8Array): PciCapabilities | undefined {
  if (config.length <= READABLE_BY_ALL) return undefined;
  const view = new DataView(config.buffer, config.byteOffset, config.length);
  const places = extendedCapabilities(view);
  const control = (id: number, offset: number): number | undefined => {
    const at = places.get(id);
    return at === undefined || at + 8 > config.length
      ? undefined
      : view.getUint16(at + offset, true);
  };
  const ats = control(EXTENDED.ATS, 6);
  const pri = control(EXTENDED.PRI, 4);
  const pasid = control(EXTENDED.PASID, 4);
  return {
    ...ats === undefined ? {} : { ats: { enabled: (ats & 0x8000) !== 0 } },
    ...pri === undefined ? {} : { pri: { enabled: (pri & 1) !== 0 } },
    ...pasid === undefined ? {} : {
      pasid: {
        enabled: (control(EXTENDED.PASID, 6)! & 1) !== 0,
        width: (pasid >> 8) & 0x1f,
        execute: (pasid & 2) !== 0,
        privileged: (pasid & 4) !== 0,
      },
    },
  };
}

/** Offsets by id. A list that turns back on itself ends. */
function extendedCapabilities(view: DataView): Map<number, number> {
  const places = new Map<number, number>();
  const seen = new Set<number>();
  let at = CONVENTIONAL_SIZE;
  while (at >= CONVENTIONAL_SIZE && at + 4 <= view.byteLength && !seen.has(at)) {
    seen.add(at);
    const header = view.getUint32(at, true);
    if (header === 0 || header === 0xffff_ffff) break;
    places.set(header & 0xffff, at);
    at = (header >>> 20) & 0xffc;
  }
  return places;
}
