import { assertEquals, assertMatch } from "@std/assert";

const FRAGMENT = new URL("../../vmm/hostvm/kernel.config", import.meta.url);

/** Options and values of the fragment, in order. */
function options(): [string, string][] {
  const lines = Deno.readTextFileSync(FRAGMENT).split("\n");
  return lines.filter((line) => line !== "" && !line.startsWith("#")).map((line) => {
    assertMatch(line, /^CONFIG_[A-Z0-9_a-z]+=("[^"]*"|[yn]|\d+)$/);
    const at = line.indexOf("=");
    return [line.slice(0, at), line.slice(at + 1)];
  });
}

Deno.test("the kernel's fragment names each option once, and nothing is a module", () => {
  const names = options().map(([name]) => name);
  assertEquals(names.filter((name, index) => names.indexOf(name) !== index), []);
});

Deno.test("the kernel's fragment has what the Host VM is for", () => {
  const values = new Map(options());
  const wanted = [
    // What tests inside use.
    ...["ARM_SMMU_V3", "ARM_SMMU_V3_IOMMUFD", "ARM_SMMU_V3_SVA", "IOMMUFD", "IOMMUFD_TEST"],
    ...["VFIO", "VFIO_DEVICE_CDEV", "VFIO_PCI", "KVM", "DMA_MAP_BENCHMARK"],
    // Interrupts of assigned devices, virtual functions.
    ...["ARM_GIC_V3_ITS", "PCI_IOV", "IGB", "BLK_DEV_NVME"],
    // The override of the IORT.
    ...["ACPI", "ACPI_TABLE_UPGRADE", "EFI", "BLK_DEV_INITRD"],
    // What host_init.sh stands on.
    ...["EXT4_FS", "OVERLAY_FS", "TMPFS", "DEVTMPFS", "DEBUG_FS", "VIRTIO_CONSOLE", "VIRTIO_BLK"],
  ];
  assertEquals(wanted.filter((name) => values.get(`CONFIG_${name}`) !== "y"), []);
});
