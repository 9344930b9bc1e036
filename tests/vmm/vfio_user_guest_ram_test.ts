import { assertEquals } from "@std/assert";
import { Entry, GuestRam } from "../../hw/guest_memory.ts";
import { Fd } from "../../uapi/fd.ts";
import { libc } from "../../uapi/libc.ts";
import { createMemfd, F_SEAL } from "../../uapi/memfd.ts";
import { cString } from "../../uapi/pinned.ts";
import { socketPair } from "../../uapi/socket.ts";
import { GuestRamMap } from "../../vmm/guest_ram_map.ts";
import { mappingsOf, openDescriptors } from "../support/own_process.ts";
import { words } from "../support/vfio_user_client.ts";
import { TestMachine } from "../support/vfio_user_machine.ts";

libc();

const range = (gpa: number, sizeBytes: number, offset = 0, writable = true) => ({
  gpa,
  sizeBytes,
  offset,
  writable,
});

Deno.test("what a guest has in its file is RAM, both ways, after the descriptor is gone", () => {
  const ram = new GuestRam();
  const owner = new GuestRamMap(ram).owner("a");
  const fd = createMemfd("both ways", 0x4000);
  assertEquals(owner.map(range(0x8000_0000, 0x2000, 0x1000), fd), undefined);
  const bytes = Uint8Array.of(1, 2, 3, 4, 5, 6, 7, 8);
  assertEquals(ram.write(0x8000_0ffc, bytes), true);
  const into = new Uint8Array(8);
  libc().pread(fd.number, into, 8n, 0x1ffcn);
  assertEquals(into, bytes);
  fd[Symbol.dispose]();
  const record = new Entry(8);
  assertEquals([ram.fetch(0x8000_1000, record), record.bytes[0]], [true, 5]);
  assertEquals([ram.fetch(0x8000_2000, record), ram.fetch(0x7fff_fff8, record)], [false, false]);
  owner.unmapAll();
});

Deno.test("owners that map the same share it until the last of them is done", () => {
  const ram = new GuestRam();
  const map = new GuestRamMap(ram);
  const [a, b, c] = [map.owner("a"), map.owner("b"), map.owner("c")];
  using fd = createMemfd("same", 0x2000);
  for (const owner of [a, b, c]) {
    assertEquals(owner.map(range(0x1000, 0x2000), fd), undefined);
    assertEquals([mappingsOf("same"), ram.sizeBytes], [1, 0x2000]);
  }
  assertEquals(a.unmap(0x1000, 0x2000), undefined);
  assertEquals(a.unmap(0x1000, 0x2000)?.errno, 2);
  b.unmapAll();
  b.unmapAll();
  assertEquals([mappingsOf("same"), ram.sizeBytes], [1, 0x2000]);
  c[Symbol.dispose]();
  assertEquals([mappingsOf("same"), ram.sizeBytes], [0, 0]);
});

Deno.test("a map that differs from what another owner has is refused, naming both", async (t) => {
  using fd = createMemfd("one", 0x4000);
  using other = createMemfd("two", 0x4000);
  const cases: { name: string; range: ReturnType<typeof range>; fd: Fd; reason: string }[] = [
    {
      name: "another file",
      range: range(0x1000, 0x2000),
      fd: other,
      reason:
        "RAM 0x1000+0x2000 (file offset 0x0) differs from RAM 0x1000+0x2000 (file offset 0x0) that a mapped",
    },
    {
      name: "another offset",
      range: range(0x1000, 0x2000, 0x1000),
      fd,
      reason:
        "RAM 0x1000+0x2000 (file offset 0x1000) differs from RAM 0x1000+0x2000 (file offset 0x0) that a mapped",
    },
    {
      name: "another size",
      range: range(0x1000, 0x1000),
      fd,
      reason:
        "RAM 0x1000+0x1000 (file offset 0x0) differs from RAM 0x1000+0x2000 (file offset 0x0) that a mapped",
    },
    {
      name: "another beginning",
      range: range(0x2000, 0x2000),
      fd,
      reason:
        "RAM 0x2000+0x2000 (file offset 0x0) differs from RAM 0x1000+0x2000 (file offset 0x0) that a mapped",
    },
    {
      name: "read-only",
      range: range(0x1000, 0x2000, 0, false),
      fd,
      reason:
        "RAM 0x1000+0x2000 (file offset 0x0) differs from RAM 0x1000+0x2000 (file offset 0x0) that a mapped",
    },
  ];
  for (const { name, range: asked, fd: file, reason } of cases) {
    await t.step(name, () => {
      const ram = new GuestRam();
      const map = new GuestRamMap(ram);
      using a = map.owner("a");
      using b = map.owner("b");
      a.map(range(0x1000, 0x2000), fd);
      assertEquals(b.map(asked, file), { errno: 22, reason });
      assertEquals([ram.sizeBytes, mappingsOf("one") + mappingsOf("two")], [0x2000, 1]);
      assertEquals(b.map(range(0x3000, 0x1000), file), undefined);
    });
  }
});

Deno.test("a map that makes no sense is refused and leaves nothing", async (t) => {
  using fd = createMemfd("odd", 0x4000, F_SEAL.SHRINK);
  using elsewhere = new Fd(libc().open(cString("/proc/self/status"), 0, 0));
  const [socket, peer] = socketPair();
  const cases: { name: string; range: ReturnType<typeof range>; fd?: Fd; reason: string }[] = [
    {
      name: "unaligned",
      range: range(0x800, 0x1000),
      reason: "RAM 0x800+0x1000 (file offset 0x0) is not made of whole pages",
    },
    {
      name: "half a page",
      range: range(0, 0x800),
      reason: "RAM 0x0+0x800 (file offset 0x0) is not made of whole pages",
    },
    {
      name: "an odd offset",
      range: range(0, 0x1000, 8),
      reason: "RAM 0x0+0x1000 (file offset 0x8) is not made of whole pages",
    },
    {
      name: "nothing",
      range: range(0, 0),
      reason: "RAM 0x0+0x0 (file offset 0x0) is no range of guest memory",
    },
    {
      name: "beyond 52 bits",
      range: range(2 ** 52 - 0x1000, 0x2000),
      reason: "RAM 0xffffffffff000+0x2000 (file offset 0x0) is no range of guest memory",
    },
    {
      name: "more than 16 TiB",
      range: range(0, 2 ** 44 + 0x1000),
      reason: "RAM 0x0+0x100000001000 (file offset 0x0) is no range of guest memory",
    },
    {
      name: "everything",
      range: range(0, 2 ** 64),
      reason: "RAM 0x0+0x10000000000000000 (file offset 0x0) is no range of guest memory",
    },
    {
      name: "beyond the file",
      range: range(0, 0x5000),
      reason: "RAM 0x0+0x5000 (file offset 0x0) ends beyond its file of 16384 bytes",
    },
    {
      name: "an offset beyond the file",
      range: range(0, 0x1000, 0x4000),
      reason: "RAM 0x0+0x1000 (file offset 0x4000) ends beyond its file of 16384 bytes",
    },
    {
      name: "a huge offset",
      range: range(0, 0x1000, 2 ** 64),
      reason:
        "RAM 0x0+0x1000 (file offset 0x10000000000000000) ends beyond its file of 16384 bytes",
    },
    {
      name: "a file that is not in memory",
      range: range(0, 0x1000),
      fd: elsewhere,
      reason: "RAM 0x0+0x1000 (file offset 0x0) does not come from a file in memory",
    },
    {
      name: "a socket",
      range: range(0, 0x1000),
      fd: socket,
      reason: "RAM 0x0+0x1000 (file offset 0x0) does not come from a file in memory",
    },
  ];
  for (const { name, range: asked, fd: file = fd, reason } of cases) {
    await t.step(name, () => {
      const ram = new GuestRam();
      using owner = new GuestRamMap(ram).owner("a");
      assertEquals(owner.map(asked, file), { errno: 22, reason });
      assertEquals([ram.sizeBytes, mappingsOf("odd")], [0, 0]);
    });
  }
  socket[Symbol.dispose]();
  peer[Symbol.dispose]();
});

Deno.test("an owner cannot map over its own maps, nor over RAM that was there", () => {
  const ram = new GuestRam();
  ram.map(0x10_0000, new ArrayBuffer(0x1000));
  using owner = new GuestRamMap(ram).owner("a");
  using fd = createMemfd("own", 0x4000);
  owner.map(range(0x1000, 0x2000), fd);
  assertEquals(owner.map(range(0x2000, 0x1000), fd), {
    errno: 22,
    reason:
      "RAM 0x2000+0x1000 (file offset 0x0) overlaps its own RAM 0x1000+0x2000 (file offset 0x0)",
  });
  assertEquals(owner.map(range(0x10_0000, 0x1000), fd), {
    errno: 22,
    reason: "RAM 0x100000+0x1000 (file offset 0x0) overlaps RAM that no client mapped",
  });
  assertEquals([mappingsOf("own"), ram.sizeBytes], [1, 0x3000]);
});

Deno.test("a range without a file is remembered, and is no RAM", () => {
  const ram = new GuestRam();
  const map = new GuestRamMap(ram);
  using a = map.owner("a");
  using b = map.owner("b");
  assertEquals(a.map(range(0x1000, 0x2000), undefined), undefined);
  assertEquals(b.map(range(0x1000, 0x3000), undefined), undefined);
  assertEquals([ram.sizeBytes, a.map(range(0x2000, 0x1000), undefined)?.errno], [0, 22]);
  assertEquals([a.unmap(0x1000, 0x2000), a.unmap(0x1000, 0x2000)?.errno], [undefined, 2]);
});

Deno.test("unmapping takes whole maps, several at once, and never a part of one", () => {
  const ram = new GuestRam();
  using owner = new GuestRamMap(ram).owner("a");
  using fd = createMemfd("parts", 0x4000);
  owner.map(range(0x1000, 0x1000), fd);
  owner.map(range(0x2000, 0x2000), fd);
  owner.map(range(0x8000, 0x1000), fd);
  assertEquals(owner.unmap(0x1000, 0x2000), {
    errno: 22,
    reason:
      "RAM 0x1000+0x2000 (file offset 0x0) covers only a part of RAM 0x2000+0x2000 (file offset 0x0)",
  });
  assertEquals(ram.sizeBytes, 0x4000);
  assertEquals([owner.unmap(0, 0x4000), ram.sizeBytes], [undefined, 0x1000]);
  assertEquals([owner.unmap(0, 2 ** 64), ram.sizeBytes], [undefined, 0]);
});

Deno.test("read-only RAM takes no store", () => {
  const ram = new GuestRam();
  using owner = new GuestRamMap(ram).owner("a");
  using fd = createMemfd("rom", 0x1000);
  owner.map(range(0, 0x1000, 0, false), fd);
  assertEquals([ram.store32(0, 1), ram.write(0, new Uint8Array(1))], [false, false]);
  assertEquals(ram.read(0, new Uint8Array(1)), true);
});

Deno.test("the number of maps is bounded", () => {
  const ram = new GuestRam();
  const map = new GuestRamMap(ram);
  using a = map.owner("a");
  using b = map.owner("b");
  using fd = createMemfd("many", 0x1000);
  for (let i = 0; i < 512; i++) assertEquals(a.map(range(i * 0x1000, 0x1000), fd), undefined);
  assertEquals(a.map(range(0x100_0000, 0x1000), fd), {
    errno: 28,
    reason: "it has 512 maps already",
  });
  assertEquals(b.map(range(0x100_0000, 0x1000), fd), {
    errno: 28,
    reason: "there are 512 pieces of RAM already",
  });
  assertEquals(b.map(range(0, 0x1000), fd), undefined);
});

Deno.test("a file that may shrink is named once, and a memfd is sealed so that it may not", () => {
  const lines: string[] = [];
  const ram = new GuestRam();
  const map = new GuestRamMap(ram, { log: (line) => lines.push(line) });
  using a = map.owner("a");
  using b = map.owner("b");
  using loose = createMemfd("loose", 0x1000, F_SEAL.SEAL);
  using open = createMemfd("open", 0x1000);
  for (const owner of [a, b]) {
    owner.map(range(0, 0x1000), loose);
    owner.map(range(0x1000, 0x1000), open);
  }
  assertEquals(lines, [
    "a: RAM 0x0+0x1000 (file offset 0x0) lies in a file that may shrink, which would end us",
  ]);
  for (const owner of [a, b]) owner.unmapAll();
  a.map(range(0, 0x1000), loose);
  assertEquals(lines.length, 1);
  assertEquals(libc().ftruncate(open.number, 0n), -1);
});

Deno.test("DMA_MAP and DMA_UNMAP answer as a client expects, and keep no descriptor", async (t) => {
  const cases: {
    name: string;
    command: number;
    payload: Uint8Array;
    fds?: number;
    errno: number;
  }[] = [
    { name: "map", command: 2, payload: words(32, 3, 0n, 0x4000n, 0x1000n), fds: 1, errno: 0 },
    {
      name: "map read-only",
      command: 2,
      payload: words(32, 1, 0n, 0x4000n, 0x1000n),
      fds: 1,
      errno: 0,
    },
    {
      name: "map without a file",
      command: 2,
      payload: words(32, 3, 0n, 0x4000n, 0x1000n),
      errno: 0,
    },
    {
      name: "map two files",
      command: 2,
      payload: words(32, 3, 0n, 0x4000n, 0x1000n),
      fds: 2,
      errno: 22,
    },
    {
      name: "map over another",
      command: 2,
      payload: words(32, 3, 0n, 0x1000n, 0x1000n),
      fds: 1,
      errno: 22,
    },
    {
      name: "map without a right",
      command: 2,
      payload: words(32, 0, 0n, 0x4000n, 0x1000n),
      fds: 1,
      errno: 22,
    },
    {
      name: "map for writing only",
      command: 2,
      payload: words(32, 2, 0n, 0x4000n, 0x1000n),
      fds: 1,
      errno: 22,
    },
    {
      name: "map with an unknown flag",
      command: 2,
      payload: words(32, 7, 0n, 0x4000n, 0x1000n),
      fds: 1,
      errno: 22,
    },
    {
      name: "map beyond the file",
      command: 2,
      payload: words(32, 3, 0n, 0x4000n, 0x8000n),
      fds: 1,
      errno: 22,
    },
    {
      name: "map unaligned",
      command: 2,
      payload: words(32, 3, 0n, 0x4001n, 0x1000n),
      fds: 1,
      errno: 22,
    },
    {
      name: "map all there is",
      command: 2,
      payload: words(32, 3, 2n ** 64n - 0x1000n, 2n ** 64n - 0x1000n, 2n ** 64n - 0x1000n),
      fds: 1,
      errno: 22,
    },
    {
      name: "map with a small argsz",
      command: 2,
      payload: words(24, 3, 0n, 0x4000n, 0x1000n),
      fds: 1,
      errno: 22,
    },
    {
      name: "map in a short message",
      command: 2,
      payload: words(32, 3, 0n, 0x4000n),
      fds: 1,
      errno: 22,
    },
    {
      name: "map in a long message",
      command: 2,
      payload: words(32, 3, 0n, 0x4000n, 0x1000n, 0),
      fds: 1,
      errno: 22,
    },
    { name: "unmap", command: 3, payload: words(24, 0, 0x1000n, 0x1000n), errno: 0 },
    { name: "unmap all", command: 3, payload: words(24, 2, 0n, 0n), errno: 0 },
    {
      name: "unmap all of a range",
      command: 3,
      payload: words(24, 2, 0x1000n, 0x1000n),
      errno: 22,
    },
    {
      name: "unmap what is not there",
      command: 3,
      payload: words(24, 0, 0x4000n, 0x1000n),
      errno: 2,
    },
    {
      name: "unmap with a dirty bitmap",
      command: 3,
      payload: words(24, 1, 0x1000n, 0x1000n),
      errno: 22,
    },
    {
      name: "unmap with a descriptor",
      command: 3,
      payload: words(24, 0, 0x1000n, 0x1000n),
      fds: 1,
      errno: 22,
    },
    {
      name: "unmap with a small argsz",
      command: 3,
      payload: words(8, 0, 0x1000n, 0x1000n),
      errno: 22,
    },
  ];
  for (const { name, command, payload, fds = 0, errno } of cases) {
    await t.step(name, () => {
      using machine = new TestMachine();
      using fd = createMemfd("ram", 0x4000);
      using client = machine.agreed();
      client.request(2, words(32, 3, 0x2000n, 0x1000n, 0x1000n), { fds: [fd] });
      const before = openDescriptors();
      const reply = client.request(command, payload, { fds: new Array(fds).fill(fd) });
      assertEquals([reply.errno, machine.lines.length], [errno, errno === 0 ? 0 : 1]);
      if (command === 3 && errno === 0) assertEquals(reply.payload, payload);
      else assertEquals(reply.payload.length, 0);
      assertEquals(openDescriptors(), before);
      const size = name === "map" || name === "map read-only"
        ? 0x2000
        : name === "unmap" || name === "unmap all"
        ? 0
        : 0x1000;
      assertEquals(machine.ram.sizeBytes, size);
    });
  }
});
