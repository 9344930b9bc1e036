/**
 * The PCI functions that carry an SMMU's registers: one whose accesses trap, and one whose registers are memory, or both in
 * one.
 * @module
 */
import type { IrqLine, MmioDevice } from "../hw/device.ts";
import type { PciFunction } from "../hw/pci/function.ts";
import { RegisterCarrier } from "../hw/pci/register_carrier.ts";
import type { SmmuV3 } from "../hw/smmuv3/smmuv3.ts";
import type { Counters } from "./counters.ts";
import type { RegisterPage } from "./register_page.ts";
import type { DmaWriteMsi } from "./vfio_user/dma_write_msi.ts";
import { Intx } from "./vfio_user/intx.ts";
import type {
  VfioUserObserver,
  VfioUserServer,
  VfioUserServerOptions,
} from "./vfio_user/server.ts";
import { WatchedRegisters } from "./watched_registers.ts";
import type { Watched } from "./watcher.ts";

/** What is to be carried, and how. */
export interface CarriedSmmu {
  readonly smmu: SmmuV3;
  /** The door of its registers. */
  readonly door: MmioDevice;
  /** Called when the function is reset. */
  readonly reset: () => void;
  readonly msi: DmaWriteMsi;
  readonly counters: Counters;
  /** Where the function listens. */
  readonly socketPath: string;
  /** The registers as memory, if there are such; in BAR0 of a function of its own where that has a socket. */
  readonly page: RegisterPage | undefined;
  readonly memorySocketPath: string | undefined;
  /** Serves a function. */
  readonly serve: (
    pci: PciFunction,
    socketPath: string,
    connections: Pick<VfioUserServerOptions, "intx" | "msi" | "mapped">,
    observer: VfioUserObserver,
  ) => VfioUserServer;
}

/** What serves them. */
export interface RegisterFunctions {
  /** The SMMU's wire. */
  readonly interrupt: IrqLine;
  /** What the thread is to look at, where registers are memory. */
  readonly watched: Watched | undefined;
}

/**
 * Serves them. A client that maps anything of a function waits for each of its writes to that function; where memory has a
 * function of its own, writes that trap are posted. Throws `SystemError`.
 */
export function serveRegisters(carried: CarriedSmmu): RegisterFunctions {
  const { smmu, door, reset, msi, counters, socketPath, page, memorySocketPath, serve } = carried;
  const observer: VfioUserObserver = {
    barRead: (_bar, offset) => counters.access(false, offset),
    barWrite: (_bar, offset) => counters.access(true, offset),
  };
  const client = {
    get isConnected(): boolean {
      return memory.isConnected;
    },
  };
  const watched = page && new WatchedRegisters(smmu, door, client, counters);
  const device = watched ?? door;
  const intx = new Intx();
  const carrier = new RegisterCarrier({ name: "smmu", device, irq: intx, resetDevice: reset });
  const mapped = page ? { mapped: page.mapped } : {};
  const isApart = memorySocketPath !== undefined;
  const server = serve(carrier, socketPath, { intx, msi, ...(isApart ? {} : mapped) }, observer);
  const memory = isApart
    ? serve(
      new RegisterCarrier({ name: "smmu-memory", device }),
      memorySocketPath,
      mapped,
      observer,
    )
    : server;
  return { interrupt: carrier.interrupt, watched };
}
