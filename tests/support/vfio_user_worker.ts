/**
 * A device thread: serves a function in a synchronous loop until a counter is signalled.
 * @module
 */
/// <reference no-default-lib="true" />
/// <reference lib="deno.worker" />
import { EventFd } from "../../uapi/eventfd.ts";
import { TestMachine } from "./vfio_user_machine.ts";

const machine = new TestMachine();
const stop = EventFd.create();
machine.poller.watch(stop.fd, 1, () => machine.poller.stop());
self.postMessage({ path: machine.path, stop: stop.fd.number });
machine.poller.run();
const { lines, pci: { log } } = machine;
machine[Symbol.dispose]();
stop[Symbol.dispose]();
self.postMessage({ lines, log });
