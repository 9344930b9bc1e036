import { assert, assertEquals, assertThrows } from "@std/assert";
import { SystemError } from "../../uapi/errno.ts";
import { EventFd } from "../../uapi/eventfd.ts";
import { Fd } from "../../uapi/fd.ts";
import { HostFile } from "../../uapi/file.ts";
import { libc } from "../../uapi/libc.ts";
import { Mapping } from "../../uapi/mapping.ts";
import { createMemfd, F_SEAL, sealAgainstShrinking } from "../../uapi/memfd.ts";
import { cString, Pinned } from "../../uapi/pinned.ts";
import { socketPair } from "../../uapi/socket.ts";
import { type FileStatus, S_IF, statusAt, statusOf } from "../../uapi/stat.ts";
import { mappingsOf, openDescriptors } from "../support/own_process.ts";

libc();

Deno.test("an Fd is closed once, and never after it was taken", () => {
  const before = openDescriptors();
  const fd = createMemfd("once", 4096);
  assertEquals(openDescriptors().length, before.length + 1);
  fd[Symbol.dispose]();
  fd[Symbol.dispose]();
  assertEquals([fd.isOpen, fd.number], [false, -1]);
  const second = createMemfd("taken", 4096);
  const number = second.take();
  second[Symbol.dispose]();
  assertEquals(openDescriptors().length, before.length + 1);
  new Fd(number)[Symbol.dispose]();
  assertEquals(openDescriptors(), before);
});

Deno.test("an EventFd counts signals until they are drained", () => {
  using event = EventFd.create();
  assertEquals(event.drain(), 0);
  event.signal();
  event.signal();
  assertEquals([event.drain(), event.drain()], [2, 0]);
});

Deno.test("EventFd.adopt() takes event counters only, and closes anything else", () => {
  const before = openDescriptors();
  assertEquals(EventFd.adopt(createMemfd("no counter", 4096)), undefined);
  const [left, right] = socketPair();
  assertEquals(EventFd.adopt(left), undefined);
  right[Symbol.dispose]();
  assertEquals(EventFd.adopt(new Fd(-1)), undefined);
  const event = EventFd.adopt(new Fd(libc().eventfd(5, 0)))!;
  assertEquals(event.drain(), 5);
  event[Symbol.dispose]();
  assertEquals(openDescriptors(), before);
});

Deno.test("signalling a full counter that blocks its writers returns at once", () => {
  const fd = new Fd(libc().eventfd(0, 0));
  const most = new Uint8Array(Uint8Array.of(0xfe, 255, 255, 255, 255, 255, 255, 255).buffer);
  assertEquals(libc().write(fd.number, most, 8n), 8);
  using event = EventFd.adopt(fd)!;
  event.signal();
  const F_SETFL = 4;
  libc().fcntl(fd.number, F_SETFL, 0);
  event.signal();
  assertEquals(event.drain(), 2 ** 64);
});

Deno.test("a Pinned buffer stores 64-bit numbers and knows where it is", () => {
  const pinned = new Pinned(16);
  pinned.setU64(8, 2 ** 52 + 3);
  assertEquals(pinned.view.getBigUint64(8, true), 2n ** 52n + 3n);
  const copy = new Uint8Array(16);
  libc().copyFrom(copy, BigInt(pinned.address), 16n);
  assertEquals(copy, new Uint8Array(pinned.bytes));
});

Deno.test("a Mapping shares its pages with other mappings of the file", () => {
  using fd = createMemfd("shared", 0x3000);
  using all = new Mapping(fd, { offset: 0, sizeBytes: 0x3000, writable: true });
  using tail = new Mapping(fd, { offset: 0x1000, sizeBytes: 0x2000, writable: false });
  new Uint8Array(all.buffer)[0x1004] = 7;
  assertEquals([new Uint8Array(tail.buffer)[4], tail.buffer.byteLength], [7, 0x2000]);
});

Deno.test("a closed Mapping leaves an empty buffer, not a trap", () => {
  using fd = createMemfd("closed", 0x1000);
  const mapping = new Mapping(fd, { offset: 0, sizeBytes: 0x1000, writable: true });
  const bytes = new Uint8Array(mapping.buffer);
  bytes[0] = 1;
  const maps = (): number => mappingsOf("closed");
  assertEquals(maps(), 1);
  mapping[Symbol.dispose]();
  mapping[Symbol.dispose]();
  assertEquals([bytes.length, bytes[0], mapping.buffer.detached, maps()], [0, undefined, true, 0]);
});

Deno.test("a range that cannot be mapped is a SystemError", () => {
  using fd = createMemfd("odd", 0x2000);
  assertThrows(
    () => new Mapping(fd, { offset: 8, sizeBytes: 0x1000, writable: true }),
    SystemError,
    "Cannot map 4096 bytes: EINVAL",
  );
});

Deno.test("a file that may only be read is mapped for reading only", () => {
  const path = Deno.makeTempFileSync();
  try {
    Deno.writeFileSync(path, new Uint8Array(4096).fill(3));
    using fd = new Fd(libc().open(cString(path), 0, 0));
    using mapping = new Mapping(fd, { offset: 0, sizeBytes: 4096, writable: false });
    assertEquals(new Uint8Array(mapping.buffer)[4095], 3);
    const range = { offset: 0, sizeBytes: 4096, writable: true };
    assertThrows(() => new Mapping(fd, range), SystemError, "Cannot map 4096 bytes: EACCES");
  } finally {
    Deno.removeSync(path);
  }
});

Deno.test("a memfd is sealed against shrinking where it still can be", () => {
  using open = createMemfd("open", 0x1000);
  using closed = createMemfd("closed", 0x1000, F_SEAL.SEAL);
  using sealed = createMemfd("sealed", 0x1000, F_SEAL.SEAL | F_SEAL.SHRINK);
  assertEquals([open, closed, sealed].map(sealAgainstShrinking), [true, false, true]);
  assertEquals([libc().ftruncate(open.number, 0n), libc().ftruncate(closed.number, 0n)], [-1, 0]);
});

Deno.test("a status tells files apart and says what they are", () => {
  using one = createMemfd("one", 0x1234);
  using two = createMemfd("two", 1);
  using again = new Fd(libc().fcntl(one.number, 0, 0));
  assertEquals(statusOf(one).identity, statusOf(again).identity);
  assert(statusOf(one).identity !== statusOf(two).identity);
  assertEquals([statusOf(one).sizeBytes, statusOf(one).type], [0x1234, S_IF.REG]);
  const directory = Deno.makeTempDirSync();
  try {
    const status = statusAt(directory) as FileStatus;
    assertEquals([status.type, status.mode, status.uid], [S_IF.DIR, 0o700, libc().geteuid()]);
    assertEquals(statusAt(`${directory}/nothing`), -2);
  } finally {
    Deno.removeSync(directory);
  }
});

Deno.test("a HostFile reads, writes, punches holes and reports its size", () => {
  const path = Deno.makeTempFileSync();
  try {
    Deno.writeFileSync(path, new Uint8Array(3 * 4096).fill(1));
    using file = new HostFile(path);
    assertEquals(file.sizeBytes, 12288);
    file.write(4094, Uint8Array.of(2, 3, 4, 5));
    const into = new Uint8Array(6).subarray(1);
    file.read(4094, into);
    assertEquals([...into], [2, 3, 4, 5, 1]);
    file.punchHole(4096, 4096);
    file.read(4094, into);
    assertEquals([...into], [2, 3, 0, 0, 0]);
    file.syncData();
    file.sync();
    assertThrows(() => file.read(12288, into), SystemError, `Cannot read ${path}: EIO`);
    using readOnly = new HostFile(path, { readOnly: true });
    assertThrows(() => readOnly.write(0, into), SystemError, `Cannot write ${path}: EBADF`);
  } finally {
    Deno.removeSync(path);
  }
  assertThrows(() => new HostFile(path), SystemError, `Cannot open ${path}: ENOENT`);
});
