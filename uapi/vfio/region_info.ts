/**
 * What the kernel tells of a region. linux/vfio.h of Linux 7.3.
 * @module
 */
import type { StructBuffer } from "../struct.ts";
import { capabilityField, readCapabilities, type VfioCapability } from "./capabilities.ts";
import {
  type vfio_region_info,
  VFIO_REGION_INFO_CAP,
  vfio_region_info_cap_sparse_mmap,
  vfio_region_info_cap_type,
  vfio_region_sparse_mmap_area,
} from "./region.ts";

/** A part of a region. */
export interface RegionArea {
  /** Bytes from the region's beginning. */
  readonly offset: number;
  /** Bytes. */
  readonly sizeBytes: number;
}

/** A region of a device. */
export interface RegionInfo {
  /** Its index. */
  readonly index: number;
  /** Of VFIO_REGION_INFO_FLAG. */
  readonly flags: number;
  /** Bytes; 0 when the device does not have it. */
  readonly sizeBytes: number;
  /** Where it begins in the device's file. */
  readonly offset: number;
  /** The only parts that can be mapped, if not all of it can. */
  readonly sparse: readonly RegionArea[] | undefined;
  /** What it is, beyond the regions that every PCI function has. */
  readonly type: { readonly type: number; readonly subtype: number } | undefined;
  /** Whether what holds the MSI-X table can be mapped too. */
  readonly isMsixMappable: boolean;
  /** All that the kernel tells, of VFIO_REGION_INFO_CAP. */
  readonly capabilities: readonly VfioCapability[];
}

/** Reads the answer of VFIO_DEVICE_GET_REGION_INFO. */
export function readRegionInfo(
  answer: StructBuffer<typeof vfio_region_info.fields>,
): RegionInfo {
  const capabilities = readCapabilities(answer.view, answer.get("cap_offset"));
  const find = (id: number): VfioCapability | undefined =>
    capabilities.find((capability) => capability.id === id);
  const sparse = find(VFIO_REGION_INFO_CAP.SPARSE_MMAP);
  const type = find(VFIO_REGION_INFO_CAP.TYPE);
  return {
    index: answer.get("index"),
    flags: answer.get("flags"),
    sizeBytes: Number(answer.get("size")),
    offset: Number(answer.get("offset")),
    sparse: sparse && readAreas(sparse),
    type: type && {
      type: capabilityField(type, vfio_region_info_cap_type, "type"),
      subtype: capabilityField(type, vfio_region_info_cap_type, "subtype"),
    },
    isMsixMappable: find(VFIO_REGION_INFO_CAP.MSIX_MAPPABLE) !== undefined,
    capabilities,
  };
}

function readAreas(sparse: VfioCapability): RegionArea[] {
  const count = capabilityField(sparse, vfio_region_info_cap_sparse_mmap, "nr_areas");
  const area = vfio_region_sparse_mmap_area;
  return Array.from({ length: count }, (_, i) => {
    const at = vfio_region_info_cap_sparse_mmap.size + i * area.size;
    return {
      offset: Number(capabilityField(sparse, area, "offset", at)),
      sizeBytes: Number(capabilityField(sparse, area, "size", at)),
    };
  });
}
