/**
 * What of the machine depends on the host: accelerator, processor and interrupt controller.
 * @module
 */
import { HostFile } from "../../uapi/file.ts";

/** A choice of QEMU's accelerator, processor model and interrupt controller that work together. */
export interface Board {
  /** `kvm` runs the guest on the host's processors, `tcg` translates it. */
  readonly accelerator: "kvm" | "tcg";
  /** QEMU's `-cpu`. */
  readonly cpu: string;
  /** QEMU's `gic-version`. */
  readonly gicVersion: "2" | "3" | "host";
  /** Whether the guest begins at EL2, and can be a host itself. */
  readonly virtualization?: boolean;
}

/** A GICv2 has eight processor interfaces. IHI 0048B §1.4. */
const GICV2_CPU_MAX = 8;

/**
 * Chooses for a guest with `cpuCount` processors. Our endpoints send messages to a GICv2m frame. A GICv2 always has one,
 * and nothing besides; a GICv3 is for what a GICv2 cannot do.
 */
export function chooseBoard(cpuCount: number, accelerator = bestAccelerator()): Board {
  if (accelerator === "kvm") return { accelerator, cpu: "host", gicVersion: "host" };
  return {
    accelerator,
    // Boots a sixth faster under TCG than `max`, whose pointer authentication and newer extensions cost time.
    cpu: "neoverse-n1",
    gicVersion: cpuCount <= GICV2_CPU_MAX ? "2" : "3",
  };
}

/** `kvm` on an arm64 Linux host that lets us open `/dev/kvm`, otherwise `tcg`. */
export function bestAccelerator(): Board["accelerator"] {
  if (Deno.build.os !== "linux" || Deno.build.arch !== "aarch64") return "tcg";
  try {
    // Deno itself opens device files only under --allow-all.
    new HostFile("/dev/kvm")[Symbol.dispose]();
    return "kvm";
  } catch {
    return "tcg";
  }
}
