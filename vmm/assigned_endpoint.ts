/**
 * A function of the host as an endpoint of the machine: made, served, and given back when the host wants it.
 * @module
 */
import type { DmaPort, Requester } from "../hw/device.ts";
import type { Poller } from "../uapi/poll.ts";
import type { EndpointConfiguration } from "./device_configuration.ts";
import type { KernelIommu } from "./kernel_iommu.ts";
import { AssignedFunction } from "./vfio/assigned_function.ts";
import { decidePasid } from "./vfio/pasid_choice.ts";
import { VmmRecall } from "./vfio/vmm_recall.ts";
import type { Intx } from "./vfio_user/intx.ts";
import { RequestLine } from "./vfio_user/request_line.ts";
import type { VfioUserServer, VfioUserServerOptions } from "./vfio_user/server.ts";

/** Such an endpoint, as it is configured. */
export type AssignedEndpoint = Extract<EndpointConfiguration, { kind: "vfio" }>;

/** What it needs of the machine. */
export interface AssignedSurroundings {
  /** The device, and what the host tells of its IOMMU. */
  readonly found: NonNullable<ReturnType<KernelIommu["deviceAt"]>>;
  /** log2 of the SubstreamIDs that the guest's SMMU has. */
  readonly ssidSize: number;
  /** As whom its messages are sent, and by which way. */
  readonly requester: Requester;
  readonly dma: DmaPort;
  /** Its wired interrupt. */
  readonly irq: Intx;
  readonly poller: Poller;
  /** Has the machine unplug it; by force when `isLast`. */
  readonly unplug: (isLast: boolean) => void;
  /** Takes the device from the hardware behind the SMMU, and closes it. */
  readonly withdraw: (streamId: number) => void;
  /** Serves it from now on. */
  readonly serve: (
    pci: AssignedFunction,
    connections: Pick<VfioUserServerOptions, "mapped" | "request">,
  ) => VfioUserServer;
  /** Takes one line for people. */
  readonly log: (line: string) => void;
}

/** The part of a character device's path that tells it from others. */
export function nameOf({ devicePath }: AssignedEndpoint): string {
  return devicePath.slice(devicePath.lastIndexOf("/") + 1);
}

/** Makes and serves it until `stack` is disposed. Throws `SystemError`. */
export function serveAssigned(
  endpoint: AssignedEndpoint,
  surroundings: AssignedSurroundings,
  stack: DisposableStack,
): void {
  const { behindPort, pasid = "auto", bars = "mapped" } = endpoint;
  const { found, ssidSize, requester, dma, irq, poller, unplug, withdraw, log } = surroundings;
  const request = new RequestLine();
  const recall: VmmRecall = new VmmRecall({
    request,
    isConnected: () => server.isConnected,
    unplug: behindPort ? unplug : undefined,
    isMapped: () => assigned.mapped.size > 0,
    release: () => {
      withdraw(requester.streamId);
      server.retire();
    },
    log,
  });
  const assigned: AssignedFunction = stack.use(
    new AssignedFunction({
      name: nameOf(endpoint),
      host: found.device.vfio,
      requester,
      dma,
      irq,
      pasid: decidePasid(pasid, found.info, ssidSize),
      recall,
      isMappable: bars === "mapped",
      poller,
      log,
    }),
  );
  const server = surroundings.serve(assigned, { mapped: assigned.mapped, request });
}
