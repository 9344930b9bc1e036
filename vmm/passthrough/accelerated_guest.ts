/**
 * The peer: the same guest and function under QEMU's own accelerated SMMUv3. QEMU docs/system/arm/virt.rst, `arm-smmuv3`.
 * @module
 */
import { EnvironmentError } from "../environment_error.ts";
import type { GuestEvent } from "../provision/guest_console.ts";
import { memoryBackend } from "../qemu/machine_arguments.ts";
import { runGuest } from "../qemu/run_guest.ts";
import type { Tool } from "../tool.ts";

/** What to run. */
export interface AcceleratedGuest {
  readonly qemu: Tool;
  /** UEFI: this SMMU wants ACPI. */
  readonly firmwarePath: string;
  readonly kernelPath: string;
  readonly initrdPath: string;
  readonly commandLine: string;
  readonly cpuCount: number;
  readonly memoryMiB: number;
  readonly hugePages: boolean;
  /** PCI address of the function. */
  readonly address: string;
  readonly timeoutSeconds: number;
  /** Takes the guest's console, line by line. */
  readonly console: (line: string) => void;
  readonly signal: AbortSignal;
}

/** Runs it to its end; returns what the guest said. Throws an `EnvironmentError` when it did not do all it was told. */
export async function runAccelerated(guest: AcceleratedGuest): Promise<GuestEvent[]> {
  const { events, end } = await runGuest(guest.qemu, acceleratedArguments(guest), guest);
  if (events.some(({ kind }) => kind === "done")) return events;
  throw new EnvironmentError(
    `The guest of QEMU's own SMMUv3 did not do all it was told: ${end}`,
  );
}

/** QEMU's command line. */
export function acceleratedArguments(
  guest: Omit<AcceleratedGuest, "signal" | "console">,
): string[] {
  return [
    ...["-nodefaults", "-no-user-config", "-display", "none", "-no-reboot"],
    ...["-M", "virt,gic-version=3,memory-backend=ram", "-accel", "kvm", "-cpu", "host"],
    ...["-smp", String(guest.cpuCount), "-m", `${guest.memoryMiB}M`],
    ...["-object", memoryBackend(guest)],
    ...["-bios", guest.firmwarePath, "-kernel", guest.kernelPath, "-initrd", guest.initrdPath],
    ...["-append", guest.commandLine],
    ...["-chardev", "stdio,id=console,signal=off", "-serial", "chardev:console"],
    ...["-device", "arm-smmuv3,primary-bus=pcie.0,id=smmu0,accel=on"],
    ...["-object", "iommufd,id=iommufd0"],
    ...["-device", "pcie-root-port,id=rp2,bus=pcie.0,chassis=2,slot=2"],
    ...["-device", `vfio-pci,host=${guest.address},bus=rp2,iommufd=iommufd0`],
  ];
}
