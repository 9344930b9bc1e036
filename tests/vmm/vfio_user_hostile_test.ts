import { assert, assertEquals } from "@std/assert";
import type { Fd } from "../../uapi/fd.ts";
import { createMemfd } from "../../uapi/memfd.ts";
import { openDescriptors } from "../support/own_process.ts";
import { joined, VfioUserClient, words } from "../support/vfio_user_client.ts";
import { TestMachine } from "../support/vfio_user_machine.ts";

const nothing = new Uint8Array(0);

/** Steps until nothing is ready; fails when that does not end. */
function settle(machine: TestMachine, mostSteps = 1000): void {
  let steps = 0;
  while (machine.poller.step(0) > 0) {
    assert(++steps < mostSteps, "the server does not come to rest");
  }
}

Deno.test("a request out of bounds is refused, changes nothing, and the client goes on", async (t) => {
  const huge = 2n ** 64n - 4n;
  const cases: { name: string; command: number; payload: Uint8Array; errno: number }[] = [
    { name: "read beyond a BAR", command: 9, payload: words(0x1_0000n, 0, 4), errno: 22 },
    { name: "read across the end of a BAR", command: 9, payload: words(0xfffen, 0, 4), errno: 22 },
    { name: "read at an offset that wraps", command: 9, payload: words(huge, 0, 8), errno: 22 },
    { name: "read of an absent BAR", command: 9, payload: words(0n, 1, 4), errno: 22 },
    { name: "read of the ROM", command: 9, payload: words(0n, 6, 4), errno: 22 },
    { name: "read of VGA", command: 9, payload: words(0n, 8, 4), errno: 22 },
    { name: "read of region 9", command: 9, payload: words(0n, 9, 4), errno: 22 },
    { name: "read of region 2^32-1", command: 9, payload: words(0n, 0xffff_ffff, 4), errno: 22 },
    { name: "read beyond configuration space", command: 9, payload: words(4096n, 7, 1), errno: 22 },
    { name: "read of nothing", command: 9, payload: words(0n, 0, 0), errno: 22 },
    { name: "read of too much", command: 9, payload: words(0n, 0, 0x1_0001), errno: 7 },
    { name: "read of 4 GiB", command: 9, payload: words(0n, 0, 0xffff_ffff), errno: 7 },
    { name: "a read with data", command: 9, payload: words(0n, 0, 4, 0), errno: 22 },
    { name: "half a read", command: 9, payload: words(0n), errno: 22 },
    { name: "write beyond a BAR", command: 10, payload: words(0x1_0000n, 0, 4, 0), errno: 22 },
    {
      name: "write at an offset that wraps",
      command: 10,
      payload: words(huge, 0, 4, 0),
      errno: 22,
    },
    { name: "write of an absent BAR", command: 10, payload: words(0n, 5, 4, 0), errno: 22 },
    { name: "write of nothing", command: 10, payload: words(0n, 0, 0), errno: 22 },
    { name: "write of less than it says", command: 10, payload: words(0n, 0, 8, 0), errno: 22 },
    { name: "write of more than it says", command: 10, payload: words(0n, 0, 4, 0, 0), errno: 22 },
    { name: "write of 4 GiB", command: 10, payload: words(0n, 0, 0xffff_ffff, 0), errno: 22 },
    { name: "half a write", command: 10, payload: words(0n), errno: 22 },
    { name: "no writes of many", command: 15, payload: words(1n), errno: 22 },
    { name: "half of many writes", command: 15, payload: words(0), errno: 22 },
    { name: "reset with something", command: 13, payload: words(0), errno: 22 },
    { name: "info with a small argsz", command: 4, payload: words(8, 0, 0, 0), errno: 22 },
    { name: "info that is short", command: 4, payload: words(16, 0, 0), errno: 22 },
    { name: "region 9", command: 5, payload: words(32, 0, 9, 0, 0n, 0n), errno: 22 },
    {
      name: "region with a small argsz",
      command: 5,
      payload: words(31, 0, 0, 0, 0n, 0n),
      errno: 22,
    },
    { name: "interrupt 5", command: 7, payload: words(16, 0, 5, 0), errno: 22 },
    { name: "interrupt with a small argsz", command: 7, payload: words(0, 0, 0, 0), errno: 22 },
    { name: "descriptors of registers", command: 6, payload: words(16, 0, 0, 0), errno: 38 },
    { name: "a DMA_READ from a client", command: 11, payload: words(0n, 4n), errno: 38 },
    { name: "a DMA_WRITE from a client", command: 12, payload: words(0n, 4n, 0), errno: 38 },
    { name: "dirty pages", command: 14, payload: words(0n, 0n), errno: 38 },
    { name: "features", command: 16, payload: words(8, 0), errno: 38 },
    { name: "command 0", command: 0, payload: nothing, errno: 38 },
    { name: "command 65535", command: 0xffff, payload: nothing, errno: 38 },
  ];
  for (const { name, command, payload, errno } of cases) {
    await t.step(name, () => {
      using machine = new TestMachine();
      using client = machine.agreed();
      const reply = client.request(command, payload);
      assertEquals([reply.flags, reply.errno, reply.payload.length], [0x21, errno, 0]);
      assertEquals([machine.pci.log.length, machine.lines.length], [0, 1]);
      client.post(command, payload);
      assertEquals([machine.pci.log.length, machine.lines.length], [0, 2]);
      assertEquals(client.request(4, words(16, 0, 0, 0)).errno, 0);
    });
  }
});

Deno.test("a request that asks for no reply gets none, even where that makes no sense", () => {
  using machine = new TestMachine();
  using client = machine.agreed();
  client.post(9, words(0n, 0, 4));
  assertEquals([machine.pci.log, machine.lines], [[], [
    "recorder: REGION_READ refused with EINVAL: it asks for no reply",
  ]]);
  client.post(13, nothing);
  assertEquals(machine.pci.log, ["reset"]);
  assertEquals([client.received, client.request(4, words(16, 0, 0, 0)).errno], [[], 0]);
});

Deno.test("a reply that nobody waits for is ignored", () => {
  using machine = new TestMachine();
  using client = machine.agreed();
  client.raw(client.message(12, nothing, 0x21));
  assertEquals([client.request(4, words(16, 0, 0, 0)).errno, machine.lines], [0, []]);
});

Deno.test("bytes that are no message end the connection with one line", async (t) => {
  const header = (size: number, flags = 0): Uint8Array => words(0x0004_0001, size, flags, 0);
  const cases = [
    { name: "size 0", bytes: header(0), reason: "it sent a message of 0 bytes" },
    { name: "size 15", bytes: header(15), reason: "it sent a message of 15 bytes" },
    { name: "size 65569", bytes: header(65569), reason: "it sent a message of 65569 bytes" },
    {
      name: "size 2^32-1",
      bytes: header(0xffff_ffff),
      reason: "it sent a message of 4294967295 bytes",
    },
    { name: "type 2", bytes: header(16, 2), reason: "it sent a message of type 2" },
    {
      name: "text",
      bytes: new TextEncoder().encode("GET / HTTP/1.1\r\n\r\n"),
      reason: "it sent a message of 1414012975 bytes",
    },
  ];
  for (const { name, bytes, reason } of cases) {
    await t.step(name, () => {
      using machine = new TestMachine();
      using client = machine.agreed();
      client.raw(bytes);
      assertEquals(client.isClosed(), true);
      assertEquals(machine.lines, [`recorder: The client is gone: ${reason}`]);
      using next = machine.agreed();
      assertEquals(next.request(4, words(16, 0, 0, 0)).errno, 0);
    });
  }
});

Deno.test("a message may come in pieces, and several in one", () => {
  using machine = new TestMachine();
  using client = machine.agreed();
  const write = (offset: bigint, value: number): Uint8Array =>
    client.message(10, words(offset, 0, 4, value), 0x10);
  const stream = joined(write(0n, 1), write(4n, 2), client.message(13, nothing), write(8n, 3));
  for (const cut of [1, 7, 15, 16, 17, 35, 36, 37, 60, 90, stream.length]) {
    machine.pci.log.length = 0;
    for (let at = 0; at < stream.length; at += cut) {
      client.raw(stream.subarray(at, at + cut));
      settle(machine);
    }
    assertEquals(machine.pci.log, [
      "bar0 write 0: 1 0 0 0",
      "bar0 write 4: 2 0 0 0",
      "reset",
      "bar0 write 8: 3 0 0 0",
    ], `pieces of ${cut}`);
    assertEquals(client.next(16)?.command, 13);
  }
});

Deno.test("the longest message goes through, both ways", () => {
  using machine = new TestMachine();
  using client = machine.agreed();
  const data = crypto.getRandomValues(new Uint8Array(0x1_0000));
  assertEquals(client.request(10, joined(words(0n, 0, 0x1_0000), data)).errno, 0);
  const read = client.request(9, words(0n, 0, 0x1_0000), { room: 0x1_0020 });
  assertEquals(read.payload.subarray(16), data);
});

Deno.test("a client that leaves in the middle of a message is noticed", async (t) => {
  for (const length of [1, 15, 16, 20, 35]) {
    await t.step(`after ${length} bytes`, () => {
      using machine = new TestMachine();
      const client = machine.agreed();
      client.raw(client.message(10, words(0n, 0, 4, 1)).subarray(0, length));
      client.leave();
      assertEquals(machine.lines, [
        "recorder: The client is gone: it left in the middle of a message",
      ]);
      assertEquals(machine.pci.log, ["reset"]);
    });
  }
});

Deno.test("a client that leaves with its replies unread is noticed", () => {
  using machine = new TestMachine();
  const client = machine.agreed();
  client.raw(client.message(9, words(0n, 7, 4096)));
  settle(machine);
  client.leave();
  assertEquals(machine.lines, ["recorder: The client is gone: it left"]);
});

Deno.test("a client that never reads stops itself, and the server neither waits nor grows", () => {
  using machine = new TestMachine();
  crypto.getRandomValues(machine.pci.memory);
  using client = machine.agreed();
  const ask = client.message(9, words(0n, 0, 0x1_0000));
  let accepted = 0;
  let refused = 0;
  while (refused < 3) {
    if (client.raw(ask) === ask.length) {
      accepted++;
      refused = 0;
    } else refused++;
    settle(machine);
  }
  const done = machine.pci.log.length / 0x2000;
  assert(done < 16, `${done} of ${accepted} requests were done though no reply was read`);
  assert(accepted < 5000, "the requests of a client that does not read must pile up on its side");
  let sent = 0;
  while (machine.msi.send(0x1000, sent)) assert(++sent < 10_000, "posted messages are not bounded");
  settle(machine);
  for (let i = 0; i < accepted; i++) {
    const data = client.reply(0x1_0020).payload.subarray(16);
    assert(data.every((byte, at) => byte === machine.pci.memory[at]), `reply ${i} is damaged`);
  }
  settle(machine);
  client.settle();
  assertEquals(
    client.received.map(({ payload }) => payload[16]),
    Array.from({ length: sent }, (_, i) => i & 255),
  );
  assertEquals(machine.msi.send(0x1000, 1), true);
  assertEquals(client.request(4, words(16, 0, 0, 0)).errno, 0);
});

Deno.test("a client that never stops sending leaves others their turn", () => {
  using machine = new TestMachine();
  using client = machine.agreed();
  const write = client.message(10, words(0n, 0, 4, 1), 0x10);
  client.raw(joined(...new Array(1000).fill(write)));
  machine.poller.step(0);
  assert(machine.pci.log.length < 100, `${machine.pci.log.length} writes in one turn`);
  settle(machine);
  assertEquals(machine.pci.log.length, 1000);
});

Deno.test("a client that stops reading and leaves is noticed", () => {
  using machine = new TestMachine();
  const client = machine.agreed();
  const ask = client.message(9, words(0n, 0, 0x1_0000));
  for (let i = 0; i < 20; i++) client.raw(ask);
  settle(machine);
  client.leave();
  assertEquals(machine.server.isConnected, false);
  assertEquals(machine.lines, ["recorder: The client is gone: it left"]);
});

Deno.test("descriptors that nobody asked for are closed", async (t) => {
  const cases = [
    { name: "with a request that takes none", command: 4, payload: words(16, 0, 0, 0), count: 1 },
    {
      name: "more than a request takes",
      command: 2,
      payload: words(32, 3, 0n, 0n, 0x1000n),
      count: 2,
    },
    { name: "16 with an unknown command", command: 99, payload: nothing, count: 16 },
  ];
  for (const { name, command, payload, count } of cases) {
    await t.step(name, () => {
      using machine = new TestMachine();
      using fd = createMemfd("unwanted", 0x1000);
      using client = machine.agreed();
      const before = openDescriptors();
      const reply = client.request(command, payload, { fds: new Array(count).fill(fd) });
      assertEquals([reply.errno === 0, machine.lines.length], [false, 1]);
      assertEquals(openDescriptors(), before);
    });
  }
});

Deno.test("descriptors belong to the message whose header they came with", () => {
  using machine = new TestMachine();
  using fd = createMemfd("ram", 0x1000);
  using client = machine.agreed();
  const before = openDescriptors();
  const map = (gpa: bigint): Uint8Array => client.message(2, words(32, 3, 0n, gpa, 0x1000n));
  client.raw(map(0n), [fd]);
  client.raw(map(0x1000n), [fd]);
  client.raw(client.message(4, words(16, 0, 0, 0)));
  client.raw(map(0x2000n), [fd]);
  settle(machine);
  assertEquals([16, 16, 32, 16].map((room) => client.next(room)?.errno), [0, 0, 0, 0]);
  assertEquals([machine.ram.sizeBytes, machine.lines], [0x3000, []]);
  assertEquals(openDescriptors(), before);
});

Deno.test("descriptors of an unfinished message go with the client", async (t) => {
  const cases: { name: string; send: (client: VfioUserClient, fd: Fd) => void; reason: string }[] =
    [
      {
        name: "half a header",
        send: (client, fd) => client.raw(words(0x0002_0001, 48), [fd]),
        reason: "it left in the middle of a message",
      },
      {
        name: "half a body",
        send: (client, fd) => client.raw(words(0x0002_0001, 48, 0, 0, 32, 3), [fd, fd]),
        reason: "it left in the middle of a message",
      },
      {
        name: "the header after a message that ends the connection",
        send: (client, fd) => {
          client.raw(client.message(13, nothing, 2));
          client.raw(words(0x0002_0001, 48), [fd]);
        },
        reason: "it sent a message of type 2",
      },
      {
        name: "the header after a longer message that ends the connection",
        send: (client, fd) => {
          client.raw(client.message(4, words(16, 0, 0, 0), 2));
          client.raw(words(0x0002_0001, 48), [fd]);
        },
        reason: "it sent a message of type 2",
      },
      {
        name: "with the body and with the header, more than allowed",
        send: (client, fd) => {
          client.raw(words(0x0002_0001, 48, 0, 0), new Array(16).fill(fd));
          client.raw(words(32, 3), [fd]);
        },
        reason: "it sent more than 16 descriptors",
      },
    ];
  for (const { name, send, reason } of cases) {
    await t.step(name, () => {
      using machine = new TestMachine();
      using fd = createMemfd("late", 0x1000);
      const before = openDescriptors();
      const client = machine.agreed();
      send(client, fd);
      settle(machine);
      client.leave();
      assertEquals(machine.lines, [`recorder: The client is gone: ${reason}`]);
      assertEquals(openDescriptors(), before);
    });
  }
});

Deno.test("a flood of clients is turned away without an end to the first", () => {
  using machine = new TestMachine();
  const before = openDescriptors().length;
  using client = machine.agreed();
  for (let i = 0; i < 200; i++) {
    using extra = new VfioUserClient(machine.path, machine.poller);
    assertEquals(extra.isClosed(), true);
  }
  assertEquals(client.request(4, words(16, 0, 0, 0)).errno, 0);
  assertEquals(openDescriptors().length, before + 2);
  assert(machine.lines.length <= 16);
});

Deno.test("random messages do no harm", async (t) => {
  let seed = 20_240_607;
  const random = (below: number): number => {
    seed = (Math.imul(seed, 1_664_525) + 1_013_904_223) >>> 0;
    return Math.floor(seed / 2 ** 32 * below);
  };
  const odd = [0, 1, 2, 4, 7, 8, 16, 20, 24, 32, 0x1000, 0x1_0000, 0xffff, 0xffff_ffff];
  await t.step(`seed ${seed}`, () => {
    const before = openDescriptors();
    {
      using machine = new TestMachine();
      using fd = createMemfd("random", 0x4000);
      let client = machine.agreed();
      for (let i = 0; i < 3000; i++) {
        const payload = words(...Array.from({ length: random(12) }, () => odd[random(odd.length)]));
        const fds = new Array(random(8) === 0 ? random(17) : 0).fill(fd);
        client.raw(client.message(random(18), payload, random(4) === 0 ? 0x10 : 0), fds);
        settle(machine);
        if (random(50) === 0) {
          client.raw(words(...Array.from({ length: random(9) }, () => random(2 ** 32))));
        }
        if (client.isClosed() || random(100) === 0) {
          client.leave();
          client = machine.agreed();
        }
        machine.pci.log.length = 0;
      }
      client.leave();
      assertEquals([machine.ram.sizeBytes, machine.server.isConnected], [0, false]);
    }
    assertEquals(openDescriptors(), before);
  });
});
