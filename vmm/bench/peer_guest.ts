/**
 * The same guest behind the SMMUv3 that QEMU has in its own process. QEMU docs/system/arm/virt.rst, `iommu`.
 * @module
 */
import { EnvironmentError } from "../environment_error.ts";
import { GuestConsole, type GuestEvent } from "../provision/guest_console.ts";
import type { Provisioned } from "../provision/provision.ts";
import { chooseBoard } from "../qemu/board.ts";
import { describeEnd, QemuProcess } from "../qemu/qemu_process.ts";

/** What to run. */
export interface PeerGuest {
  readonly parts: Provisioned;
  readonly cpuCount: number;
  readonly memoryMiB: number;
  readonly commandLine: string;
  readonly timeoutSeconds: number;
  readonly signal: AbortSignal;
}

/** Runs it to its end; returns what the guest said. Throws an `EnvironmentError` when it did not do all it was told. */
export async function runPeerGuest(guest: PeerGuest): Promise<GuestEvent[]> {
  const { signal, timeoutSeconds, parts } = guest;
  const process = QemuProcess.start(parts.qemu.tool, peerArguments(guest));
  const stop = (): void => process.kill("SIGKILL");
  const timer = setTimeout(stop, timeoutSeconds * 1000);
  signal.addEventListener("abort", stop);
  const events: GuestEvent[] = [];
  try {
    const parser = new GuestConsole();
    for await (const line of process.console) {
      const event = parser.push(line);
      if (event !== undefined) events.push(event);
    }
    const status = await process.exited;
    signal.throwIfAborted();
    if (events.some(({ kind }) => kind === "done")) return events;
    const failure = events.find((event) => event.kind === "fail");
    throw new EnvironmentError(
      `Cannot measure QEMU's own SMMUv3: ${failure?.reason ?? describeEnd(process, status)}`,
    );
  } finally {
    clearTimeout(timer);
    signal.removeEventListener("abort", stop);
  }
}

/** QEMU's command line: a device of the same identity as our DMA test device is behind its SMMU. */
export function peerArguments(guest: Omit<PeerGuest, "signal" | "timeoutSeconds">): string[] {
  const { parts, cpuCount, memoryMiB, commandLine } = guest;
  const { accelerator, cpu, gicVersion } = chooseBoard(cpuCount);
  return [
    ...["-nodefaults", "-no-user-config", "-display", "none", "-no-reboot"],
    ...["-machine", `virt,gic-version=${gicVersion},iommu=smmuv3`],
    ...["-accel", accelerator === "tcg" ? "tcg,thread=multi" : accelerator, "-cpu", cpu],
    ...["-smp", String(cpuCount), "-m", `${memoryMiB}M`],
    ...["-kernel", parts.kernel.path, ...(parts.initrd ? ["-initrd", parts.initrd] : [])],
    ...["-append", commandLine],
    ...["-chardev", "stdio,id=console,signal=off", "-serial", "chardev:console"],
    ...["-device", "iommu-testdev"],
  ];
}
