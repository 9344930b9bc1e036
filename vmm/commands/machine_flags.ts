/**
 * Flags that all commands with a machine have.
 * @module
 */
import type { Features } from "../../hw/smmuv3/features.ts";
import type { BarChoice, InterruptKind, IommufdKind } from "../device_configuration.ts";
import type { RegisterChoice } from "../machine_plan.ts";
import type { ProvisionOptions } from "../provision/provision.ts";
import type { PasidChoice } from "../vfio/pasid_choice.ts";
import type { Flag, Values } from "./command.ts";
import { FEATURES_FLAG, featuresOf } from "./features_flag.ts";

/** Where the parts of a machine come from. */
export const PARTS_FLAGS: Readonly<Record<string, Flag>> = {
  qemu: { value: "PATH", help: "Your own qemu-system-aarch64, 10.1 or newer, instead of Debian's" },
  kernel: {
    value: "PATH|VERSION",
    help:
      "Your own arm64 Image, or a version of Debian's: 6.12, 7.3-16k for pages of 16 KiB, 7.3-rt for real-time scheduling; the newest by default",
  },
  initrd: { value: "PATH", help: "Your own initramfs; then only the end of the guest is judged" },
  disk: { value: "PATH", help: "Your own raw disk image, written in place" },
  cache: { value: "DIR", help: "Where parts are kept; $XDG_CACHE_HOME/vsmmu by default" },
  mirror: { value: "URI", help: "A Debian mirror instead of the machine's own" },
  verify: { help: "Read every byte of the cached parts, not only sizes and times" },
  refresh: { help: "Make all parts anew, from the newest packages" },
};

/** Whether functions of the host are shown a PASID capability. */
export const PASID_FLAG: Readonly<Record<string, Flag>> = {
  pasid: {
    value: "CHOICE",
    help:
      "Whether they get a PASID capability: auto (default) where the host has PASIDs for them, off, or force, for tests",
  },
};

/** What the flag says. Throws `UsageError`. */
export function pasidOf(values: Values): PasidChoice {
  return values.choice("pasid", "auto", ["auto", "off", "force"]);
}

/** How the guest reaches the registers of functions of the host. */
export const BARS_FLAG: Readonly<Record<string, Flag>> = {
  bars: {
    value: "KIND",
    help:
      "How the guest reaches their registers: mapped (default), or trapped, so that the host can have them back from a " +
      "VMM that cannot unplug them",
  },
};

/** What the flag says. Throws `UsageError`. */
export function barsOf(values: Values): BarChoice {
  return values.choice("bars", "mapped", ["mapped", "trapped"]);
}

/** How the guest reaches the registers of the SMMU. */
export const REGISTERS_FLAG: Readonly<Record<string, Flag>> = {
  registers: {
    value: "KIND",
    help:
      "How the guest reaches the SMMU's registers: trapped (default), mapped for memory without traps, or auto for whichever does more",
  },
};

/** What the flag says. Throws `UsageError`. */
export function registersOf(values: Values): RegisterChoice {
  return values.choice("registers", "trapped", ["trapped", "mapped", "auto"]);
}

/** What the guest's memory is of. */
export const HUGE_PAGES_FLAG: Readonly<Record<string, Flag>> = {
  "huge-pages": { help: "The guest's memory is of the host's huge pages of 2 MiB" },
};

/** Where functions are on the PCI bus. */
export const ROOT_PORTS_FLAG: Readonly<Record<string, Flag>> = {
  "root-ports": {
    help:
      "Each function is behind a root port of its own: the guest numbers the buses, and the StreamIDs follow",
  },
};

/** The processors and memory of the guest. */
export const GUEST_FLAGS: Readonly<Record<string, Flag>> = {
  smp: { value: "N", help: "Processors of the guest, 1 to 64; 2 by default" },
  memory: { value: "MIB", help: "Memory of the guest, 256 to 65536; 1024 by default" },
  ...HUGE_PAGES_FLAG,
  append: { value: "WORDS", help: "Added to the guest kernel's command line" },
  interrupts: { value: "KIND", help: "How the disk interrupts: msix (default) or intx" },
  iommufd: {
    value: "KIND",
    help:
      "What is behind the SMMU: model (default), an iommufd in this process that uses the guest's tables, or none",
  },
  ...FEATURES_FLAG,
  ...REGISTERS_FLAG,
  assign: {
    value: "DEVICE,…",
    help:
      "Functions of this host that the guest gets, by PCI address or as /dev/vfio/devices/vfio0; the kernel's iommufd is behind the SMMU then",
  },
  ...ROOT_PORTS_FLAG,
  ...PASID_FLAG,
  ...BARS_FLAG,
  ats: { help: "The SMMU has ATS and PRI, and the DMA test device uses both: --run ats" },
};

/** What the flags say about parts. */
export function partsOf(values: Values): ProvisionOptions {
  return {
    qemu: values.text("qemu"),
    kernel: values.text("kernel"),
    initrd: values.text("initrd"),
    disk: values.text("disk"),
    cacheDir: values.text("cache"),
    archive: values.text("mirror"),
    verify: values.on("verify"),
    refresh: values.on("refresh"),
  };
}

/** A guest as the flags have it. */
export interface Guest {
  readonly cpuCount: number;
  readonly memoryMiB: number;
  readonly hugePages: boolean;
  /** Added to the guest kernel's command line. */
  readonly append: string;
  readonly interrupts: InterruptKind;
  readonly iommufd: IommufdKind;
  /** Features of the SMMU other than the defaults. */
  readonly features?: Partial<Features>;
  readonly registers: RegisterChoice;
  readonly assign: readonly string[];
  readonly rootPorts: boolean;
  readonly pasid: PasidChoice;
  readonly bars: BarChoice;
  readonly ats: boolean;
}

/** What the flags say about the guest. Throws `UsageError`. */
export function guestOf(values: Values): Guest {
  const features = featuresOf(values);
  return {
    cpuCount: values.integer("smp", 2, 1, 64),
    memoryMiB: values.integer("memory", 1024, 256, 65536),
    hugePages: values.on("huge-pages"),
    append: values.text("append") ?? "",
    interrupts: values.choice("interrupts", "msix", ["msix", "intx"]),
    iommufd: values.choice("iommufd", "model", ["model", "none"]),
    ...(features ? { features } : {}),
    registers: registersOf(values),
    assign: (values.text("assign") ?? "").split(",").filter((path) => path !== ""),
    rootPorts: values.on("root-ports"),
    pasid: pasidOf(values),
    bars: barsOf(values),
    ats: values.on("ats"),
  };
}
