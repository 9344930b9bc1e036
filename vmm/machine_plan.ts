/**
 * Everything about a machine that can be decided before anything of it runs.
 * @module
 */
import type { Features } from "../hw/smmuv3/features.ts";
import type { DeviceConfiguration, InterruptKind, IommufdKind } from "./machine.ts";
import type { Provisioned } from "./provision/provision.ts";
import { chooseBoard } from "./qemu/board.ts";
import type { HostDevice } from "./vfio/host_device.ts";
import type { PasidChoice } from "./vfio/pasid_choice.ts";
import { endpointSlots, type MachineConfiguration } from "./qemu/machine_arguments.ts";
import type { RuntimeDirectory } from "./qemu/runtime_directory.ts";

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
  /** What is behind the SMMU. */
  readonly iommufd: IommufdKind;
  /** Functions of the host that the guest gets; with any, the kernel's iommufd is behind the SMMU. */
  readonly assign?: readonly HostDevice[];
  /** Whether they are shown a PASID capability; `auto` by default. */
  readonly pasid?: PasidChoice;
}

/** Where an endpoint is for the guest. */
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
  const { cpuCount, memoryMiB, commandLine, interrupts, features, assign = [], pasid = "auto" } =
    choice;
  const iommufd = assign.length > 0 ? "kernel" : choice.iommufd;
  const [diskSlot, dmaTestSlot, ...slots] = endpointSlots(2 + assign.length);
  const disk = { slot: diskSlot, socketPath: directory.file("disk.sock"), ...place(diskSlot) };
  const dmaTest = {
    slot: dmaTestSlot,
    socketPath: directory.file("dma.sock"),
    ...place(dmaTestSlot),
  };
  const assigned = assign.map(({ devicePath, msiWindow }, i) => ({
    devicePath,
    // What the device writes there passes the guest's stage 1 first.
    ...(msiWindow ? { direct: msiWindow } : {}),
    slot: slots[i],
    socketPath: directory.file(`vfio${i}.sock`),
    ...place(slots[i]),
  }));
  const smmuSocketPath = directory.file("smmu.sock");
  return {
    machine: {
      board: chooseBoard(cpuCount),
      cpuCount,
      memoryMiB,
      ...(choice.hugePages ? { hugePages: true } : {}),
      kernelPath: parts.kernel.path,
      initrdPath: parts.initrd,
      commandLine,
      smmuSocketPath,
      endpoints: [disk, dmaTest, ...assigned],
    },
    devices: {
      smmuSocketPath,
      iommufd,
      ...(features ? { features } : {}),
      endpoints: [
        { ...disk, kind: "virtio-blk", imagePath, interrupts },
        { ...dmaTest, kind: "dma-test" },
        ...assigned.map((one) => ({ ...one, kind: "vfio" as const, pasid })),
      ],
    },
    disk,
    dmaTest,
    assigned,
  };
}

function place(slot: number): Place {
  const hex = slot.toString(16).padStart(2, "0");
  return { address: `0000:00:${hex}.0`, streamId: slot * 8 };
}
