/**
 * The thread of our SMMUv3 and its functions: one synchronous loop over their sockets.
 * @module
 */
import { DmaTestDevice } from "../../hw/endpoints/dma_test_device.ts";
import { GuestRam } from "../../hw/guest_memory.ts";
import type { PciFunction } from "../../hw/pci/function.ts";
import { RegisterCarrier } from "../../hw/pci/register_carrier.ts";
import { SmmuV3 } from "../../hw/smmuv3/smmuv3.ts";
import { SystemError } from "../../uapi/errno.ts";
import { Fd } from "../../uapi/fd.ts";
import { POLL, Poller } from "../../uapi/poll.ts";
import { GuestRamMap } from "../guest_ram_map.ts";
import { DmaWriteMsi } from "../vfio_user/dma_write_msi.ts";
import { Intx } from "../vfio_user/intx.ts";
import { VfioUserServer } from "../vfio_user/server.ts";
import { CopyDevice } from "./copy_device.ts";
import { WRITERS } from "./ground.ts";
import { PEER_FEATURES } from "./own_subject.ts";
import type { OwnMessage, OwnStart } from "./own_thread.ts";

const scope = self as unknown as {
  onmessage: ((event: MessageEvent<OwnStart>) => void) | null;
  postMessage(message: OwnMessage): void;
};

scope.onmessage = ({ data }): void => {
  try {
    serve(data);
    scope.postMessage({ kind: "ended" });
  } catch (error) {
    const isExpected = error instanceof SystemError || error instanceof RangeError;
    const failure = isExpected ? error.message : `A mistake of ours: ${(error as Error).stack}`;
    scope.postMessage({ kind: "ended", failure });
  }
};

function serve({ sockets, stopFd }: OwnStart): void {
  const poller = new Poller();
  const log = (line: string): void => scope.postMessage({ kind: "log", line });
  using stack = new DisposableStack();
  // The main thread owns the descriptor: it is watched here, and never closed.
  stack.use(poller.watch(new Fd(stopFd), POLL.IN, () => poller.stop()));
  const memory = new GuestRam();
  const guestRam = new GuestRamMap(memory, { log });
  const smmu = new SmmuV3({ memory, features: PEER_FEATURES });
  const serveAt = (pci: PciFunction, socketPath: string, intx: Intx): void => {
    const options = { socketPath, guestRam, log, intx, msi: new DmaWriteMsi() };
    stack.use(new VfioUserServer(pci, options)).register(poller);
  };
  const irq = new Intx();
  const resetDevice = (): void => smmu.reset();
  serveAt(new RegisterCarrier({ name: "smmu", device: smmu, irq, resetDevice }), sockets.smmu, irq);
  for (const [streamId, path] of sockets.functions) {
    const requester = { streamId, substreamId: -1 };
    const { dma } = smmu;
    const pci = WRITERS.includes(streamId)
      ? new DmaTestDevice({ requester, dma, memory })
      : new CopyDevice(requester, dma);
    serveAt(pci, path, new Intx());
  }
  scope.postMessage({ kind: "ready" });
  poller.run();
}
