/** DMA of emulated endpoints through the model: the guest's tables, what was invalidated, what was not, what faulted. */
import { assertEquals } from "@std/assert";
import { DATA, RAM } from "../support/guest.ts";
import { NestedGuest } from "../support/nested_guest.ts";

const IOVA = 0x1234_5000n;
const SYNC = 0x46n;

/** A guest whose stream 8 has stage 1 with one page. */
function mapped(): { guest: NestedGuest; leaf: number; cd: number } {
  const guest = NestedGuest.make();
  const { root, cd } = guest.stage1(8);
  const leaf = guest.map(root, IOVA, DATA);
  guest.command(0x8_0000_0003n, 1n);
  guest.command(SYNC);
  return { guest, leaf, cd };
}

Deno.test("a stream does what the guest's STE says, and aborts before there is one", () => {
  const guest = NestedGuest.make();
  assertEquals(guest.dmaWrite(8, BigInt(DATA), [1]), false);
  guest.ste(8, 0b1001n);
  assertEquals(guest.dmaWrite(8, BigInt(DATA), [1]), false, "before CMD_CFGI_STE");
  guest.command(0x8_0000_0003n, 1n);
  assertEquals([guest.dmaWrite(8, BigInt(DATA), [7]), guest.word(DATA)], [true, 7]);
  assertEquals(guest.dmaWrite(16, BigInt(DATA), [9]), false);
  assertEquals(guest.dmaWrite(8, BigInt(RAM + 0x100_0000), [1]), false, "beyond RAM");
  assertEquals([guest.eventNumbers(), guest.log], [[], []]);
});

Deno.test("SMMUEN=0 bypasses, GBPA.ABORT aborts", () => {
  const guest = NestedGuest.make();
  guest.smmu.write32(0x20, 0xc);
  assertEquals(guest.dmaWrite(8, BigInt(DATA), [7]), true);
  guest.smmu.write32(0x44, 0x8010_0000);
  assertEquals(guest.dmaWrite(8, BigInt(DATA), [7]), false);
});

Deno.test("DMA goes through the guest's tables, and a fault comes back as the guest's event", () => {
  const { guest } = mapped();
  assertEquals(guest.dmaWrite(8, IOVA + 4n, [0xaa]), true);
  assertEquals(guest.word(DATA + 4), 0xaa);
  assertEquals(guest.dmaRead(8, IOVA + 4n), [0xaa]);
  assertEquals(guest.dmaWrite(8, 0x6666_7000n, [1]), false);
  const [record] = guest.events();
  assertEquals(record[0], 0x8_0000_0010n, "F_TRANSLATION of the guest's StreamID");
  assertEquals(record[2], 0x6666_7000n);
  assertEquals(guest.eventq.pulses, 1);
});

Deno.test("a translation stays until the guest's invalidation reaches the model", () => {
  const { guest, leaf } = mapped();
  guest.dmaWrite(8, IOVA, [1]);
  guest.quad(leaf, 0n);
  assertEquals(guest.dmaWrite(8, IOVA, [2]), true, "still cached");
  guest.queue(0x0002_0000_0000_0012n, IOVA);
  guest.queue(SYNC);
  guest.ring();
  assertEquals(guest.dmaWrite(8, IOVA, [3]), true, "another ASID");
  guest.queue(0x0001_0000_0000_0012n, IOVA);
  guest.queue(SYNC);
  guest.ring();
  assertEquals(guest.dmaWrite(8, IOVA, [4]), false);
  assertEquals(guest.word(DATA), 3);
});

Deno.test("a changed CD counts after CMD_CFGI_CD, or CMD_CFGI_STE with the same STE", async (t) => {
  for (const command of [0x8_0000_0005n, 0x8_0000_0006n, 0x8_0000_0003n]) {
    await t.step(`command 0x${(command & 0xffn).toString(16)}`, () => {
      const { guest, cd } = mapped();
      guest.dmaWrite(8, IOVA, [1]);
      guest.quad(cd, 0n);
      guest.queue(0x30n);
      guest.queue(SYNC);
      guest.ring();
      assertEquals(guest.dmaWrite(8, IOVA, [2]), true, "the CD is cached");
      guest.queue(command, 1n);
      guest.queue(SYNC);
      guest.ring();
      assertEquals(guest.dmaWrite(8, IOVA, [3]), false);
      assertEquals(guest.eventNumbers(), [0x0a]);
    });
  }
});

Deno.test("guest RAM that is taken away is out of reach at once", () => {
  const { guest } = mapped();
  guest.dmaWrite(8, IOVA, [1]);
  guest.host.stageTwo.unmap({ gpa: RAM, sizeBytes: 0x100_0000, offset: 0, writable: true });
  assertEquals(guest.dmaWrite(8, IOVA, [2]), false);
  assertEquals([guest.word(DATA), guest.log], [1, []]);
});

Deno.test("a moved stream aborts until the SMMU is asked again, and faults by its new StreamID", () => {
  const { guest } = mapped();
  guest.stage1(24);
  assertEquals(guest.host.move([[8, 24]]), undefined);
  assertEquals(guest.dmaWrite(8, IOVA, [1]), false);
  guest.smmu.refreshHost();
  assertEquals(guest.dmaWrite(8, IOVA, [1]), false);
  assertEquals(guest.events().map(([quad]) => quad), [0x18_0000_0010n]);
});

Deno.test("events that find the queue full are counted as lost", () => {
  const { guest } = mapped();
  guest.host.events[Symbol.dispose]();
  for (let i = 0; i < 1030; i++) guest.dmaWrite(8, 0x6666_0000n, [1]);
  guest.host.events.drain();
  assertEquals([guest.host.events.passed, guest.host.events.lost], [1024, 6]);
  assertEquals(guest.log, ["Hardware lost 6 events: the queue was full"]);
});

Deno.test("taken down, the model is empty", () => {
  const { guest } = mapped();
  guest.end();
  assertEquals([guest.model.size, guest.log, guest.dmaRead(8, IOVA)], [0, [], undefined]);
});
