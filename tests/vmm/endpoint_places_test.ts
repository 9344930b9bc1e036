import { assertEquals, assertRejects } from "@std/assert";
import { EndpointPlaces, UNPLACED } from "../../vmm/endpoint_places.ts";
import type { StreamMove } from "../../vmm/host_iommu/nested.ts";
import { powerOffSlot, streamIdBehind } from "../../vmm/qemu/root_port.ts";

function places(
  { refuses = false } = {},
): { places: EndpointPlaces; log: unknown[]; ids: () => number[] } {
  const log: unknown[] = [];
  const places = new EndpointPlaces({
    ask: () => void log.push("ask"),
    move: (moves: readonly StreamMove[]) => {
      log.push(moves);
      return !refuses;
    },
  });
  const requesters = [places.add(8), places.add(16)];
  return { places, log, ids: () => requesters.map(({ streamId }) => streamId) };
}

Deno.test("EndpointPlaces moves what has another place, all at once", () => {
  const { places: its, log, ids } = places();
  its.seen();
  its.place([0x100, UNPLACED]);
  assertEquals(ids(), [0x100, 16]);
  its.seen();
  its.place([16, 0x100]);
  assertEquals(ids(), [16, 0x100]);
  its.seen();
  its.place([16, 0x100]);
  assertEquals(log, ["ask", [[8, 0x100]], "ask", [[0x100, 16], [16, 0x100]], "ask"]);
});

Deno.test("EndpointPlaces leaves all where they are when hardware refuses", () => {
  const { places: its, ids } = places({ refuses: true });
  its.place([16, UNPLACED]);
  assertEquals(ids(), [8, 16]);
});

Deno.test("EndpointPlaces has one question on its way, and asks again for what was seen meanwhile", () => {
  const { places: its, log } = places();
  for (let i = 0; i < 1000; i++) its.seen();
  assertEquals(log, ["ask"]);
  its.place([UNPLACED, UNPLACED]);
  assertEquals(log, ["ask", "ask"]);
  its.place([UNPLACED]);
  assertEquals(log, ["ask", "ask"]);
});

Deno.test("streamIdBehind() reads the secondary bus number of the port", async () => {
  const at = (numbers: number): Promise<number> =>
    streamIdBehind(
      {
        readl: (gpa) => Promise.resolve(gpa === 0x40_1000_0000 + 3 * 0x8000 + 0x18 ? numbers : 0),
      },
      0x40_1000_0000,
      3,
    );
  assertEquals(await at(0x0007_0500), 0x500);
  assertEquals(await at(0x00ff_ff00), 0xff00);
  assertEquals(await at(0), UNPLACED);
});

Deno.test("powerOffSlot() switches power and its indicator off, and leaves the rest of Slot Control", async () => {
  const port = 0x40_1000_0000 + 3 * 0x8000;
  // A power management capability before that of PCI Express.
  const space = new Map([[0x34, 0x40], [0x40, 0x0003_5401], [0x54, 0x0142_0010], [
    0x6c,
    0x0040_01f8,
  ]]);
  const written: number[][] = [];
  const machine = {
    readl: (gpa: number) => Promise.resolve(space.get(gpa - port) ?? 0),
    writew: (gpa: number, value: number) => Promise.resolve(void written.push([gpa - port, value])),
  };
  await powerOffSlot(machine, 0x40_1000_0000, 3);
  assertEquals(written, [[0x6c, 0x07f8]]);
  space.set(0x40, 0x0003_4001);
  await assertRejects(() => powerOffSlot(machine, 0x40_1000_0000, 3), Error, "no root port");
  assertEquals(written.length, 1);
});
