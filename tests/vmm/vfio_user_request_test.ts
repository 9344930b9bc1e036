/** A client that is asked to give the function back, and a server that takes no other one afterwards. */
import { assertEquals, assertThrows } from "@std/assert";
import { EventFd } from "../../uapi/eventfd.ts";
import { SystemError } from "../../uapi/errno.ts";
import { VmmRecall } from "../../vmm/vfio/vmm_recall.ts";
import { RequestLine } from "../../vmm/vfio_user/request_line.ts";
import { openDescriptors } from "../support/own_process.ts";
import { words } from "../support/vfio_user_client.ts";
import { TestMachine } from "../support/vfio_user_machine.ts";

const REQUEST = 4;

Deno.test("a client hears requests by the interrupt that is for them, as long as it wants to", () => {
  const request = new RequestLine();
  using machine = new TestMachine({ request });
  using event = EventFd.create();
  const before = openDescriptors();
  {
    using client = machine.agreed();
    const set = (
      flags: number,
      count: number,
      fds = [event.fd].slice(0, flags & 4 ? 1 : 0),
    ): number => client.request(8, words(20, flags, REQUEST, 0, count), { fds, room: 36 }).errno;
    assertEquals(client.request(7, words(16, 0, REQUEST, 0)).payload, words(16, 9, REQUEST, 1));
    request.signal();
    assertEquals([request.isHeard, set(0x24, 1), request.isHeard], [false, 0, true]);
    request.signal();
    assertEquals(event.drain(), 1);
    assertEquals([set(0x21, 1), event.drain()], [0, 1], "it may ask itself");
    assertEquals([set(0x09, 1), set(0x11, 1)], [22, 22], "it has no mask");
    assertEquals([set(0x24, 1, []), request.isHeard], [0, false]);
    assertEquals([set(0x24, 1), set(0x21, 0), request.isHeard], [0, 0, false]);
    assertEquals([set(0x24, 1), request.isHeard], [0, true]);
  }
  machine.poller.step(0);
  assertEquals([request.isHeard, openDescriptors()], [false, before]);
});

Deno.test("who cannot be asked says so", () => {
  using machine = new TestMachine();
  using client = machine.agreed();
  assertEquals(client.request(7, words(16, 0, REQUEST, 0)).payload, words(16, 0, REQUEST, 0));
  assertEquals(client.request(8, words(20, 0x21, REQUEST, 0, 1)).errno, 22);
});

Deno.test("a retired server keeps its client, and takes no other", () => {
  using machine = new TestMachine();
  using client = machine.agreed();
  machine.server.retire();
  assertEquals(client.request(9, words(0n, 7, 4), { room: 36 }).errno, 0);
  assertThrows(() => machine.client(), SystemError);
  client[Symbol.dispose]();
  machine.poller.step(0);
  assertEquals(machine.pci.log.at(-1), "reset");
});

Deno.test("a VMM is asked as far as it can be, and said to hold what it has mapped", async (t) => {
  const all = [false, true];
  for (const isConnected of all) {
    for (const canUnplug of all) {
      for (const isHeard of all) {
        for (const isMapped of all) {
          await t.step(JSON.stringify({ isConnected, canUnplug, isHeard, isMapped }), () => {
            const log: string[] = [];
            const request = new RequestLine();
            using event = EventFd.create();
            if (isHeard) request.trigger(event);
            const recall = new VmmRecall({
              request,
              isConnected: () => isConnected,
              unplug: canUnplug ? (isLast) => log.push(`unplug ${isLast}`) : undefined,
              isMapped: () => isMapped,
              release: () => log.push("release"),
              log: (line) => log.push(line.slice(0, 13)),
            });
            assertEquals(recall.ask(false), isConnected && (canUnplug || isHeard));
            assertEquals(log.splice(0), isConnected && canUnplug ? ["unplug false"] : []);
            assertEquals(event.drain(), isConnected && isHeard ? 1 : 0);
            recall.release();
            const isHeld = isConnected && isMapped && !canUnplug;
            assertEquals(log, ["release", ...(isHeld ? ["The VMM still"] : [])]);
          });
        }
      }
    }
  }
});
