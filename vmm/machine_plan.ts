/**
 * Everything about a machine that can be decided before anything of it runs.
 * @module
 */
import type { Features } from "../hw/smmuv3/features.ts";
import type {
  BarChoice,
  DeviceConfiguration,
  InterruptKind,
  IommufdKind,
} from "./device_configuration.ts";
import type { Provisioned } from "./provision/provision.ts";
import type { RegisterKind, RegisterMode } from "./register_page.ts";
import { type Board, chooseBoard } from "./qemu/board.ts";
import type { HostDevice } from "./vfio/host_device.ts";
import type { PasidChoice } from "./vfio/pasid_choice.ts";
import { endpointSlots, type MachineConfiguration } from "./qemu/machine_arguments.ts";
import type { RuntimeDirectory } from "./qemu/runtime_directory.ts";

/** What the SMMU offers to endpoints that translate for themselves, and ask for pages. */
export const ATS_FEATURES: Partial<Features> = { ats: true, pri: true };

/** Registers that trap, that are memory, or that are memory where it is known to work. */
export type RegisterChoice = RegisterKind | "auto";

/** What may be chosen about a machine. */
export interface MachineChoice {
  readonly cpuCount: number;
  readonly memoryMiB: number;
  /** Whether its memory is of the host's huge pages of 2 MiB. */
  readonly hugePages?: boolean;
  /** The guest kernel's command line. */
  readonly commandLine: string;
  /** How the disk interrupts. */
  readonly interrupts: InterruptKind;
  readonly features?: Partial<Features>;
  /** How the guest reaches the registers of the SMMU; `trapped` by default. */
  readonly registers?: RegisterChoice;
  /** What is behind the SMMU. */
  readonly iommufd: IommufdKind;
  /** Whether each endpoint is behind a root port of its own, so that the guest numbers the buses. */
  readonly rootPorts?: boolean;
  /** Whether the DMA test device translates for itself, and asks for pages. */
  readonly ats?: boolean;
  /** Functions of the host that the guest gets; with any, the kernel's iommufd is behind the SMMU. */
  readonly assign?: readonly HostDevice[];
  /** Whether they are shown a PASID capability; `auto` by default. */
  readonly pasid?: PasidChoice;
  /** How the guest reaches their registers; `mapped` by default. */
  readonly bars?: BarChoice;
}

/** Where an endpoint is for the guest; behind a root port, where Linux puts it at first. */
export interface Place {
  /** Its PCI address, such as `0000:00:01.0`. */
  readonly address: string;
  readonly streamId: number;
}

/** A machine and its devices, made for each other. */
export interface MachinePlan {
  /** For QEMU. */
  readonly machine: MachineConfiguration;
  /** For the device thread. */
  readonly devices: DeviceConfiguration;
  readonly disk: Place;
  readonly dmaTest: Place;
  /** The functions of the host, in their order. */
  readonly assigned: readonly Place[];
}

/** Plans a machine of these parts, with its sockets in `directory` and the image at `imagePath` as its disk. */
export function planMachine(
  choice: MachineChoice,
  parts: Provisioned,
  directory: RuntimeDirectory,
  imagePath: string,
): MachinePlan {
  const { cpuCount, memoryMiB, commandLine, interrupts, assign = [] } = choice;
  const { pasid = "auto", bars = "mapped", ats = false } = choice;
  const features = ats ? { ...choice.features, ...ATS_FEATURES } : choice.features;
  const behindPort = choice.rootPorts ?? false;
  const iommufd = assign.length > 0 ? "kernel" : choice.iommufd;
  const board = chooseBoard(cpuCount);
  const registers = chooseRegisters(choice.registers ?? "trapped", board, features);
  const slots = endpointSlots(2 + assign.length);
  const places = endpointPlaces(2 + assign.length, behindPort)
    .map((place, at) => ({ ...place, slot: slots[at], behindPort }));
  const disk = { socketPath: directory.file("disk.sock"), ...places[0] };
  const dmaTest = { socketPath: directory.file("dma.sock"), ...places[1] };
  const assigned = assign.map(({ devicePath, msiWindow }, i) => ({
    devicePath,
    // What the device writes there passes the guest's stage 1 first.
    ...(msiWindow ? { direct: msiWindow } : {}),
    socketPath: directory.file(`vfio${i}.sock`),
    ...places[2 + i],
  }));
  const sockets = {
    smmuSocketPath: directory.file("smmu.sock"),
    ...(registers !== "trapped"
      ? { smmuMemorySocketPath: directory.file("smmu-memory.sock") }
      : {}),
  };
  return {
    machine: {
      board,
      cpuCount,
      memoryMiB,
      ...(choice.hugePages ? { hugePages: true } : {}),
      kernelPath: parts.kernel.path,
      initrdPath: parts.initrd,
      commandLine,
      ...sockets,
      endpoints: [disk, dmaTest, ...assigned],
      messages: registers !== "trapped",
      ats,
    },
    devices: {
      ...sockets,
      iommufd,
      registers,
      ...(features ? { features } : {}),
      endpoints: [
        { ...disk, kind: "virtio-blk" as const, imagePath, interrupts },
        { ...dmaTest, kind: "dma-test" as const, ats },
        ...assigned.map((one) => ({ ...one, kind: "vfio" as const, pasid, bars })),
      ].map((one) => behindPort ? { ...one, streamId: place(0, one.slot).streamId } : one),
    },
    disk,
    dmaTest,
    assigned,
  };
}

/**
 * Messages are needed, because QEMU takes memory away from a function whose wire is asserted. Under KVM a guest's
 * accesses to Device memory bypass the caches unless its processor overrides the guest (FEAT_S2FWB), and nothing tells
 * a program whether it does: that is for somebody who knows to choose.
 */
function chooseRegisters(
  choice: RegisterChoice,
  { accelerator }: Board,
  features: Partial<Features> | undefined,
): RegisterMode {
  if (choice !== "auto") return choice;
  return accelerator === "tcg" && (features?.msi ?? true) ? "adaptive" : "trapped";
}

/** Where the first `count` endpoints of a machine are; behind root ports, where Linux puts them at first. */
export function endpointPlaces(count: number, behindPort: boolean): Place[] {
  const slots = endpointSlots(count);
  return slots.map((slot, at) => behindPort ? place(1 + at, 0) : place(0, slot));
}

function place(bus: number, slot: number): Place {
  const [b, s] = [bus, slot].map((number) => number.toString(16).padStart(2, "0"));
  return { address: `0000:${b}:${s}.0`, streamId: bus << 8 | slot << 3 };
}
