/** The iommufd whose n-th call fails does that, and keeps right books. */
import { assertEquals, assertThrows } from "@std/assert";
import { ERRNO, SystemError } from "../../uapi/errno.ts";
import { FaultyIommufd, NO_FAULT } from "../support/faulty_iommufd.ts";
import { PlainIommufd } from "../support/plain_iommufd.ts";

function invalidation(count: number): Parameters<FaultyIommufd["hwptInvalidate"]>[0] {
  return { hwptId: 1, dataType: 1, entryLength: 16, count, entries: new Uint8Array(16 * count) };
}

Deno.test("one call fails, those before and after it do not", () => {
  const iommufd = new FaultyIommufd(new PlainIommufd(), { nth: 2, errno: ERRNO.ENOMEM });
  assertEquals(iommufd.ioasAlloc(), 1);
  const error = assertThrows(() => iommufd.ioasAlloc(), SystemError);
  assertEquals([error.code, error.call], ["ENOMEM", "ioasAlloc, call 2"]);
  assertEquals(iommufd.ioasAlloc(), 2);
  assertEquals([iommufd.failed, iommufd.calls.length, iommufd.alive], ["ioasAlloc", 3, [
    "ioas 1",
    "ioas 2",
  ]]);
});

Deno.test("the books hold what was made until it is destroyed, closed or unbound", () => {
  const plain = new PlainIommufd();
  const iommufd = new FaultyIommufd(plain, NO_FAULT);
  const device = iommufd.bind((inner) => (inner as PlainIommufd).bind());
  const { devId } = device;
  const ioas = iommufd.ioasAlloc();
  const hwpt = iommufd.hwptAlloc({ flags: 1, devId, ptId: ioas, dataType: 0 });
  const viommuId = iommufd.viommuAlloc({ flags: 0, type: 1, devId, hwptId: hwpt });
  iommufd.vdeviceAlloc({ viommuId, devId, virtId: 8n });
  const queue = iommufd.veventqAlloc({ flags: 0, viommuId, type: 1, depth: 4 });
  assertEquals(iommufd.alive, [
    "descriptor of veventq 6",
    "device 1",
    "hwpt 3",
    "ioas 2",
    "vdevice of 1, 5",
    "veventq 6",
    "viommu 4",
  ]);
  assertThrows(() => iommufd.destroy(queue.id), SystemError, "EBUSY");
  queue[Symbol.dispose]();
  iommufd.destroy(queue.id);
  device[Symbol.dispose]();
  assertEquals(iommufd.alive, ["hwpt 3", "ioas 2", "viommu 4"]);
  for (const id of [viommuId, hwpt, ioas]) iommufd.destroy(id);
  assertEquals([iommufd.alive, plain.things], [[], []]);
});

Deno.test("calls of devices and queues are counted with the others", () => {
  const iommufd = new FaultyIommufd(new PlainIommufd(), { nth: 5, errno: ERRNO.EIO });
  const device = iommufd.bind((inner) => (inner as PlainIommufd).bind());
  const queue = iommufd.faultQueueAlloc();
  assertEquals(queue.read(new Uint8Array(40)), 0);
  const ioas = iommufd.ioasAlloc();
  assertThrows(() => device.attach(ioas), SystemError, "EIO");
  device.attach(ioas);
  device.detach();
  assertEquals(iommufd.calls, [
    "bind",
    "faultQueueAlloc",
    "read",
    "ioasAlloc",
    "attach",
    "attach",
    "detach",
  ]);
});

Deno.test("a late failure has its effect: detached, unmapped, partly invalidated", async (t) => {
  await t.step("attach ends detached", () => {
    const plain = new PlainIommufd();
    const iommufd = new FaultyIommufd(plain, { nth: 3, errno: ERRNO.EFAULT, isLate: true });
    const device = iommufd.bind((inner) => (inner as PlainIommufd).bind());
    const ioas = iommufd.ioasAlloc();
    assertThrows(() => device.attach(ioas), SystemError, "EFAULT");
    assertEquals(plain.calls.slice(2), ["attach", "detach"]);
  });
  await t.step("unmap", () => {
    const plain = new PlainIommufd();
    const iommufd = new FaultyIommufd(plain, { nth: 1, errno: ERRNO.EBUSY, isLate: true });
    assertThrows(() => iommufd.ioasUnmap(1, 0n, 4096n), SystemError, "EBUSY");
    assertEquals(plain.calls, ["ioasUnmap"]);
  });
  const counts: [count: number, calls: string[], handled: number][] = [
    [1, [], 0],
    [100, [], 50],
    [130, ["hwptInvalidate"], 65],
  ];
  for (const [count, calls, handled] of counts) {
    await t.step(`${count} invalidations`, () => {
      const plain = new PlainIommufd();
      const iommufd = new FaultyIommufd(plain, { nth: 1, errno: ERRNO.EIO, isLate: true });
      const result = iommufd.hwptInvalidate(invalidation(count));
      assertEquals([result, plain.calls], [{ errno: ERRNO.EIO, handled }, calls]);
    });
  }
});
