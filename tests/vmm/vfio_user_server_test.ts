import { assertEquals, assertThrows } from "@std/assert";
import { Entry } from "../../hw/guest_memory.ts";
import { SystemError } from "../../uapi/errno.ts";
import { EventFd } from "../../uapi/eventfd.ts";
import { createMemfd } from "../../uapi/memfd.ts";
import { connect, listen } from "../../uapi/socket.ts";
import { VfioUserServer } from "../../vmm/vfio_user/server.ts";
import { openDescriptors } from "../support/own_process.ts";
import {
  joined,
  QEMU_CAPABILITIES,
  realize,
  VfioUserClient,
  words,
} from "../support/vfio_user_client.ts";
import { RecordingFunction, TestMachine } from "../support/vfio_user_machine.ts";

const text = (value: string): Uint8Array => new TextEncoder().encode(value);

Deno.test("QEMU realizes the function and reaches its BARs, RAM and interrupt", () => {
  using machine = new TestMachine();
  using fd = createMemfd("ram", 0x10_0000);
  using event = EventFd.create();
  const client = machine.client();
  const ram = { gpa: 0x4000_0000n, sizeBytes: 0x10_0000n, fd };
  const realized = realize(client, { ram, intx: event.fd });
  assertEquals(realized.regionSizes, [0x1_0000, 0, 0x1000, 0, 0, 0, 0x1000]);
  assertEquals(realized.intxCount, 1);
  assertEquals(realized.config, machine.pci.space);
  assertEquals(machine.pci.log.filter((line) => line === "reset"), ["reset"]);
  const record = new Entry(8);
  assertEquals([machine.ram.fetch(0x400f_fff8, record), machine.ram.fetch(0x4010_0000, record)], [
    true,
    false,
  ]);
  machine.pci.memory.set([1, 2, 3, 4], 0x100);
  const read = client.request(9, words(0x100n, 0, 4), { room: 36 });
  assertEquals([...read.payload], [0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 4, 0, 0, 0, 1, 2, 3, 4]);
  client.post(10, words(0x104n, 0, 4, 0x0807_0605));
  assertEquals([...machine.pci.memory.subarray(0x104, 0x108)], [5, 6, 7, 8]);
  machine.intx.set(true);
  assertEquals(event.drain(), 1);
  assertEquals(machine.lines, ["recorder: A client connected"]);
  client.leave();
});

Deno.test("VERSION tolerates any object and its absence, and answers within 214 bytes", async (t) => {
  const cases = [
    { name: "QEMU's capabilities", payload: joined(words(0), text(QEMU_CAPABILITIES)), size: 214 },
    { name: "an empty object", payload: joined(words(0), text("{}\0")), size: 23 },
    { name: "nothing", payload: words(0), size: 20 },
    { name: "a later minor version", payload: words(0x0007_0000), size: 20 },
  ];
  for (const { name, payload, size } of cases) {
    await t.step(name, () => {
      using machine = new TestMachine();
      using client = machine.client();
      assertEquals(payload.length, size - 16);
      const reply = client.request(1, payload, { room: 214 });
      assertEquals([reply.flags, reply.errno, ...reply.payload.subarray(0, 4)], [1, 0, 0, 0, 0, 0]);
      assertEquals(reply.payload.at(-1), 0);
      const { capabilities } = JSON.parse(new TextDecoder().decode(reply.payload.subarray(4, -1)));
      assertEquals(capabilities, {
        max_msg_fds: 16,
        max_data_xfer_size: 65536,
        pgsizes: 4096,
        max_dma_maps: 512,
        write_multiple: true,
      });
    });
  }
});

Deno.test("a client that does not agree on a version hears why and is let go", async (t) => {
  const cases = [
    {
      name: "another major version",
      payload: words(1),
      reason: "it speaks version 1.0, we speak 0.0",
    },
    { name: "too short", payload: new Uint8Array(2), reason: "it has 18 bytes" },
    {
      name: "no end of the text",
      payload: joined(words(0), text("{}")),
      reason: "its capabilities are no JSON object that ends in NUL",
    },
    {
      name: "no object",
      payload: joined(words(0), text("[]\0")),
      reason: "its capabilities are no JSON object that ends in NUL",
    },
    {
      name: "more text than any client needs",
      payload: joined(words(0), text(`{"a":"${"a".repeat(4090)}"}\0`)),
      reason: "its capabilities are no JSON object that ends in NUL",
    },
    {
      name: "brackets without end",
      payload: joined(words(0), text("[".repeat(4000) + "\0")),
      reason: "its capabilities are no JSON object that ends in NUL",
    },
  ];
  for (const { name, payload, reason } of cases) {
    await t.step(name, () => {
      using machine = new TestMachine();
      using client = machine.client();
      const reply = client.request(1, payload);
      assertEquals([reply.flags, reply.errno, reply.payload.length], [0x21, 22, 0]);
      assertEquals(client.isClosed(), true);
      assertEquals(machine.lines, [
        "recorder: A client connected",
        `recorder: VERSION refused with EINVAL: ${reason}`,
        "recorder: The client is gone: no version was agreed",
      ]);
    });
  }
});

Deno.test("nothing is done before VERSION, and VERSION is not repeated", () => {
  using machine = new TestMachine();
  using early = machine.client();
  early.raw(early.message(13, new Uint8Array(0)));
  assertEquals(early.isClosed(), true);
  assertEquals(machine.pci.log, ["reset"]);
  assertEquals(
    machine.lines.at(-1),
    "recorder: The client is gone: it began with RESET and not with VERSION",
  );
  using client = machine.agreed();
  assertEquals(client.request(1, words(0)).errno, 22);
  assertEquals(client.request(4, words(16, 0, 0, 0)).errno, 0);
});

Deno.test("the function describes itself as PCI with RESET, 9 regions and 5 interrupts", () => {
  using machine = new TestMachine();
  using client = machine.agreed();
  assertEquals(client.request(4, words(16, 0, 0, 0)).payload, words(16, 3, 9, 5));
  const region = (index: number): Uint8Array =>
    client.request(5, words(32, 0, index, 0, 0n, 0n)).payload;
  assertEquals(region(0), words(32, 3, 0, 0, 0x1_0000n, 0n));
  assertEquals(region(1), words(32, 0, 1, 0, 0n, 0n));
  assertEquals(region(6), words(32, 0, 6, 0, 0n, 0n));
  assertEquals(region(7), words(32, 3, 7, 0, 0x1000n, 0n));
  assertEquals(region(8), words(32, 0, 8, 0, 0n, 0n));
  const irq = (index: number): Uint8Array => client.request(7, words(16, 0, index, 0)).payload;
  assertEquals(irq(0), words(16, 7, 0, 1));
  for (const index of [1, 2, 3, 4]) assertEquals(irq(index), words(16, 0, index, 0));
});

Deno.test("a function without a line has no INTx", () => {
  using machine = new TestMachine({ intx: false });
  using client = machine.agreed();
  assertEquals(client.request(7, words(16, 0, 0, 0)).payload, words(16, 0, 0, 0));
  using event = EventFd.create();
  assertEquals(client.request(8, words(20, 0x24, 0, 0, 1), { fds: [event.fd] }).errno, 22);
  assertEquals(client.request(8, words(20, 0x21, 0, 0, 0)).errno, 0);
});

Deno.test("a device sees naturally aligned accesses only, however a client cuts them", () => {
  using machine = new TestMachine();
  using client = machine.agreed();
  const { log } = machine.pci;
  client.request(9, words(6n, 0, 16), { room: 48 });
  assertEquals(log.splice(0), [
    "bar0 read 6+2",
    "bar0 read 8+8",
    "bar0 read 16+4",
    "bar0 read 20+2",
  ]);
  client.request(10, joined(words(1n, 0, 3), Uint8Array.of(1, 2, 3)));
  assertEquals(log.splice(0), ["bar0 write 1: 1", "bar0 write 2: 2 3"]);
  client.request(10, words(0x10n, 7, 8, 1, 2));
  assertEquals(log.splice(0), ["config write 16: 1 0 0 0", "config write 20: 2 0 0 0"]);
});

Deno.test("what a device does not answer reads as zero, not as what went by before", () => {
  using machine = new TestMachine();
  using client = machine.agreed();
  client.request(10, words(0n, 0, 8, 0xffff_ffff, 0xffff_ffff));
  assertEquals(
    client.request(9, words(0n, 2, 8), { room: 40 }).payload.subarray(16),
    new Uint8Array(8),
  );
});

Deno.test("WRITE_MULTI does all of its writes, or none when one is wrong", () => {
  using machine = new TestMachine();
  using client = machine.agreed();
  const { log } = machine.pci;
  const good = words(0x8n, 0, 4, 0x0403_0201, 0, 0x10n, 7, 2, 0x0605, 0);
  client.post(15, joined(words(2n), good));
  assertEquals(log.splice(0), ["bar0 write 8: 1 2 3 4", "config write 16: 5 6"]);
  assertEquals(client.request(15, joined(words(2n), good)).payload, words(2n));
  log.length = 0;
  const bad = words(0x1_0000n, 0, 4, 1, 0);
  const long = words(0n, 0, 9, 1, 0);
  for (const last of [bad, long]) {
    assertEquals(client.request(15, joined(words(3n), good, last)).errno, 22);
  }
  assertEquals(client.request(15, joined(words(3n), good)).errno, 22);
  assertEquals(client.request(15, joined(words(2n ** 63n), good)).errno, 22);
  assertEquals(log, []);
});

Deno.test("RESET resets the function", () => {
  using machine = new TestMachine();
  using client = machine.agreed();
  assertEquals(client.request(13, new Uint8Array(0)).errno, 0);
  assertEquals(machine.pci.log, ["reset"]);
});

Deno.test("a message of the function is a posted DMA_WRITE, and nothing without an agreed client", () => {
  using machine = new TestMachine();
  assertEquals(machine.msi.send(0x0809_0040, 7), false);
  const client = machine.client();
  assertEquals(machine.msi.send(0x0809_0040, 7), false);
  client.request(1, words(0), { room: 214 });
  assertEquals(machine.msi.send(0x80_0809_0040, 0xdead_beef), true);
  client.settle();
  assertEquals(client.received.map(({ command, flags, payload }) => [command, flags, ...payload]), [
    [12, 0x10, ...words(0x80_0809_0040n, 4n, 0xdead_beef)],
  ]);
  client.leave();
  assertEquals(machine.msi.send(0x0809_0040, 7), false);
});

Deno.test("a message sent while a request is handled goes before its reply", () => {
  using machine = new TestMachine();
  using client = machine.agreed();
  machine.pci.onBar2 = () => void machine.msi.send(0x1000, 1);
  const reply = client.request(9, words(0n, 2, 4), { room: 36 });
  assertEquals([reply.errno, client.received.length], [0, 1]);
});

Deno.test("a second client is turned away and the first goes on", () => {
  using machine = new TestMachine();
  using first = machine.agreed();
  using second = new VfioUserClient(machine.path, machine.poller);
  assertEquals(second.isClosed(), true);
  assertEquals(machine.lines, ["recorder: Turned a second client away"]);
  assertEquals(first.request(4, words(16, 0, 0, 0)).errno, 0);
  assertEquals(machine.pci.log, []);
});

Deno.test("a client that has agreed on no version yet keeps nobody out", async (t) => {
  const cases = [
    { name: "silent", bytes: 0 },
    { name: "half a header", bytes: 8 },
    { name: "half a message", bytes: 17 },
  ];
  for (const { name, bytes } of cases) {
    await t.step(name, () => {
      using machine = new TestMachine();
      using idle = machine.client();
      idle.raw(idle.message(1, words(0, 0)).subarray(0, bytes));
      machine.lines.length = 0;
      using next = machine.client();
      assertEquals(machine.lines, [
        "recorder: The client is gone: it agreed on no version before the next client came",
        "recorder: A client connected",
      ]);
      assertEquals(idle.isClosed(), true);
      assertEquals(next.request(1, words(0), { room: 214 }).errno, 0);
      assertEquals(next.request(4, words(16, 0, 0, 0)).errno, 0);
    });
  }
});

Deno.test("a client that leaves takes everything with it, and the next one can come", () => {
  const before = openDescriptors();
  {
    using machine = new TestMachine();
    const idle = openDescriptors();
    for (let round = 0; round < 3; round++) {
      using fd = createMemfd("ram", 0x1000);
      using event = EventFd.create();
      const client = machine.client();
      realize(client, { ram: { gpa: 0n, sizeBytes: 0x1000n, fd }, intx: event.fd });
      assertEquals([machine.ram.sizeBytes, machine.server.isConnected], [0x1000, true]);
      machine.pci.log.length = 0;
      client.leave();
      assertEquals([machine.ram.sizeBytes, machine.server.isConnected], [0, false]);
      assertEquals(machine.pci.log, ["reset"]);
      machine.intx.set(true);
      machine.intx.set(false);
      assertEquals(event.drain(), 0);
      assertEquals(machine.lines.splice(0), [
        "recorder: A client connected",
        "recorder: The client is gone: it left",
      ]);
    }
    assertEquals(openDescriptors(), idle);
  }
  assertEquals(openDescriptors(), before);
});

Deno.test("a client that comes before we saw the last one leave is served", () => {
  using machine = new TestMachine();
  machine.agreed()[Symbol.dispose]();
  using client = machine.agreed();
  assertEquals(client.request(4, words(16, 0, 0, 0)).errno, 0);
  assertEquals(machine.pci.log, ["reset"]);
});

Deno.test("closing the server ends its client, its socket file and its maps", () => {
  const before = openDescriptors();
  const machine = new TestMachine();
  const fd = createMemfd("ram", 0x1000);
  const client = machine.client();
  realize(client, { ram: { gpa: 0n, sizeBytes: 0x1000n, fd } });
  machine.server[Symbol.dispose]();
  machine.server[Symbol.dispose]();
  assertEquals(client.isClosed(), true);
  assertEquals([machine.ram.sizeBytes, [...Deno.readDirSync(machine.directory)]], [0, []]);
  assertEquals(machine.poller.step(0), 0);
  machine[Symbol.dispose]();
  client[Symbol.dispose]();
  fd[Symbol.dispose]();
  assertEquals(openDescriptors(), before);
});

Deno.test("the socket is private, replaces a stale one, and nothing else", async (t) => {
  const server = (machine: TestMachine, socketPath: string): VfioUserServer =>
    new VfioUserServer(new RecordingFunction(), { socketPath, guestRam: machine.guestRam });

  await t.step("mode 0600", () => {
    using machine = new TestMachine();
    assertEquals(Deno.lstatSync(machine.path).mode! & 0o7777, 0o600);
  });
  await t.step("a stale socket", () => {
    using machine = new TestMachine();
    const path = `${machine.directory}/stale`;
    listen(path, 1)[Symbol.dispose]();
    assertEquals(Deno.lstatSync(path).isSocket, true);
    server(machine, path)[Symbol.dispose]();
    assertThrows(() => Deno.lstatSync(path), Deno.errors.NotFound);
  });
  await t.step("a socket in use", () => {
    using machine = new TestMachine();
    assertThrows(() => server(machine, machine.path), SystemError, "EADDRINUSE");
    using client = machine.agreed();
    assertEquals(client.request(4, words(16, 0, 0, 0)).errno, 0);
  });
  await t.step("a socket whose owner is busy", () => {
    using machine = new TestMachine();
    const path = `${machine.directory}/busy`;
    using _busy = listen(path, 0);
    using _first = connect(path);
    assertThrows(() => connect(path), SystemError, "EAGAIN");
    assertThrows(() => server(machine, path), SystemError, "EADDRINUSE");
    assertEquals(Deno.lstatSync(path).isSocket, true);
  });
  await t.step("an ordinary file", () => {
    using machine = new TestMachine();
    const path = `${machine.directory}/file`;
    Deno.writeTextFileSync(path, "precious");
    assertThrows(() => server(machine, path), SystemError, "EADDRINUSE");
    assertEquals(Deno.readTextFileSync(path), "precious");
  });
  await t.step("a directory that others can enter", () => {
    using machine = new TestMachine();
    const directory = `${machine.directory}/open`;
    Deno.mkdirSync(directory);
    Deno.chmodSync(directory, 0o755);
    const before = openDescriptors();
    assertThrows(
      () => server(machine, `${directory}/s`),
      SystemError,
      "which is not private: EPERM",
    );
    assertEquals(openDescriptors(), before);
  });
  await t.step("a file that someone put in its place", () => {
    using machine = new TestMachine();
    Deno.removeSync(machine.path);
    Deno.writeTextFileSync(machine.path, "theirs");
    machine.server[Symbol.dispose]();
    assertEquals(Deno.readTextFileSync(machine.path), "theirs");
  });
});

Deno.test("an observer hears of messages, accesses and clients", () => {
  const heard: string[] = [];
  using machine = new TestMachine({
    observer: {
      message: (command) => heard.push(`message ${command}`),
      barRead: (...access) => heard.push(`read ${access}`),
      barWrite: (...access) => heard.push(`write ${access}`),
      configAccess: (...access) => heard.push(`config ${access}`),
      connected: (isConnected) => heard.push(`connected ${isConnected}`),
    },
  });
  const client = machine.agreed();
  client.request(9, words(8n, 0, 4), { room: 36 });
  client.post(10, words(16n, 0, 4, 1));
  client.request(9, words(0n, 7, 4096), { room: 4128 });
  client.request(10, words(4n, 7, 4, 1));
  client.leave();
  assertEquals(heard, [
    "connected true",
    "message 1",
    "message 9",
    "read 0,8,4",
    "message 10",
    "write 0,16,4",
    "message 9",
    "config false,0,4096",
    "message 10",
    "config true,4,4",
    "connected false",
  ]);
});

Deno.test("what the host refuses a device becomes an error reply, a bug ends the connection", () => {
  using machine = new TestMachine();
  using client = machine.agreed();
  machine.pci.onBar2 = () => {
    throw new SystemError("write disk.img", 28);
  };
  assertEquals(client.request(10, words(0n, 2, 4, 1)).errno, 28);
  assertEquals(machine.lines, [
    "recorder: REGION_WRITE refused with ENOSPC: Cannot write disk.img: ENOSPC",
  ]);
  machine.pci.onBar2 = () => {
    throw new TypeError("undefined is not a register");
  };
  client.raw(client.message(9, words(0n, 2, 4)));
  assertEquals(client.isClosed(), true);
  const line = machine.lines.at(-1)!;
  assertEquals(
    line.startsWith(
      "recorder: The client is gone: A bug of ours: TypeError: undefined is not a register at ",
    ),
    true,
  );
  assertEquals(line.includes("\n"), false);
  using next = machine.agreed();
  assertEquals(next.request(4, words(16, 0, 0, 0)).errno, 0);
});

Deno.test("a log takes a burst of lines, then one a second, and says what it did not show", () => {
  using machine = new TestMachine();
  using client = machine.agreed();
  for (let i = 0; i < 100; i++) client.request(99, new Uint8Array(0));
  assertEquals(machine.lines.length, 15);
  machine.timeMs = 1500;
  client.request(99, new Uint8Array(0));
  client.request(99, new Uint8Array(0));
  assertEquals(machine.lines.slice(15), [
    "recorder: command 99 refused with ENOSYS: it is not supported (lines not shown before: 85)",
  ]);
  machine.timeMs = 2000;
  client.request(99, new Uint8Array(0));
  assertEquals(machine.lines.slice(16), [
    "recorder: command 99 refused with ENOSYS: it is not supported (lines not shown before: 1)",
  ]);
  machine.timeMs = 3000;
  client.request(99, new Uint8Array(0));
  assertEquals(machine.lines.slice(17), [
    "recorder: command 99 refused with ENOSYS: it is not supported",
  ]);
});
