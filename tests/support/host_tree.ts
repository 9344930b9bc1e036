/**
 * Hosts as the kernel shows them in files: copies of `/sys`, `/proc` and `/dev` in a temporary folder.
 * @module
 */

/** A file's text or bytes, or a link as `-> target`. */
export type Content = string | Uint8Array;

/** A tree in a temporary folder, removed when disposed. */
export class HostTree implements Disposable {
  /** The folder. */
  readonly root: string = Deno.makeTempDirSync({ prefix: "vsmmu-host-" });

  /** With these files, by absolute path. */
  constructor(files: Readonly<Record<string, Content>>) {
    for (const [path, content] of Object.entries(files)) this.set(path, content);
  }

  /** Adds or replaces a file. */
  set(path: string, content: Content): void {
    const at = this.root + path;
    Deno.mkdirSync(at.slice(0, at.lastIndexOf("/")), { recursive: true });
    if (typeof content !== "string") Deno.writeFileSync(at, content);
    else if (content.startsWith("-> ")) Deno.symlinkSync(content.slice(3), at);
    else Deno.writeTextFileSync(at, content);
  }

  /** Removes a file or folder. */
  remove(path: string): void {
    Deno.removeSync(this.root + path, { recursive: true });
  }

  /** Removes it all. */
  [Symbol.dispose](): void {
    Deno.removeSync(this.root, { recursive: true });
  }
}

/** Configuration space of 4096 bytes with extended capabilities of 8 bytes: id, then the words at offsets 4 and 6. */
export function configSpace(
  ...capabilities: [id: number, low: number, high: number][]
): Uint8Array {
  const view = new DataView(new ArrayBuffer(4096));
  capabilities.forEach(([id, low, high], i) => {
    const at = 0x100 + 0x40 * i;
    const next = i + 1 < capabilities.length ? at + 0x40 : 0;
    view.setUint32(at, id | (1 << 16) | (next << 20), true);
    view.setUint16(at + 4, low, true);
    view.setUint16(at + 6, high, true);
  });
  return new Uint8Array(view.buffer);
}

/** An IORT with one ITS group and one root complex. */
export function iort(memoryFlags: number, segment: number = 0): Uint8Array {
  const bytes = new Uint8Array(48 + 24 + 56);
  const view = new DataView(bytes.buffer);
  bytes.set(new TextEncoder().encode("IORT"));
  view.setUint32(4, bytes.length, true);
  view.setUint32(36, 2, true);
  view.setUint32(40, 48, true);
  view.setUint8(48, 0);
  view.setUint16(49, 24, true);
  view.setUint8(72, 2);
  view.setUint16(73, 56, true);
  view.setUint8(72 + 23, memoryFlags);
  view.setUint32(72 + 24, 1, true);
  view.setUint32(72 + 28, segment, true);
  return bytes;
}

const PCI = "/sys/bus/pci/devices";
const GROUP = "/sys/kernel/iommu_groups";

/** An arm64 host with an SMMUv3, a network card that igb drives, and two of its VFs with vfio-pci. */
export const ARM_HOST: Readonly<Record<string, Content>> = {
  "/proc/sys/kernel/osrelease": "7.3.4\n",
  "/proc/sys/kernel/arch": "aarch64\n",
  "/boot/config-7.3.4": [
    "CONFIG_IOMMUFD=y",
    "CONFIG_ARM_SMMU_V3=y",
    "CONFIG_ARM_SMMU_V3_IOMMUFD=y",
    "# CONFIG_ARM_SMMU_V3_SVA is not set",
    "CONFIG_VFIO=y",
    "CONFIG_VFIO_PCI=m",
    "CONFIG_VFIO_DEVICE_CDEV=y",
    "",
  ].join("\n"),
  "/proc/1/fd/0": "-> /dev/null",
  "/proc/1/comm": "init\n",
  "/dev/iommu": "",
  "/dev/vfio/devices/vfio0": "",
  "/dev/vfio/devices/vfio1": "",
  "/sys/module/iommufd/parameters/allow_unsafe_interrupts": "N\n",
  "/sys/bus/pci/drivers/vfio-pci/module": "-> ../../../../module/vfio_pci",
  "/sys/firmware/acpi/tables/IORT": iort(7),
  "/sys/class/iommu/smmu3.0x0000000009050000": "-> ../../devices/smmu3",
  [`${GROUP}/0/type`]: "DMA\n",
  [`${GROUP}/0/reserved_regions`]: "0x0000000008000000 0x00000000080fffff msi\n",
  [`${GROUP}/0/devices/0000:01:00.0`]: "-> ../../../../devices/0000:01:00.0",
  ...virtualFunction(0, "1"),
  ...virtualFunction(1, "10"),
  [`${PCI}/0000:01:00.0/vendor`]: "0x8086\n",
  [`${PCI}/0000:01:00.0/device`]: "0x10c9\n",
  [`${PCI}/0000:01:00.0/class`]: "0x020000\n",
  [`${PCI}/0000:01:00.0/driver`]: "-> ../../../bus/pci/drivers/igb",
  [`${PCI}/0000:01:00.0/iommu_group`]: "-> ../../../kernel/iommu_groups/0",
  [`${PCI}/0000:01:00.0/iommu`]: "-> ../../../class/iommu/smmu3.0x0000000009050000",
  [`${PCI}/0000:01:00.0/sriov_totalvfs`]: "8\n",
  [`${PCI}/0000:01:00.0/sriov_numvfs`]: "2\n",
  [`${PCI}/0000:01:00.0/config`]: configSpace([0x10, 0, 0], [0x0f, 0x20, 0x8000], [
    0x1b,
    0x1406,
    1,
  ]),
};

function virtualFunction(index: number, group: string): Record<string, Content> {
  const address = `0000:01:10.${index}`;
  const at = `${PCI}/${address}`;
  return {
    [`${at}/vendor`]: "0x8086\n",
    [`${at}/device`]: "0x10ca\n",
    [`${at}/class`]: "0x020000\n",
    [`${at}/driver`]: "-> ../../../bus/pci/drivers/vfio-pci",
    [`${at}/iommu_group`]: `-> ../../../kernel/iommu_groups/${group}`,
    [`${at}/iommu`]: "-> ../../../class/iommu/smmu3.0x0000000009050000",
    [`${at}/physfn`]: "-> ../0000:01:00.0",
    [`${at}/config`]: configSpace([0x0f, 0x20, 0]),
    [`${at}/vfio-dev/vfio${index}/dev`]: `511:${index}\n`,
    [`${GROUP}/${group}/type`]: "DMA\n",
    [`${GROUP}/${group}/reserved_regions`]: "0x0000000008000000 0x00000000080fffff msi\n",
    [`${GROUP}/${group}/devices/${address}`]: `-> ../../../../devices/${address}`,
  };
}
