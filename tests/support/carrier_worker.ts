/**
 * A thread that serves registers in a carrier over vfio-user, for tests with a real QEMU.
 *
 * The registers read as zero but for the first, and count what happens to them in shared memory.
 * @module
 */
/// <reference lib="deno.worker" />
import { GuestRam } from "../../hw/guest_memory.ts";
import { RegisterCarrier } from "../../hw/pci/register_carrier.ts";
import { Poller } from "../../uapi/poll.ts";
import { GuestRamMap } from "../../vmm/guest_ram_map.ts";
import { Intx } from "../../vmm/vfio_user/intx.ts";
import { VfioUserServer } from "../../vmm/vfio_user/server.ts";

/** Words of the shared memory. */
export const SHARED = { stop: 0, reads: 1, resets: 2, count: 3 } as const;

/** What the thread is told when it starts. */
export interface CarrierTask {
  readonly socketPath: string;
  readonly shared: Int32Array;
}

const IDR0 = 0x0d44_101b;
const STEP_MS = 20;

function serve({ socketPath, shared }: CarrierTask): void {
  const irq = new Intx();
  const carrier = new RegisterCarrier({
    irq,
    device: {
      read: (offset, into) => {
        Atomics.add(shared, SHARED.reads, 1);
        into.fill(0);
        if (offset === 0) new DataView(into.buffer, into.byteOffset).setUint32(0, IDR0, true);
      },
      write: () => {},
    },
    resetDevice: () => Atomics.add(shared, SHARED.resets, 1),
  });
  const guestRam = new GuestRamMap(new GuestRam());
  using server = new VfioUserServer(carrier, { socketPath, guestRam, intx: irq });
  const poller = new Poller();
  server.register(poller);
  self.postMessage("listening");
  while (Atomics.load(shared, SHARED.stop) === 0) poller.step(STEP_MS);
}

self.onmessage = ({ data }: MessageEvent<CarrierTask>) => {
  serve(data);
  self.postMessage("done");
  self.close();
};
