import { assertEquals, assertInstanceOf, assertNotInstanceOf, assertThrows } from "@std/assert";
import { SystemError } from "../../uapi/errno.ts";
import { EventFd } from "../../uapi/eventfd.ts";
import { addressOf, io, ioctl, MissingIoctlError, plainIoctl } from "../../uapi/ioctl.ts";
import { createMemfd } from "../../uapi/memfd.ts";
import { Pinned } from "../../uapi/pinned.ts";

/** Of an open file: how many bytes can be read; then one that no file has. */
const FIONREAD = 0x541bn;
const NONE = io(0x3b, 0x80);

Deno.test("io() is a type and a number", () => {
  assertEquals(io(0x3b, 0x8d), 0x3b8dn);
});

Deno.test("ioctl() writes where it was told", () => {
  using memfd = createMemfd("ioctl", 0x123);
  const answer = new Pinned(4);
  assertEquals(ioctl(memfd.number, FIONREAD, answer.bytes, "ask"), 0);
  assertEquals(answer.view.getUint32(0, true), 0x123);
});

Deno.test("a kernel without an ioctl is told apart from a refusal", async (t) => {
  using event = EventFd.create();
  const { number } = event.fd;
  const bytes = new Uint8Array(new ArrayBuffer(8));
  await t.step("not there", () => {
    const error = assertThrows(() => ioctl(number, NONE, bytes, "IOMMU_DESTROY"), SystemError);
    assertInstanceOf(error, MissingIoctlError);
    assertEquals([error.call, error.errno, error.code], ["IOMMU_DESTROY", 25, "ENOTTY"]);
    assertEquals(error.message, "Cannot IOMMU_DESTROY: ENOTTY, this kernel has no such ioctl");
  });
  await t.step("refused", () => {
    const error = assertThrows(() => ioctl(-1, NONE, bytes, "IOMMU_DESTROY"), SystemError);
    assertNotInstanceOf(error, MissingIoctlError);
    assertEquals(error.message, "Cannot IOMMU_DESTROY: EBADF");
  });
  await t.step("where ENOTTY means something else", () => {
    const error = assertThrows(() => plainIoctl(number, NONE, bytes, "set"), SystemError);
    assertNotInstanceOf(error, MissingIoctlError);
    assertEquals(error.message, "Cannot set: ENOTTY");
  });
});

Deno.test("addressOf() is where the bytes are, and of nothing 0", () => {
  const pinned = new Pinned(32);
  assertEquals(addressOf(pinned.bytes), BigInt(pinned.address));
  assertEquals(addressOf(pinned.bytes.subarray(8)), BigInt(pinned.address + 8));
  assertEquals(addressOf(new Uint8Array()), 0n);
});
