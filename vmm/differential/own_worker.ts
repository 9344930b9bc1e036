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
import { RegisterPage } from "../register_page.ts";
import { serveThread, type ServingSurroundings } from "../serve_thread.ts";
import { DmaWriteMsi } from "../vfio_user/dma_write_msi.ts";
import { Intx } from "../vfio_user/intx.ts";
import { VfioUserServer } from "../vfio_user/server.ts";
import { UNCHANGING, type Watched } from "../watcher.ts";
import { runWatching } from "../watching_loop.ts";
import { CopyDevice } from "./copy_device.ts";
import { WRITERS } from "./ground.ts";
import { PEER_FEATURES } from "./own_subject.ts";
import type { OwnStart } from "./own_thread.ts";

/** The registers as memory; each look is counted when it is done. */
class CountedLooks implements Watched {
  readonly #smmu: SmmuV3;
  readonly #client: { readonly isConnected: boolean };
  readonly #looks: Int32Array;

  constructor(
    smmu: SmmuV3,
    client: { readonly isConnected: boolean },
    looks: SharedArrayBuffer,
  ) {
    this.#smmu = smmu;
    this.#client = client;
    this.#looks = new Int32Array(looks);
  }

  /** Nobody asks. */
  readonly trapped = 0;
  readonly found = 0;

  get isUsed(): boolean {
    return this.#client.isConnected;
  }

  look(): boolean {
    const found = this.#smmu.look() > 0;
    Atomics.add(this.#looks, 0, 1);
    Atomics.notify(this.#looks, 0);
    return found;
  }

  /** Not counted: it does not go on through the whole space. */
  glance(): boolean {
    return this.#smmu.glance() > 0;
  }
}

serveThread(serve);

function serve(
  { sockets, looks }: OwnStart,
  { poller, log, ready }: ServingSurroundings<never>,
): void {
  using stack = new DisposableStack();
  const memory = new GuestRam();
  const guestRam = new GuestRamMap(memory, { log });
  const page = looks && stack.use(new RegisterPage());
  const smmu = new SmmuV3({ memory, features: PEER_FEATURES, page: page?.buffer });
  const serveAt = (
    pci: PciFunction,
    socketPath: string,
    intx: Intx,
    mapped?: RegisterPage["mapped"],
  ): VfioUserServer => {
    const server = new VfioUserServer(pci, {
      ...{ socketPath, guestRam, log, intx, msi: new DmaWriteMsi() },
      ...(mapped ? { mapped } : {}),
    });
    stack.use(server).register(poller);
    return server;
  };
  const irq = new Intx();
  const resetDevice = (): void => smmu.reset();
  const carrier = new RegisterCarrier({ name: "smmu", device: smmu, irq, resetDevice });
  const server = serveAt(carrier, sockets.smmu, irq, page?.mapped);
  for (const [streamId, path] of sockets.functions) {
    const requester = { streamId, substreamId: -1 };
    const { dma } = smmu;
    const pci = WRITERS.includes(streamId)
      ? new DmaTestDevice({ requester, dma, memory })
      : new CopyDevice(requester, dma);
    serveAt(pci, path, new Intx());
  }
  ready();
  if (looks === undefined) poller.run();
  else runWatching(poller, new CountedLooks(smmu, server, looks), UNCHANGING);
}
