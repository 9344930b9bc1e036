import { assertEquals } from "@std/assert";
import { EventFd } from "../../uapi/eventfd.ts";
import { Fd } from "../../uapi/fd.ts";
import { libc } from "../../uapi/libc.ts";
import { createMemfd } from "../../uapi/memfd.ts";
import { Poller } from "../../uapi/poll.ts";
import { realize, VfioUserClient, words } from "../support/vfio_user_client.ts";

/** The next message of a worker. */
function heard<T>(worker: Worker): Promise<T> {
  return new Promise((resolve, reject) => {
    worker.onmessage = ({ data }) => resolve(data);
    worker.onerror = ({ message }) => reject(new Error(message));
  });
}

Deno.test("a device thread serves a client in another thread, without an event loop", async () => {
  const worker = new Worker(new URL("../support/vfio_user_worker.ts", import.meta.url), {
    type: "module",
  });
  try {
    const { path, stop } = await heard<{ path: string; stop: number }>(worker);
    using ram = createMemfd("ram", 0x1_0000);
    using event = EventFd.create();
    using client = new VfioUserClient(path, new Poller());
    realize(client, { ram: { gpa: 0n, sizeBytes: 0x1_0000n, fd: ram }, intx: event.fd });
    client.post(10, words(0x20n, 0, 4, 0x0403_0201));
    const read = client.request(9, words(0x20n, 0, 4), { room: 36 });
    assertEquals([...read.payload.subarray(16)], [1, 2, 3, 4]);
    client.request(8, words(20, 0x21, 0, 0, 1));
    assertEquals(event.drain(), 1);
    const ended = heard<{ lines: string[]; log: string[] }>(worker);
    using alarm = EventFd.adopt(new Fd(libc().fcntl(stop, 0, 0)))!;
    alarm.signal();
    const { lines, log } = await ended;
    assertEquals(lines, [
      "recorder: A client connected",
      "recorder: The client is gone: we are closing",
    ]);
    assertEquals(log.slice(-3), ["bar0 write 32: 1 2 3 4", "bar0 read 32+4", "reset"]);
    assertEquals(client.isClosed(), true);
  } finally {
    worker.terminate();
  }
});
