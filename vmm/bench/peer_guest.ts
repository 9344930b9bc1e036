/**
 * The same guest behind the SMMUv3 that QEMU has in its own process, or behind none. QEMU docs/system/arm/virt.rst, `iommu`.
 * @module
 */
import { EnvironmentError } from "../environment_error.ts";
import { commandLineOf } from "../guest_command_line.ts";
import type { GuestEvent } from "../provision/guest_console.ts";
import { type Provisioned, workingDisk } from "../provision/provision.ts";
import { chooseBoard } from "../qemu/board.ts";
import { memoryBackend } from "../qemu/machine_arguments.ts";
import { runGuest } from "../qemu/run_guest.ts";

/** What to run. */
export interface PeerGuest {
  readonly parts: Provisioned;
  readonly hasSmmu: boolean;
  readonly cpuCount: number;
  readonly memoryMiB: number;
  /** Whether its memory is of the host's huge pages of 2 MiB. */
  readonly hugePages?: boolean;
  /** What our initramfs does. */
  readonly actions: readonly string[];
  /** MiB that `bench` reads each time. */
  readonly benchMiB: number;
  /** Added to the guest kernel's command line. */
  readonly append: string;
  /** Seconds after which a guest that has not ended is ended. */
  readonly timeoutSeconds: number;
  /** Resolves when a guest with `vsmmu.turns=1` may measure again; it has ended its turn. */
  readonly turn?: () => Promise<void>;
  /** Takes the guest's console, line by line. */
  readonly console: (line: string) => void;
  readonly signal: AbortSignal;
}

/** Runs it to its end; returns what the guest said. Throws an `EnvironmentError` when it did not do all it was told. */
export async function runPeerGuest(guest: PeerGuest): Promise<GuestEvent[]> {
  const { parts } = guest;
  using disk = await workingDisk(parts);
  const { events, end } = await runGuest(
    parts.qemu.tool,
    peerArguments(guest, disk.path),
    guest,
  );
  if (events.some(({ kind }) => kind === "done")) return events;
  const failure = events.find((event) => event.kind === "fail");
  throw new EnvironmentError(`Cannot measure QEMU's own devices: ${failure?.reason ?? end}`);
}

/** QEMU's command line: a disk, and a device of the same identity as our DMA test device, are behind its SMMU. */
export function peerArguments(
  guest: Omit<PeerGuest, "signal" | "timeoutSeconds" | "console">,
  diskPath: string,
): string[] {
  const { parts, hasSmmu, cpuCount, memoryMiB, hugePages } = guest;
  const { accelerator, cpu, gicVersion } = chooseBoard(cpuCount);
  return [
    ...["-nodefaults", "-no-user-config", "-display", "none", "-no-reboot"],
    ...["-machine", `virt,gic-version=${gicVersion}${hasSmmu ? ",iommu=smmuv3" : ""}`],
    ...["-accel", accelerator === "tcg" ? "tcg,thread=multi" : accelerator, "-cpu", cpu],
    ...["-smp", String(cpuCount), "-m", `${memoryMiB}M`],
    ...(hugePages ? ["-object", memoryBackend(guest), "-machine", "memory-backend=ram"] : []),
    ...["-kernel", parts.kernel.path, "-initrd", parts.initrd],
    ...["-append", commandLineOf(guest)],
    ...["-chardev", "stdio,id=console,signal=off", "-serial", "chardev:console"],
    // Writes wait for the disk only at a flush, as ours do.
    ...[
      "-blockdev",
      JSON.stringify({
        driver: "raw",
        "node-name": "disk",
        file: { driver: "file", filename: diskPath },
      }),
    ],
    ...["-device", "virtio-blk-pci,drive=disk,disable-legacy=on,iommu_platform=on"],
    ...["-device", "iommu-testdev"],
  ];
}
