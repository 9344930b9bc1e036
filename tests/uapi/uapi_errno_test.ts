import { assertEquals, assertThrows } from "@std/assert";
import { check, ERRNO, errnoName, orMinusErrno, SystemError } from "../../uapi/errno.ts";
import { lastErrno, libc } from "../../uapi/libc.ts";

Deno.test("a SystemError says what could not be done and why", () => {
  const error = new SystemError("open /dev/iommu", 2);
  assertEquals([error.message, error.call, error.errno, error.code, error.name], [
    "Cannot open /dev/iommu: ENOENT",
    "open /dev/iommu",
    2,
    "ENOENT",
    "SystemError",
  ]);
});

Deno.test("errnoName() gives the number when Linux has no name for it", () => {
  assertEquals([errnoName(22), errnoName(95), errnoName(41), errnoName(4095)], [
    "EINVAL",
    "EOPNOTSUPP",
    "E41",
    "E4095",
  ]);
});

Deno.test("lastErrno() is the error of the call just made, whatever was allocated before", () => {
  for (let i = 0; i < 20_000; i++) {
    const litter = new Array(i % 50).fill(i);
    const expected = i % 2 === 0 ? 9 : 22;
    // Nothing is allocated between the two, as nothing is in our code: a collector may wait by system calls.
    const result = i % 2 === 0 ? libc().close(-1) : libc().eventfd(0, -1);
    const errno = lastErrno();
    assertEquals([result, errno, litter.length], [-1, expected, i % 50]);
  }
});

Deno.test("check() throws for a negative result and orMinusErrno() returns it", () => {
  assertEquals([check(7, "count"), orMinusErrno(7)], [7, 7]);
  assertEquals(orMinusErrno(libc().close(-1)), -9);
  assertThrows(
    () => check(libc().close(-1), "close nothing"),
    SystemError,
    "Cannot close nothing: EBADF",
  );
});

const run = (await Deno.permissions.query({ name: "run", command: "cc" })).state === "granted";

Deno.test({
  name: "error numbers are those of the C headers",
  ignore: !run,
  fn: async () => {
    const args = ["-dM", "-E", "-include", "errno.h", "-x", "c", "/dev/null"];
    const { stdout } = await new Deno.Command("cc", { args }).output();
    const header: Record<string, number> = {};
    for (
      const [, name, value] of new TextDecoder().decode(stdout).matchAll(/#define (E\w+) (\d+)$/gm)
    ) {
      header[name] = Number(value);
    }
    assertEquals(ERRNO as Record<string, number>, header);
  },
});
