/**
 * The thread of our SMMUv3 and its functions: one synchronous loop over their sockets.
 * @module
 */
import { DmaTestDevice } from "../../hw/endpoints/dma_test_device.ts";
import { GuestRam } from "../../hw/guest_memory.ts";
import type { PciFunction } from "../../hw/pci/function.ts";
import { RegisterCarrier } from "../../hw/pci/register_carrier.ts";
import { SmmuV3 } from "../../hw/smmuv3/smmuv3.ts";
import { GuestRamMap } from "../guest_ram_map.ts";
import { serveThread, type ServingSurroundings } from "../serve_thread.ts";
import { DmaWriteMsi } from "../vfio_user/dma_write_msi.ts";
import { Intx } from "../vfio_user/intx.ts";
import { VfioUserServer } from "../vfio_user/server.ts";
import { CopyDevice } from "./copy_device.ts";
import { WRITERS } from "./ground.ts";
import { PEER_FEATURES } from "./own_subject.ts";
import type { OwnStart } from "./own_thread.ts";

serveThread(serve);

function serve({ sockets }: OwnStart, { poller, log, ready }: ServingSurroundings<never>): void {
  using stack = new DisposableStack();
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
  ready();
  poller.run();
}
