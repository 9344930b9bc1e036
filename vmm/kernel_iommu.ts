/**
 * The hardware behind assigned functions: the kernel's iommufd, and the guest's tables handed to it.
 * @module
 */
import type { Features } from "../hw/smmuv3/features.ts";
import { IOMMU_HW_INFO_TYPE } from "../uapi/iommufd/mod.ts";
import type { Poller } from "../uapi/poll.ts";
import { EnvironmentError } from "./environment_error.ts";
import { guestFeatures } from "./host_iommu/guest_features.ts";
import { type HostIdentity, hostIdentity } from "./host_iommu/host_identity.ts";
import { NestedHost, type StreamMove } from "./host_iommu/nested.ts";
import type { HwInfo } from "./iommufd/iommufd.ts";
import { KernelIommufd } from "./iommufd/kernel.ts";
import type { KernelDevice } from "./iommufd/kernel_device.ts";
import { type IommufdObserver, ObservedIommufd } from "./iommufd/observed.ts";

/** A function of the host that a guest gets. */
export interface AssignedStream {
  /** Its character device, such as `/dev/vfio/devices/vfio0`. */
  readonly devicePath: string;
  /** The guest's StreamID of it. */
  readonly streamId: number;
}

/** What the SMMU of a host says, and what a guest can be offered there. */
export interface HostOffer {
  readonly identity: HostIdentity;
  readonly features: Features;
}

/** What it is made of. */
export interface KernelIommuOptions {
  /** Waits for events of the hardware. */
  readonly poller: Poller;
  /** At least one; all behind the same physical SMMU. */
  readonly streams: readonly AssignedStream[];
  /** What the guest was offered. */
  readonly features: Features;
  /** Sees each call of the iommufd. */
  readonly calls: IommufdObserver;
  /** Takes one line for people about what was refused, or lost. */
  readonly log: (line: string) => void;
}

/**
 * Asks the SMMU in front of the device at `devicePath` what it has, and what of the features that are `asked` for a
 * guest can see. Throws `SystemError`, and an `EnvironmentError` that names both sides when it can not.
 */
export function offerOf(devicePath: string, asked: Partial<Features> = {}): HostOffer {
  using iommufd = KernelIommufd.open();
  using device = iommufd.bindVfio(devicePath);
  const { dataType, data } = iommufd.getHwInfo(device.devId);
  if (dataType !== IOMMU_HW_INFO_TYPE.ARM_SMMUV3) {
    throw new EnvironmentError(
      `Cannot give ${devicePath} to a guest: a guest's SMMUv3 needs an Arm SMMUv3 in front of it, ` +
        `but its IOMMU is of type ${dataType}`,
    );
  }
  const identity = hostIdentity(data);
  const { features, refusals } = guestFeatures(identity, asked);
  if (refusals.length > 0) {
    throw new EnvironmentError(
      `Cannot give ${devicePath} to such a guest`,
      refusals.map(({ message }) => message),
    );
  }
  return { identity, features };
}

/** The hardware. */
export class KernelIommu implements Disposable {
  /** For the guest's SMMU. */
  readonly host: NestedHost;
  readonly #kernel: KernelIommufd;
  readonly #devices = new Map<string, KernelDevice>();
  readonly #stack: DisposableStack;

  /** Takes the devices; throws `SystemError` when something is refused, and nothing is left then. */
  constructor({ poller, streams, features, calls, log }: KernelIommuOptions) {
    using stack = new DisposableStack();
    const kernel = stack.use(KernelIommufd.open("/dev/iommu", { poller }));
    this.#kernel = kernel;
    const iommufd = new ObservedIommufd(kernel, calls);
    const bound = streams.map(({ devicePath, streamId }) => ({
      name: devicePath,
      streamId,
      device: stack.use(iommufd.bind({ streamId }, () => {
        const device = kernel.bindVfio(devicePath);
        this.#devices.set(devicePath, device);
        return device;
      })),
    }));
    this.host = stack.use(new NestedHost({ iommufd, streams: bound, features, log }));
    this.#stack = stack.move();
  }

  /** The device that was opened at a path, and what the host tells of its IOMMU. Throws `SystemError`. */
  deviceAt(devicePath: string): { device: KernelDevice; info: HwInfo } | undefined {
    const device = this.#devices.get(devicePath);
    return device && { device, info: this.#kernel.getHwInfo(device.devId) };
  }

  /** The guest knows functions by other StreamIDs from now on; returns why that cannot be. */
  move(moves: readonly StreamMove[]): string | undefined {
    return this.host.move(moves);
  }

  /** The host takes a function back, which is closed when this returns. */
  withdraw(streamId: number): void {
    this.host.withdraw(streamId);
  }

  /** No endpoint of ours has its way to memory here: the SMMU is it. */
  port(): undefined {
    return undefined;
  }

  /** Takes everything down, and gives the devices back. */
  [Symbol.dispose](): void {
    this.#stack[Symbol.dispose]();
  }
}
