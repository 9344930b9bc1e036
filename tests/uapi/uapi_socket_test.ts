import { assert, assertEquals, assertThrows } from "@std/assert";
import { SystemError } from "../../uapi/errno.ts";
import type { Fd } from "../../uapi/fd.ts";
import { libc } from "../../uapi/libc.ts";
import { createMemfd } from "../../uapi/memfd.ts";
import { Pinned } from "../../uapi/pinned.ts";
import {
  accept,
  CMSGHDR,
  connect,
  IOVEC,
  listen,
  MSGHDR,
  Receiver,
  send,
  Sender,
  SOCKADDR_UN,
  socketPair,
} from "../../uapi/socket.ts";
import { POLLFD } from "../../uapi/poll.ts";
import { statusOf, STATX } from "../../uapi/stat.ts";
import { openDescriptors } from "../support/own_process.ts";

libc();

function pinned(...bytes: number[]): Pinned {
  const result = new Pinned(bytes.length);
  result.bytes.set(bytes);
  return result;
}

function close(...fds: Fd[]): void {
  for (const fd of fds) fd[Symbol.dispose]();
}

Deno.test("descriptors travel with bytes and arrive as owned, close-on-exec copies", () => {
  const before = openDescriptors();
  const [left, right] = socketPair();
  const files = [createMemfd("first", 1), createMemfd("second", 2)];
  assertEquals(new Sender().send(left, pinned(1, 2, 3), files), 3);
  const receiver = new Receiver(8);
  const fds: Fd[] = [];
  assertEquals(receiver.receive(right, 2, 6, fds), 3);
  assertEquals([...receiver.buffer.bytes], [0, 0, 1, 2, 3, 0, 0, 0]);
  assertEquals(fds.map((fd) => statusOf(fd).sizeBytes), [1, 2]);
  const F_GETFD = 1;
  assertEquals(fds.map((fd) => libc().fcntl(fd.number, F_GETFD, 0)), [1, 1]);
  close(left, right, ...files, ...fds);
  assertEquals(openDescriptors(), before);
});

Deno.test("more descriptors than fit are all closed, and the caller hears of it", () => {
  const before = openDescriptors();
  const [left, right] = socketPair();
  const file = createMemfd("many", 1);
  const fds: Fd[] = [];
  const receiver = new Receiver(8);
  assertEquals(new Sender().send(left, pinned(1), new Array(16).fill(file)), 1);
  assertEquals([receiver.receive(right, 0, 8, fds), fds.length], [1, 16]);
  assertEquals(new Sender().send(left, pinned(1), new Array(17).fill(file)), -109);
  sendMany(left, file, 20);
  assertEquals([receiver.receive(right, 0, 8, fds), fds.length], [-109, 16]);
  close(left, right, file, ...fds);
  assertEquals(openDescriptors(), before);
});

/** Sends one byte with more descriptors than `Sender` allows. */
function sendMany(to: Fd, file: Fd, count: number): void {
  const header = new Pinned(56);
  const vector = new Pinned(16);
  const control = new Pinned(16 + count * 4);
  const byte = pinned(1);
  header.setU64(16, vector.address);
  header.setU64(24, 1);
  header.setU64(32, control.address);
  header.setU64(40, 16 + count * 4);
  vector.setU64(0, byte.address);
  vector.setU64(8, 1);
  control.setU64(0, 16 + count * 4);
  control.view.setInt32(8, 1, true);
  control.view.setInt32(12, 1, true);
  for (let i = 0; i < count; i++) control.view.setInt32(16 + i * 4, file.number, true);
  assertEquals(libc().sendmsg(to.number, header.bytes, 0), 1);
}

Deno.test("nothing waits: an empty socket, a full one and a closed one are results", () => {
  const [left, right] = socketPair();
  const receiver = new Receiver(8);
  assertEquals(receiver.receive(right, 0, 8, []), -11);
  const block = new Uint8Array(65536);
  let last = 1;
  while (last > 0) last = send(left, block, block.length);
  assertEquals(last, -11);
  close(left);
  const bulk = new Receiver(65536);
  while (last !== 0) last = bulk.receive(right, 0, 65536, []);
  assertEquals([last, send(right, block, 1)], [0, -32]);
  close(right);
  assertEquals([receiver.receive(right, 0, 8, []), send(right, block, 1)], [-9, -9]);
});

Deno.test("a listener's file is private from its first moment and takes one client at a time", () => {
  const directory = Deno.makeTempDirSync();
  const path = `${directory}/socket`;
  const before = openDescriptors();
  try {
    const listener = listen(path, 4);
    assertEquals(Deno.lstatSync(path).mode! & 0o777, 0o600);
    assertEquals(accept(listener), -11);
    const client = connect(path);
    const server = accept(listener) as Fd;
    assertEquals(send(client, Uint8Array.of(42), 1), 1);
    const receiver = new Receiver(1);
    assertEquals([receiver.receive(server, 0, 1, []), receiver.buffer.bytes[0]], [1, 42]);
    assertThrows(() => listen(path, 4), SystemError, `Cannot listen at ${path}: EADDRINUSE`);
    close(listener, client, server);
    assertThrows(() => connect(path), SystemError, `Cannot connect to ${path}: ECONNREFUSED`);
    assertEquals(openDescriptors(), before);
  } finally {
    Deno.removeSync(directory, { recursive: true });
  }
});

Deno.test("a path that no socket address can hold is refused, not cut", () => {
  assertThrows(() => connect("x".repeat(108)), TypeError, "longer than 107 bytes");
  assertThrows(() => connect("x".repeat(107)), SystemError, "ENOENT");
  assertThrows(() => connect("a\0b"), TypeError, "NUL");
});

const run = (await Deno.permissions.query({ name: "run" })).state === "granted";

Deno.test({
  name: "structures have the offsets and sizes of the C headers",
  ignore: !run,
  fn: async () => {
    const layouts = {
      "struct msghdr": MSGHDR,
      "struct iovec": IOVEC,
      "struct cmsghdr": CMSGHDR,
      "struct sockaddr_un": SOCKADDR_UN,
      "struct pollfd": POLLFD,
      "struct statx": STATX,
    };
    const rows = Object.entries(layouts).flatMap(([type, layout]) =>
      Object.entries(layout).filter(([field]) => field !== "align").map(([field, expected]) => ({
        expression: field === "size" ? `sizeof(${type})` : `offsetof(${type}, ${field})`,
        expected,
      }))
    );
    const source = [
      "#define _GNU_SOURCE",
      ...["stddef", "stdio", "poll", "sys/socket", "sys/un", "sys/uio", "sys/stat"].map((name) =>
        `#include <${name}.h>`
      ),
      "int main(void) {",
      ...rows.map(({ expression }) => `printf("%zu\\n", ${expression});`),
      "}",
    ].join("\n");
    const directory = Deno.makeTempDirSync();
    try {
      Deno.writeTextFileSync(`${directory}/layout.c`, source);
      const args = [`${directory}/layout.c`, "-o", `${directory}/layout`];
      const { success } = await new Deno.Command("cc", { args }).output();
      assert(success, "cc failed");
      const { stdout } = await new Deno.Command(`${directory}/layout`).output();
      const sizes = new TextDecoder().decode(stdout).trim().split("\n").map(Number);
      assertEquals(
        rows.map(({ expression }, i) => [expression, sizes[i]]),
        rows.map(({ expression, expected }) => [expression, expected]),
      );
    } finally {
      Deno.removeSync(directory, { recursive: true });
    }
  },
});
