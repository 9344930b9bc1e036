/**
 * What a trapped access costs on our side, client's system calls included. Budgets: a posted write of a burst 3 µs, a
 * read 10 µs in one thread.
 * @module
 */
import { EventFd } from "../../uapi/eventfd.ts";
import type { Fd } from "../../uapi/fd.ts";
import { Pinned } from "../../uapi/pinned.ts";
import { connect, Receiver, send } from "../../uapi/socket.ts";
import { words } from "../support/vfio_user_client.ts";
import { TestMachine } from "../support/vfio_user_machine.ts";

const machine = new TestMachine();
machine.pci.bars[0].device.read = () => {};
machine.pci.bars[0].device.write = () => {};
const socket: Fd = connect(machine.path);
const receiver = new Receiver(0x1_0000);

function message(command: number, flags: number, payload: Uint8Array): Pinned {
  const pinned = new Pinned(16 + payload.length);
  pinned.bytes.set(words(command * 0x1_0000, pinned.bytes.length, flags, 0));
  pinned.bytes.set(payload, 16);
  return pinned;
}

function roundTrip({ bytes }: Pinned): void {
  send(socket, bytes, bytes.length);
  while (receiver.receive(socket, 0, 0x1_0000, []) < 0) machine.poller.step(0);
}

const BURST = 100;
const version = message(1, 0, words(0));
const read = message(9, 0, words(0n, 0, 4));
const write = message(10, 0, words(0n, 0, 4, 1));
const posted = message(10, 0x10, words(0n, 0, 4, 1));
const burst = new Pinned(posted.bytes.length * BURST);
for (let i = 0; i < BURST; i++) burst.bytes.set(posted.bytes, i * posted.bytes.length);
const event = EventFd.create();
roundTrip(version);

Deno.bench("signal an eventfd and drain it", () => {
  event.signal();
  event.drain();
});
Deno.bench("step a poller with nothing ready", () => void machine.poller.step(0));
Deno.bench("a read, with its reply", () => roundTrip(read));
Deno.bench("a write, with its reply", () => roundTrip(write));
Deno.bench("a posted write", () => {
  send(socket, posted.bytes, posted.bytes.length);
  machine.poller.step(0);
});
Deno.bench(`${BURST} posted writes in a burst`, () => {
  send(socket, burst.bytes, burst.bytes.length);
  while (machine.poller.step(0) > 0);
});
