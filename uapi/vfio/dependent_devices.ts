/**
 * The PCI functions that are reset together. linux/vfio.h of Linux 7.3.
 * @module
 */
import { getField, type StructBuffer } from "../struct.ts";
import { vfio_pci_dependent_device, vfio_pci_hot_reset_info } from "./device.ts";

/** One function. */
export interface DependentDevice {
  /** Its device id in the iommufd, or one of VFIO_PCI_DEVID; a group when the flags have no DEV_ID. */
  readonly devId: number;
  /** PCI segment. */
  readonly segment: number;
  /** PCI bus. */
  readonly bus: number;
  /** PCI device and function, as `device << 3 | function`. */
  readonly devfn: number;
}

/** All of them. */
export interface DependentDevices {
  /** Of VFIO_PCI_HOT_RESET_FLAG. */
  readonly flags: number;
  /** The functions. */
  readonly devices: readonly DependentDevice[];
}

/** Reads the answer of VFIO_DEVICE_GET_PCI_HOT_RESET_INFO. */
export function readDependents(
  answer: StructBuffer<typeof vfio_pci_hot_reset_info.fields>,
): DependentDevices {
  const { fields, size } = vfio_pci_dependent_device;
  const devices = Array.from({ length: answer.get("count") }, (_, i) => {
    const at = vfio_pci_hot_reset_info.size + i * size;
    return {
      devId: getField(answer.view, fields.devid, 0, at),
      segment: getField(answer.view, fields.segment, 0, at),
      bus: getField(answer.view, fields.bus, 0, at),
      devfn: getField(answer.view, fields.devfn, 0, at),
    };
  });
  return { flags: answer.get("flags"), devices };
}
