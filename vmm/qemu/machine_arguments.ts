/**
 * One configuration in, the arguments of QEMU out. QEMU `docs/system/invocation.rst`.
 * @module
 */
import type { Board } from "./board.ts";
import { CARRIAGE, sharesInterrupt } from "./carriage.ts";
import { EnvironmentError } from "../environment_error.ts";
import type { QemuFeatures } from "./qemu_features.ts";

/** A PCI function that we serve, on bus 0 with `slot * 8` as its StreamID, or alone behind a root port there. */
export interface Endpoint {
  /** Where its vfio-user server listens. */
  readonly socketPath: string;
  /** Of itself or of its root port: 1 to 30, and not one whose INTA is the line of the SMMU. */
  readonly slot: number;
  /** Whether a root port is before it, so that the guest chooses the number of its bus. */
  readonly behindPort?: boolean;
  /** IOVAs that the guest must map to the same addresses for this function, whatever its driver does. */
  readonly direct?: { readonly base: number; readonly sizeBytes: number };
  /** Whether software may have its transactions wait; what is PCI to its driver alone can. */
  readonly stalls?: boolean;
}

/** A guest and the devices that we serve it. */
export interface MachineConfiguration {
  readonly board: Board;
  readonly cpuCount: number;
  readonly memoryMiB: number;
  /** Whether its memory is of the host's huge pages of 2 MiB. */
  readonly hugePages?: boolean;
  /** Path of an arm64 Linux `Image`. */
  readonly kernelPath: string;
  /** Path of an initramfs. */
  readonly initrdPath?: string | undefined;
  /** The kernel's command line; what the board needs is added. */
  readonly commandLine: string;
  /** Where the vfio-user server of the function that carries the SMMU listens. */
  readonly smmuSocketPath: string;
  /** Where that of the function listens that has its registers as memory, if there is one. */
  readonly smmuMemorySocketPath?: string;
  readonly endpoints: readonly Endpoint[];
  /** Whether QEMU has functions of its own, whose accesses to memory pass the SMMU by. */
  readonly foreignFunctions?: boolean;
  /** Whether the SMMU sends messages to the GICv2m frame; otherwise its interrupt is a wire. */
  readonly messages?: boolean;
  /** Whether functions may translate for themselves, as far as the SMMU lets them. */
  readonly ats?: boolean;
}

/** Files of one run, all of them in its runtime directory. */
export interface MachinePaths {
  /** The guest's device tree, which must be there. */
  readonly deviceTree: string;
  /** Sockets that QEMU makes. */
  readonly qmp: string;
  readonly qtest: string;
}

/** Slots on bus 0 for `count` endpoints, lowest first, none of which shares the interrupt of the SMMU. */
export function endpointSlots(count: number): number[] {
  const slots: number[] = [];
  for (let slot = 1; slots.length < count; slot++) {
    if (slot >= CARRIAGE.expanderSlot) {
      throw new EnvironmentError(`Cannot place ${count} endpoints on one bus`);
    }
    if (!sharesInterrupt(slot)) slots.push(slot);
  }
  return slots;
}

/** The arguments with which QEMU writes its own device tree for this machine to `path` and ends. */
export function dumpArguments(machine: MachineConfiguration, path: string): string[] {
  return [...boardArguments(machine, `,dumpdtb=${escape(path)}`), "-display", "none"];
}

/**
 * The arguments with which QEMU makes the machine and waits for us: stopped, the console on its standard input and output,
 * and stopped again when the guest reboots or shuts down. Throws an `EnvironmentError` for a configuration that cannot work.
 */
export function machineArguments(
  machine: MachineConfiguration,
  paths: MachinePaths,
  features: QemuFeatures,
): string[] {
  check(machine);
  return [
    ...boardArguments(machine, ",memory-backend=ram"),
    ...["-object", memoryBackend(machine)],
    ...["-kernel", machine.kernelPath],
    ...(machine.initrdPath ? ["-initrd", machine.initrdPath] : []),
    ...["-append", kernelCommandLine(machine)],
    ...["-dtb", paths.deviceTree],
    ...functionArguments(machine),
    ...["-display", "none"],
    ...["-chardev", "stdio,id=console,signal=off", "-serial", "chardev:console"],
    ...["-action", "reboot=shutdown,shutdown=pause"],
    ...controlArguments(paths),
    ...protectionArguments(features),
  ];
}

/** The kernel's command line with what the board needs. */
export function kernelCommandLine({ board, commandLine }: MachineConfiguration): string {
  // QEMU's GICv3 claims LPIs without having the ITS that serves them, and Linux then passes over the GICv2m frame.
  return board.gicVersion === "2" ? commandLine : `${commandLine} irqchip.gicv3_nolpi=1`.trim();
}

/** QEMU's `ram` object: memory that has a file, as `IOMMU_IOAS_MAP_FILE` and vfio-user want it. */
export function memoryBackend(
  { memoryMiB, hugePages }: Pick<MachineConfiguration, "memoryMiB" | "hugePages">,
): string {
  const pages = hugePages ? ",hugetlb=on,hugetlbsize=2M" : "";
  return `memory-backend-memfd,id=ram,size=${memoryMiB}M,share=on${pages}`;
}

/** The functions that we serve, which the SMMU's registers are in one of. */
export function functionArguments(machine: MachineConfiguration): string[] {
  return [
    ...carriageArguments(machine),
    ...machine.endpoints.flatMap(endpointArguments),
  ];
}

/** Has QEMU wait for us, and obey. */
export function controlArguments(paths: Pick<MachinePaths, "qmp" | "qtest">): string[] {
  return [
    "-S",
    ...["-qmp", `unix:${escape(paths.qmp)},server=on,wait=off`],
    ...["-qtest", `unix:${escape(paths.qtest)},server=on,wait=off`, "-qtest-log", "none"],
  ];
}

/** The board without what is plugged into it; `more` is added to `-machine`. */
export function boardArguments(machine: MachineConfiguration, more: string): string[] {
  const { accelerator, cpu, gicVersion, virtualization } = machine.board;
  const msi = gicVersion === "2" ? "" : ",msi=gicv2m";
  const el2 = virtualization ? ",virtualization=on" : "";
  return [
    ...["-nodefaults", "-no-user-config"],
    ...["-machine", `virt,gic-version=${gicVersion}${msi}${el2}${more}`],
    ...["-accel", accelerator === "tcg" ? "tcg,thread=multi" : accelerator],
    ...["-cpu", cpu, "-smp", String(machine.cpuCount), "-m", `${machine.memoryMiB}M`],
  ];
}

function carriageArguments(
  { smmuSocketPath, smmuMemorySocketPath }: MachineConfiguration,
): string[] {
  const several = smmuMemorySocketPath ? { multifunction: true } : {};
  const expander = `pxb-pcie,id=smmu-bus,bus=pcie.0,addr=${CARRIAGE.expanderSlot.toString(16)}`;
  const port = `pcie-root-port,id=smmu-port,bus=smmu-bus,addr=${CARRIAGE.portSlot.toString(16)}`;
  return [
    ...["-device", `${expander},bus_nr=${CARRIAGE.portBus}`],
    ...["-device", `${port},chassis=1,slot=1`],
    ...["-device", vfioUser("smmu-port", "0", smmuSocketPath, several)],
    ...(smmuMemorySocketPath
      ? ["-device", vfioUser("smmu-port", `0.${CARRIAGE.memory}`, smmuMemorySocketPath)]
      : []),
  ];
}

function endpointArguments({ slot, socketPath, behindPort }: Endpoint): string[] {
  if (!behindPort) return ["-device", vfioUser("pcie.0", slot.toString(16), socketPath)];
  const id = `port${slot}`;
  // Chassis 1 has the port of the SMMU.
  const port = `pcie-root-port,id=${id},bus=pcie.0,addr=${
    slot.toString(16)
  },chassis=2,slot=${slot}`;
  return ["-device", port, "-device", vfioUser(id, "0", socketPath, { id: functionId(slot) })];
}

/** QEMU's name of the function behind the root port in `slot`. */
export function functionId(slot: number): string {
  return `function${slot}`;
}

/** In an emulated server our thread may have no processor for the 5 seconds after which QEMU gives up by itself. */
const REPLY_MS = 30_000;

/** QEMU's `-device` of a function that is served at `path`. */
export function vfioUser(bus: string, addr: string, path: string, more: object = {}): string {
  const socket = { type: "unix", path };
  const patience = { "x-msg-timeout": REPLY_MS };
  return JSON.stringify({ driver: "vfio-user-pci", ...more, bus, addr, socket, ...patience });
}

function protectionArguments({ hasSandbox, canExitWithParent }: QemuFeatures): string[] {
  return [
    ...(hasSandbox
      ? ["-sandbox", "on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny"]
      : []),
    ...(canExitWithParent ? ["-run-with", "exit-with-parent=on"] : []),
  ];
}

function check(machine: MachineConfiguration): void {
  const taken = new Set<number>();
  for (const { slot } of machine.endpoints) {
    const place = `Cannot place an endpoint in slot ${slot}`;
    if (!Number.isInteger(slot) || slot < 1 || slot >= CARRIAGE.expanderSlot) {
      throw new EnvironmentError(`${place}: slots are 1 to ${CARRIAGE.expanderSlot - 1}`);
    }
    if (sharesInterrupt(slot)) {
      throw new EnvironmentError(`${place}: its interrupt is that of the SMMU`);
    }
    if (taken.has(slot)) throw new EnvironmentError(`${place}: it is taken`);
    taken.add(slot);
  }
}

/** QEMU's option lists end a value at a comma, and take two for one. */
function escape(value: string): string {
  return value.replaceAll(",", ",,");
}
