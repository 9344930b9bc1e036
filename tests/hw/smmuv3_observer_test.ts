/**
 * What can be watched, in the order in which it happens; numbers of commands and events are hexadecimal.
 * @module
 */
import { assertEquals } from "@std/assert";
import type { Observer } from "../../hw/smmuv3/observer.ts";
import { DATA, DOORBELL, Guest, NOWHERE } from "../support/guest.ts";

function watched(): { guest: Guest; seen: string[] } {
  const seen: string[] = [];
  const observer: Observer = {
    command: (words, error) => seen.push(`command ${words[0].toString(16)} error ${error}`),
    translation: ({ streamId, substreamId }, how) =>
      seen.push(
        `translation ${streamId} ${substreamId} ${["bypass", "hit", "walk", "fault"][how]}`,
      ),
    transfer: ({ streamId }, write, sizeBytes) =>
      seen.push(`transfer ${streamId} ${write ? "write" : "read"} ${sizeBytes}`),
    event: (words, recorded) => seen.push(`event ${words[0].toString(16)} ${recorded}`),
    interrupt: (source, gpa) => seen.push(`interrupt ${source} ${gpa.toString(16)}`),
  };
  return { guest: new Guest({ observer }), seen };
}

Deno.test("a transfer shows how each page was translated, and what was moved in one go", () => {
  const { guest, seen } = watched();
  const { root } = guest.stage1(1);
  guest.map(root, 0x1000n, DATA);
  guest.dmaWrite(1, 0x1ffen, [1, 2, 3]);
  guest.dmaRead(1, 0x1000n, 4);
  assertEquals(seen, [
    "translation 1 -1 walk",
    "translation 1 -1 fault",
    "event 10 true",
    "interrupt eventq -1",
    "transfer 1 write 2",
    "translation 1 -1 hit",
    "transfer 1 read 4",
  ]);
});

Deno.test("a bypass and a silent abort show as such", () => {
  const { guest, seen } = watched();
  guest.ste(1, 0b1001n);
  guest.ste(2, 0b0001n);
  guest.dmaRead(1, BigInt(DATA), 1, -1);
  guest.dmaRead(2, BigInt(DATA), 1, 5);
  assertEquals(seen, [
    "translation 1 -1 bypass",
    "transfer 1 read 1",
    "translation 2 5 fault",
  ]);
});

Deno.test("an aborted transfer moves nothing", () => {
  const { guest, seen } = watched();
  guest.ste(1, 0b1001n);
  guest.dmaRead(1, BigInt(NOWHERE));
  assertEquals(seen, ["translation 1 -1 bypass"]);
});

Deno.test("commands show with their error, interrupts with their address", () => {
  const { guest, seen } = watched();
  guest.command(0x30n);
  guest.command(0x1046n, BigInt(DOORBELL));
  guest.command(0xffn);
  assertEquals(seen.filter((line) => line.startsWith("command")), [
    "command 30 error 0",
    "command 1046 error 0",
    "command ff error 1",
  ]);
  assertEquals(seen.filter((line) => line.startsWith("interrupt")), [
    `interrupt cmd_sync ${DOORBELL.toString(16)}`,
    "interrupt cmd_sync -1",
    "interrupt gerror -1",
  ]);
});

Deno.test("a record that the queue has no room for shows as dropped", () => {
  const { guest, seen } = watched();
  for (let i = 0; i < 17; i++) guest.dmaRead(3, 0n);
  const events = seen.filter((line) => line.startsWith("event"));
  assertEquals(events, [...new Array(16).fill("event 4 true"), "event 4 false"]);
});
