/**
 * What the running kernel is, and which doors to devices it has.
 * @module
 */
import type { NodeState, Tree } from "./tree.ts";

/** The kernel. */
export interface KernelFacts {
  /** Such as `7.3.4`. */
  readonly release: string;
  /** Such as `aarch64`. */
  readonly architecture: string;
  /** The options that matter, `y`, `m` or `n`; absent when the kernel's configuration cannot be read. */
  readonly options?: Readonly<Record<string, string>> | undefined;
  /** `/dev/kvm`. */
  readonly kvm: NodeState;
  /** `/dev/iommu`. */
  readonly iommufd: NodeState;
  /** Whether iommufd takes devices whose interrupts are not isolated; absent when iommufd is not loaded. */
  readonly allowUnsafeInterrupts?: boolean | undefined;
  /** Whether the driver vfio-pci is loaded. */
  readonly hasVfioPci: boolean;
  /** Who describes the machine to the kernel. */
  readonly firmware: "ACPI" | "device tree" | "neither";
}

/** Options of the kernel that decide about assignment, without `CONFIG_`. */
export const OPTIONS = [
  "IOMMUFD",
  "ARM_SMMU_V3",
  "ARM_SMMU_V3_IOMMUFD",
  "ARM_SMMU_V3_SVA",
  "VFIO",
  "VFIO_PCI",
  "VFIO_DEVICE_CDEV",
  "PCI_ATS",
  "PCI_PASID",
  "KVM",
] as const;

/** Looks at the kernel. */
export async function kernelFacts(tree: Tree): Promise<KernelFacts> {
  const release = tree.text("/proc/sys/kernel/osrelease") ?? "unknown";
  const unsafe = tree.text("/sys/module/iommufd/parameters/allow_unsafe_interrupts");
  return {
    release,
    architecture: tree.text("/proc/sys/kernel/arch") ?? Deno.build.arch,
    options: await options(tree, release),
    kvm: tree.node("/dev/kvm"),
    iommufd: tree.node("/dev/iommu"),
    allowUnsafeInterrupts: unsafe === undefined ? undefined : unsafe === "Y",
    hasVfioPci: tree.has("/sys/bus/pci/drivers/vfio-pci"),
    firmware: tree.has("/sys/firmware/acpi/tables")
      ? "ACPI"
      : tree.has("/sys/firmware/devicetree/base")
      ? "device tree"
      : "neither",
  };
}

async function options(tree: Tree, release: string): Promise<Record<string, string> | undefined> {
  const packed = tree.bytes("/proc/config.gz");
  const text = packed === undefined
    ? tree.text(`/boot/config-${release}`) ?? tree.text(`/lib/modules/${release}/config`)
    : await gunzip(packed);
  if (text === undefined) return undefined;
  const set = new Map([...text.matchAll(/^CONFIG_(\w+)=([ym])$/gm)].map((m) => [m[1], m[2]]));
  return Object.fromEntries(OPTIONS.map((name) => [name, set.get(name) ?? "n"]));
}

async function gunzip(packed: Uint8Array<ArrayBuffer>): Promise<string> {
  const stream = new Blob([packed]).stream().pipeThrough(new DecompressionStream("gzip"));
  return await new Response(stream).text();
}
