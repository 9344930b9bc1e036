/**
 * A function of this host that is to be given away, as the kernel shows it. Linux
 * Documentation/ABI/testing/sysfs-devices-vfio-dev and sysfs-kernel-iommu_groups.
 * @module
 */
import { readStandardChain } from "../../hw/pci/capability_chain.ts";
import { CapabilityId } from "../../hw/pci/registers.ts";
import { EnvironmentError } from "../environment_error.ts";
import { Tree } from "../probe/tree.ts";

/** A range of IOVAs. */
export interface Window {
  /** First IOVA. */
  readonly base: number;
  /** Bytes. */
  readonly sizeBytes: number;
}

/** The function. */
export interface HostDevice {
  /** Its character device, such as `/dev/vfio/devices/vfio0`. */
  readonly devicePath: string;
  /** Its PCI address, such as `0000:01:10.0`. */
  readonly address: string;
  /** Where the kernel maps doorbells of the host's interrupt controller for it, if it does, and it can send messages. */
  readonly msiWindow: Window | undefined;
}

const DEVICES = "/dev/vfio/devices/";
const ADDRESS = /^(?:[0-9a-f]{4}:)?[0-9a-f]{2}:[0-9a-f]{2}\.[0-7]$/i;

/** Finds what `text` names: a character device or a PCI address. Throws an `EnvironmentError` that says what to do. */
export function hostDevice(text: string, tree: Tree = new Tree()): HostDevice {
  const { name, folder } = ADDRESS.test(text) ? byAddress(text, tree) : byPath(text, tree);
  return {
    devicePath: `${DEVICES}${name}`,
    address: tree.target(folder) ?? folder.slice(folder.lastIndexOf("/") + 1),
    msiWindow: sendsMessages(tree.bytes(`${folder}/config`))
      ? msiWindow(tree.text(`${folder}/iommu_group/reserved_regions`) ?? "")
      : undefined,
  };
}

/** A guest whose driver is VFIO could not take a function that it must map something for, so it must not without need. */
function sendsMessages(config: Uint8Array | undefined): boolean {
  if (config === undefined) return true;
  const kinds: readonly number[] = [CapabilityId.Msi, CapabilityId.MsiX];
  return readStandardChain(config).capabilities.some(({ id }) => kinds.includes(id));
}

function byAddress(text: string, tree: Tree): { name: string; folder: string } {
  const address = text.length < 12 ? `0000:${text}` : text;
  const folder = `/sys/bus/pci/devices/${address.toLowerCase()}`;
  if (tree.names(folder).length === 0) {
    throw new EnvironmentError(
      `Cannot give ${text} to a guest: this host has no such PCI function`,
    );
  }
  const [name] = tree.names(`${folder}/vfio-dev`);
  if (name !== undefined) return { name, folder };
  const driver = tree.target(`${folder}/driver`);
  throw new EnvironmentError(
    `Cannot give ${text} to a guest: it belongs to ${driver ?? "no driver"}, not to vfio-pci`,
    [
      `echo vfio-pci > ${folder}/driver_override`,
      ...(driver === undefined ? [] : [`echo ${address} > ${folder}/driver/unbind`]),
      `echo ${address} > /sys/bus/pci/drivers_probe`,
    ],
  );
}

function byPath(text: string, tree: Tree): { name: string; folder: string } {
  const name = text.startsWith(DEVICES) ? text.slice(DEVICES.length) : "";
  const folder = `/sys/class/vfio-dev/${name}/device`;
  if (/^vfio\d+$/.test(name) && tree.names(folder).length > 0) return { name, folder };
  const there = tree.names("/sys/class/vfio-dev").map((name) => `${DEVICES}${name}`);
  throw new EnvironmentError(
    `Cannot give ${text} to a guest: it is no character device of VFIO; this host has ${
      there.join(", ") || "none"
    }`,
  );
}

/** Lines are `FIRST LAST TYPE`. Linux calls its own choice `msi`, as it does what hardware prescribes. */
function msiWindow(text: string): Window | undefined {
  for (const line of text.split("\n")) {
    const [first, last, type] = line.trim().split(/\s+/);
    if (type === "msi") return { base: Number(first), sizeBytes: Number(last) - Number(first) + 1 };
  }
}
