/** Guest tables handed to hardware: in which order, what is shared, and what is left of a failure. */
import { assertEquals, assertThrows } from "@std/assert";
import { features } from "../../hw/smmuv3/features.ts";
import { SystemError } from "../../uapi/errno.ts";
import { NestedHost } from "../../vmm/host_iommu/nested.ts";
import type { BoundDevice } from "../../vmm/iommufd/iommufd.ts";
import { FaultyIommufd } from "../support/faulty_iommufd.ts";
import { PlainIommufd } from "../support/plain_iommufd.ts";

const ABORT = 0;
const BYPASS = 1;
const NESTED = 2;

interface Hosted {
  readonly plain: PlainIommufd;
  readonly host: NestedHost;
  readonly log: string[];
  readonly devices: BoundDevice[];
  /** Calls since the last time. */
  take(): string[];
}

function hosted(streamIds: number[] = [8, 16]): Hosted {
  const plain = new PlainIommufd();
  const log: string[] = [];
  const devices = streamIds.map(() => plain.bind());
  const host = new NestedHost({
    iommufd: plain,
    streams: devices.map((device, i) => ({ name: `vfio${i}`, streamId: streamIds[i], device })),
    features: features(),
    log: (line) => log.push(line),
  });
  return { plain, host, log, devices, take: () => plain.calls.splice(0) };
}

function ste(word0: number, word1 = 0): Uint32Array {
  return Uint32Array.of(word0, word1, ...new Array(14).fill(0));
}

Deno.test("a host is made in the kernel's order, and taken down until nothing is left", () => {
  const { plain, host, devices, take } = hosted();
  assertEquals(take(), [
    ...["bind", "bind", "ioasAlloc", "hwptAlloc", "viommuAlloc", "veventqAlloc"],
    ...["vdeviceAlloc", "vdeviceAlloc", "hwptAlloc", "hwptAlloc", "attach", "attach"],
  ]);
  host[Symbol.dispose]();
  for (const device of devices) device[Symbol.dispose]();
  assertEquals(plain.things, []);
});

Deno.test("a table is made once for equal STEs, replaces what was there, and goes with its last user", () => {
  const { host, log, take } = hosted();
  take();
  host.setStream(8, ABORT, ste(0));
  assertEquals(take(), [], "it aborts already");
  host.setStream(8, NESTED, ste(0x4020_000b));
  assertEquals(take(), ["hwptAlloc", "attach"]);
  host.setStream(16, NESTED, ste(0x4020_000b));
  assertEquals(take(), ["attach"]);
  host.setStream(16, NESTED, ste(0x4030_000b));
  assertEquals(take(), ["hwptAlloc", "attach"]);
  host.setStream(8, BYPASS, ste(0b1001));
  assertEquals(take(), ["attach", "destroy"]);
  host.setStream(16, NESTED, ste(0x4030_000b));
  assertEquals(take(), ["hwptInvalidate"], "the same STE: its CDs may be others");
  host.setStream(16, NESTED, ste(0x4030_000b, 0x0010_0000));
  assertEquals(take(), ["hwptInvalidate"], "bits that mean nothing make no other table");
  host.setStream(99, BYPASS, ste(0));
  assertEquals([take(), log], [[], []]);
});

Deno.test("a stream that moves aborts, and has its new StreamID when it is used again", () => {
  const { host, log, take } = hosted();
  host.setStream(8, NESTED, ste(0x4020_000b));
  take();
  assertEquals(host.move([[8, 16]]), "StreamID 0x10 is that of vfio1");
  assertEquals(host.move([[9, 17]]), "No device has StreamID 0x9");
  assertEquals(host.move([[8, 24]]), undefined);
  assertEquals(take(), ["attach", "destroy", "destroy"]);
  assertEquals(host.streamIds, [16, 24]);
  host.setStream(8, BYPASS, ste(0));
  assertEquals(take(), []);
  host.setStream(24, NESTED, ste(0x4020_000b));
  assertEquals(take(), ["vdeviceAlloc", "hwptAlloc", "attach"]);
  assertEquals(log, []);
});

Deno.test("streams that take each other's StreamIDs give them up before they take one", () => {
  const { host, log, take } = hosted();
  take();
  assertEquals(host.move([[8, 16], [16, 8]]), undefined);
  assertEquals(take(), ["destroy", "destroy"]);
  assertEquals(host.streamIds, [8, 16]);
  host.setStream(8, NESTED, ste(0x4020_000b));
  host.setStream(16, BYPASS, ste(0b1001));
  assertEquals(take(), ["vdeviceAlloc", "hwptAlloc", "attach", "vdeviceAlloc", "attach"]);
  assertEquals(host.move([[8, 24], [16, 24]]), "StreamID 0x18 is that of vfio1");
  assertEquals([host.streamIds, take(), log], [[8, 16], [], []]);
});

Deno.test("a device that its host takes back is let go of, and the others have tables of their own", () => {
  const { plain, host, log, devices, take } = hosted();
  host.setStream(8, NESTED, ste(0x4020_000b));
  take();
  host.withdraw(99);
  assertEquals(take(), []);
  host.withdraw(8);
  assertEquals(take(), ["detach", "destroy", "destroy", "unbind"], "table and vDEVICE go first");
  assertEquals([host.streamIds, plain.things.includes(`device ${devices[0].devId}`)], [
    [16],
    false,
  ]);
  host.setStream(8, BYPASS, ste(0));
  assertEquals(take(), []);
  host.setStream(16, NESTED, ste(0x4020_000b));
  assertEquals(take(), ["hwptAlloc", "attach"], "for a device that is there");
  host.withdraw(16);
  assertEquals([take(), host.streamIds], [["detach", "destroy", "destroy", "unbind"], []]);
  host[Symbol.dispose]();
  assertEquals([plain.things, log], [[], []]);
});

Deno.test("a refused constructor throws and leaves nothing", () => {
  for (let nth = 2;; nth++) {
    const plain = new PlainIommufd();
    const faulty = new FaultyIommufd(plain, { nth, errno: 12 });
    const device = faulty.bind(() => plain.bind());
    const make = (): NestedHost =>
      new NestedHost({
        iommufd: faulty,
        streams: [{ name: "vfio0", streamId: 8, device }],
        features: features(),
        log: () => {},
      });
    if (nth > 9) {
      make()[Symbol.dispose]();
      assertEquals(faulty.failed, "detach", "the tenth call is of taking it down");
      return;
    }
    const error = assertThrows(make, SystemError);
    assertEquals(error.errno, 12);
    assertEquals(plain.things, ["device 1"], faulty.failed);
  }
});
