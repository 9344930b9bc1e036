/** Our declarations of Linux's headers against what a C compiler says of them. */
import { assertEquals } from "@std/assert";
import golden from "../golden/uapi_layouts.json" with { type: "json" };
import { type Layout, ownLayouts } from "../support/own_layouts.ts";

const compiled: Readonly<Record<string, Readonly<Record<string, unknown>>>> = golden;

/** What a VMM on iommufd has no use for, by how the names begin. */
const LEFT_OUT: Readonly<Record<string, readonly string[]>> = {
  "linux/iommufd.h": [],
  "linux/vfio.h": [
    // Containers, groups and their IOMMUs, for which there is iommufd.
    "VFIO_API_VERSION",
    "VFIO_GET_API_VERSION",
    "VFIO_CHECK_EXTENSION",
    "VFIO_SET_IOMMU",
    "VFIO_GROUP_",
    "vfio_group_status",
    "VFIO_TYPE1",
    "VFIO_SPAPR",
    "VFIO_EEH",
    "vfio_eeh",
    "VFIO_DMA_CC_IOMMU",
    "VFIO_NOIOMMU_IOMMU",
    "VFIO_UNMAP_ALL",
    "VFIO_UPDATE_VADDR",
    "VFIO_IOMMU_",
    "vfio_iommu_",
    "VFIO_DMA_MAP_",
    "VFIO_DMA_UNMAP_",
    "vfio_bitmap",
    "vfio_iova_range",
    // The first interface for migration, and mediated devices of other kinds than PCI.
    "vfio_device_migration_info",
    "VFIO_DEVICE_STATE_V1",
    "VFIO_DEVICE_STATE_MASK",
    "vfio_region_gfx",
    "VFIO_DEVICE_GFX",
    "vfio_device_gfx",
    "VFIO_GFX",
    "VFIO_DEVICE_QUERY_GFX",
    "VFIO_DEVICE_GET_GFX",
    "VFIO_CCW",
    "VFIO_AP_",
  ],
};

for (const [header, own] of Object.entries(ownLayouts())) {
  Deno.test(`every structure and number of ${header} that we declare is the compiler's`, () => {
    const theirs = compiled[header];
    const same = Object.fromEntries(Object.keys(own).map((name) => [name, theirs[name]]));
    assertEquals<Layout>(own, same as Layout);
  });

  Deno.test(`every structure and number of ${header} is declared, or left out by name`, () => {
    const isLeftOut = (name: string): boolean =>
      LEFT_OUT[header].some((prefix) => name.startsWith(prefix));
    const names = Object.keys(compiled[header]);
    assertEquals(names.filter((name) => !(name in own) && !isLeftOut(name)), []);
    const idle = LEFT_OUT[header].filter((prefix) =>
      !names.some((name) => name.startsWith(prefix))
    );
    assertEquals(idle, [], "left out, but not there");
  });
}
