import { assertEquals } from "@std/assert";
import { EventFd } from "../../uapi/eventfd.ts";
import { Fd } from "../../uapi/fd.ts";
import { libc } from "../../uapi/libc.ts";
import { createMemfd } from "../../uapi/memfd.ts";
import { Poller } from "../../uapi/poll.ts";
import { Intx } from "../../vmm/vfio_user/intx.ts";
import { openDescriptors } from "../support/own_process.ts";
import { type VfioUserClient, words } from "../support/vfio_user_client.ts";
import { TestMachine } from "../support/vfio_user_machine.ts";

libc();

/** The same counter with another owner, as SET_IRQS brings it. */
function shared(event: EventFd): EventFd {
  const F_DUPFD_CLOEXEC = 1030;
  return EventFd.adopt(new Fd(libc().fcntl(event.fd.number, F_DUPFD_CLOEXEC, 0)))!;
}

Deno.test("a level signals once, and again after each unmask while it lasts", () => {
  using event = EventFd.create();
  const line = new Intx();
  line.trigger(shared(event));
  line.set(true);
  line.set(true);
  assertEquals(event.drain(), 1);
  line.unmask();
  assertEquals(event.drain(), 1);
  line.set(false);
  line.unmask();
  assertEquals(event.drain(), 0);
  line.set(true);
  assertEquals(event.drain(), 1);
  line.disconnect();
});

Deno.test("an edge signals once, and edges while masked become one", () => {
  using event = EventFd.create();
  const line = new Intx();
  line.trigger(shared(event));
  line.pulse();
  assertEquals(event.drain(), 1);
  line.pulse();
  line.pulse();
  assertEquals(event.drain(), 0);
  line.unmask();
  assertEquals(event.drain(), 1);
  line.unmask();
  assertEquals(event.drain(), 0);
  line.disconnect();
});

Deno.test("a mask holds an interrupt back until it is taken away", () => {
  using event = EventFd.create();
  const line = new Intx();
  line.trigger(shared(event));
  line.mask();
  line.set(true);
  assertEquals(event.drain(), 0);
  line.set(false);
  line.unmask();
  assertEquals(event.drain(), 0);
  line.mask();
  line.pulse();
  line.unmask();
  assertEquals(event.drain(), 1);
  line.disconnect();
});

Deno.test("an interrupt without a listener is remembered, and an edge that a client leaves behind is not", () => {
  using event = EventFd.create();
  const line = new Intx();
  line.pulse();
  line.trigger(shared(event));
  assertEquals(event.drain(), 1);
  line.pulse();
  line.disconnect();
  line.trigger(shared(event));
  assertEquals(event.drain(), 0);
  line.disconnect();
  line.set(true);
  line.trigger(shared(event));
  assertEquals(event.drain(), 1);
  line.disconnect();
});

Deno.test("SET_IRQS connects, masks, unmasks, triggers and disconnects INTx", () => {
  using machine = new TestMachine();
  using client = machine.agreed();
  using event = EventFd.create();
  const set = (flags: number, count: number, fds: Fd[] = []): number =>
    client.request(8, words(20, flags, 0, 0, count), { fds }).errno;
  machine.intx.set(true);
  assertEquals([set(0x24, 1, [event.fd]), event.drain()], [0, 1]);
  assertEquals([set(0x11, 1), event.drain()], [0, 1]);
  assertEquals([set(0x09, 1), set(0x11, 1), event.drain()], [0, 0, 1]);
  machine.intx.set(false);
  assertEquals([set(0x11, 1), event.drain()], [0, 0]);
  assertEquals([set(0x21, 1), event.drain()], [0, 1]);
  assertEquals([set(0x11, 1), event.drain()], [0, 0]);
  assertEquals([set(0x24, 1), set(0x21, 1), event.drain()], [0, 0, 0]);
  assertEquals([set(0x24, 1, [event.fd]), set(0x21, 0)], [0, 0]);
  event.drain();
  machine.intx.set(true);
  assertEquals(event.drain(), 0);
});

Deno.test("a counter that comes again replaces the one before", () => {
  using machine = new TestMachine();
  using client = machine.agreed();
  using first = EventFd.create();
  using second = EventFd.create();
  connectTo(client, first);
  const before = openDescriptors();
  connectTo(client, second);
  assertEquals(openDescriptors(), before);
  machine.intx.pulse();
  assertEquals([first.drain(), second.drain()], [0, 1]);
});

Deno.test("SET_IRQS takes one byte for each interrupt, and zero means leave it", () => {
  using machine = new TestMachine();
  using client = machine.agreed();
  using event = EventFd.create();
  client.request(8, words(20, 0x24, 0, 0, 1), { fds: [event.fd] });
  const set = (flags: number, chosen: number): number => {
    const payload = words(21, flags, 0, 0, 1, chosen).subarray(0, 21);
    return client.request(8, payload).errno;
  };
  assertEquals([set(0x22, 0), event.drain()], [0, 0]);
  assertEquals([set(0x22, 1), event.drain()], [0, 1]);
  machine.intx.set(true);
  assertEquals([set(0x12, 0), event.drain()], [0, 0]);
  assertEquals([set(0x12, 1), event.drain()], [0, 1]);
});

Deno.test("a counter that KVM signals unmasks INTx until it is taken away", () => {
  const before = openDescriptors();
  {
    using machine = new TestMachine();
    using client = machine.agreed();
    using event = EventFd.create();
    using seen = EventFd.create();
    client.request(8, words(20, 0x24, 0, 0, 1), { fds: [event.fd] });
    assertEquals(client.request(8, words(20, 0x14, 0, 0, 1), { fds: [seen.fd] }).errno, 0);
    machine.intx.set(true);
    assertEquals(event.drain(), 1);
    seen.signal();
    client.settle();
    assertEquals([event.drain(), seen.drain()], [1, 0]);
    assertEquals(client.request(8, words(20, 0x14, 0, 0, 1)).errno, 0);
    seen.signal();
    client.settle();
    assertEquals([event.drain(), seen.drain()], [0, 1]);
    client.request(8, words(20, 0x14, 0, 0, 1), { fds: [seen.fd] });
    client.leave();
    seen.signal();
    assertEquals(machine.poller.step(0), 0);
  }
  assertEquals(openDescriptors(), before);
});

Deno.test("an event that unmasks ends with the client, whatever is signalled then", () => {
  using event = EventFd.create();
  using seen = EventFd.create();
  const poller = new Poller();
  const line = new Intx();
  line.trigger(shared(event));
  line.unmaskOn(shared(seen), poller);
  line.unmaskOn(shared(seen), poller);
  seen.signal();
  line.disconnect();
  assertEquals(poller.step(0), 0);
});

Deno.test("SET_IRQS that makes no sense is refused and changes nothing", async (t) => {
  const cases: { name: string; payload: Uint8Array; fds?: number }[] = [
    { name: "no such index", payload: words(20, 0x21, 5, 0, 0) },
    { name: "an interrupt that is not there", payload: words(20, 0x24, 0, 1, 1), fds: 1 },
    { name: "more interrupts than there are", payload: words(20, 0x24, 0, 0, 2), fds: 2 },
    { name: "a count that wraps", payload: words(20, 0x21, 0, 1, 0xffff_ffff) },
    { name: "an MSI vector", payload: words(20, 0x24, 1, 0, 1), fds: 1 },
    { name: "an MSI-X vector", payload: words(20, 0x24, 2, 0, 1), fds: 1 },
    { name: "no kind of data", payload: words(20, 0x20, 0, 0, 1) },
    { name: "two kinds of data", payload: words(20, 0x25, 0, 0, 1) },
    { name: "no action", payload: words(20, 1, 0, 0, 1) },
    { name: "two actions", payload: words(20, 0x31, 0, 0, 1) },
    { name: "an unknown flag", payload: words(20, 0x61, 0, 0, 1) },
    { name: "a counter that masks", payload: words(20, 0x0c, 0, 0, 1), fds: 1 },
    { name: "a descriptor without EVENTFD", payload: words(20, 0x21, 0, 0, 1), fds: 1 },
    { name: "a descriptor too many", payload: words(20, 0x24, 0, 0, 1), fds: 2 },
    { name: "unmasking none", payload: words(20, 0x11, 0, 0, 0) },
    { name: "an argsz too small", payload: words(19, 0x21, 0, 0, 1) },
    { name: "a byte too few", payload: words(21, 0x22, 0, 0, 1) },
    { name: "a byte too many", payload: words(20, 0x21, 0, 0, 1, 0) },
    { name: "half a request", payload: words(20, 0x21, 0) },
  ];
  for (const { name, payload, fds = 0 } of cases) {
    await t.step(name, () => {
      using machine = new TestMachine();
      using client = machine.agreed();
      using event = EventFd.create();
      using other = EventFd.create();
      connectTo(client, event);
      const before = openDescriptors();
      const reply = client.request(8, payload, { fds: new Array(fds).fill(other.fd), room: 36 });
      assertEquals([reply.errno, machine.lines.length], [22, 1]);
      assertEquals(openDescriptors(), before);
      machine.intx.set(true);
      assertEquals([event.drain(), other.drain()], [1, 0]);
    });
  }
});

Deno.test("a descriptor that is no event counter is refused and closed", () => {
  using machine = new TestMachine();
  using client = machine.agreed();
  using file = createMemfd("no counter", 4096);
  using event = EventFd.create();
  connectTo(client, event);
  const before = openDescriptors();
  for (const flags of [0x24, 0x14]) {
    assertEquals(client.request(8, words(20, flags, 0, 0, 1), { fds: [file] }).errno, 22);
  }
  assertEquals(openDescriptors(), before);
  machine.intx.set(true);
  assertEquals(event.drain(), 1);
});

Deno.test("a counter that is full and blocks does not stop the server", () => {
  using machine = new TestMachine();
  using client = machine.agreed();
  using full = new Fd(libc().eventfd(0, 0));
  const most = new Uint8Array(Uint8Array.of(0xfe, 255, 255, 255, 255, 255, 255, 255).buffer);
  libc().write(full.number, most, 8n);
  client.request(8, words(20, 0x24, 0, 0, 1), { fds: [full] });
  machine.intx.set(true);
  assertEquals(client.request(4, words(16, 0, 0, 0)).errno, 0);
});

function connectTo(client: VfioUserClient, event: EventFd): void {
  assertEquals(client.request(8, words(20, 0x24, 0, 0, 1), { fds: [event.fd] }).errno, 0);
}
