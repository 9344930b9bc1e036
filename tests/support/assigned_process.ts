/**
 * A process that serves a function of the host until it is killed: `assigned_process.ts DEVICE SMMU-SOCKET SOCKET`.
 * @module
 */
import { libc } from "../../uapi/libc.ts";
import { Poller } from "../../uapi/poll.ts";
import { Counters } from "../../vmm/counters.ts";
import { DeviceMachine } from "../../vmm/machine.ts";

const [devicePath, smmuSocketPath, socketPath] = Deno.args;
const poller = new Poller();
libc();
using _machine = new DeviceMachine({
  smmuSocketPath,
  iommufd: "kernel",
  endpoints: [{ kind: "vfio", devicePath, socketPath, streamId: 8 }],
}, { poller, counters: new Counters(), log: () => {}, ask: () => {}, unplug: () => {} });
Deno.stdout.writeSync(new TextEncoder().encode("ready\n"));
for (;;) poller.step(-1);
