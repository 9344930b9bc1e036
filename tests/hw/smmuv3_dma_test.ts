/**
 * Transfers of endpoints through the SMMU, page by page. IHI 0070 §3.4, §6.3.9.6, §6.3.14.
 * @module
 */
import { assert, assertEquals } from "@std/assert";
import { DATA, DOORBELL, Guest, NOWHERE, RAM, split } from "../support/guest.ts";

const SID = 1;
const IOVA = 0x12_3456_7000n;

interface Scene {
  guest: Guest;
  root: number;
}

function scene(): Scene {
  const guest = new Guest();
  return { guest, root: guest.stage1(SID).root };
}

function memory(guest: Guest, gpa: number, sizeBytes: number): number[] {
  return [...new Uint8Array(guest.memory.buffer, gpa - RAM, sizeBytes)];
}

function counted(sizeBytes: number): number[] {
  return Array.from({ length: sizeBytes }, (_, i) => (i * 7 + 1) & 0xff);
}

Deno.test("a transfer follows the mapping of each page", () => {
  const { guest, root } = scene();
  guest.map(root, IOVA, DATA + 0x5000);
  guest.map(root, IOVA + 0x1000n, DATA);
  guest.map(root, IOVA + 0x2000n, DATA + 0x9000);
  const bytes = counted(0x2080);
  assert(guest.dmaWrite(SID, IOVA + 0xf80n, bytes));
  assertEquals(memory(guest, DATA + 0x5f80, 0x80), bytes.slice(0, 0x80));
  assertEquals(memory(guest, DATA, 0x1000), bytes.slice(0x80, 0x1080));
  assertEquals(memory(guest, DATA + 0x9000, 0x1000), bytes.slice(0x1080, 0x2080));
  assertEquals(guest.dmaRead(SID, IOVA + 0xf80n, 0x2080), bytes);
});

Deno.test("a fault in the middle aborts; pages before it are done, its own and later ones are not", () => {
  const { guest, root } = scene();
  guest.map(root, IOVA, DATA);
  guest.map(root, IOVA + 0x2000n, DATA + 0x2000);
  assertEquals(guest.dmaWrite(SID, IOVA, counted(0x3000)), false);
  assertEquals(memory(guest, DATA, 0x1000), counted(0x1000));
  assertEquals(memory(guest, DATA + 0x1000, 0x2000), new Array(0x2000).fill(0));
  const events = guest.events();
  assertEquals(events.map((event) => event[2]), [IOVA + 0x1000n], "InputAddr is that of the page");
  assertEquals(guest.dmaRead(SID, IOVA, 0x3000), undefined);
});

Deno.test("read and write agree across every boundary of a block", async (t) => {
  const { guest, root } = scene();
  guest.map(root, 0x4000_0000n, DATA, 0xc40n, 2);
  guest.map(root, 0x4020_0000n, DATA + 0x20_0000);
  guest.map(root, 0x3fff_f000n, DATA + 0x30_0000);
  const cases = [
    { name: "in the block", iova: 0x4000_1234n, sizeBytes: 0x5678 },
    { name: "into the block", iova: 0x3fff_fffdn, sizeBytes: 7 },
    { name: "out of the block", iova: 0x401f_ffffn, sizeBytes: 2 },
  ];
  for (const { name, iova, sizeBytes } of cases) {
    await t.step(name, () => {
      assert(guest.dmaWrite(SID, iova, counted(sizeBytes)));
      assertEquals(guest.dmaRead(SID, iova, sizeBytes), counted(sizeBytes));
    });
  }
});

Deno.test("addresses carry from the low word into the high word, and wrap at 2^64", async (t) => {
  await t.step("2^32", () => {
    const { guest, root } = scene();
    guest.map(root, 0xffff_f000n, DATA);
    guest.map(root, 0x1_0000_0000n, DATA + 0x5000);
    assert(guest.dmaWrite(SID, 0xffff_fffen, [1, 2, 3, 4]));
    assertEquals(memory(guest, DATA + 0xffe, 2), [1, 2]);
    assertEquals(memory(guest, DATA + 0x5000, 2), [3, 4]);
  });
  await t.step("2^64", () => {
    const guest = new Guest();
    const ttb1 = guest.root();
    const { root } = guest.stage1(SID, { ttb1, epd1: false });
    guest.map(ttb1, 2n ** 64n - 0x1000n, DATA);
    guest.map(root, 0n, DATA + 0x5000);
    assert(guest.dmaWrite(SID, 2n ** 64n - 2n, [1, 2, 3, 4]));
    assertEquals(memory(guest, DATA + 0xffe, 2), [1, 2]);
    assertEquals(memory(guest, DATA + 0x5000, 2), [3, 4]);
  });
});

Deno.test("a transfer of nothing does nothing, not even a fault", () => {
  const { guest } = scene();
  assertEquals([guest.dmaWrite(SID, IOVA, []), guest.dmaWrite(0xffff, 0n, [])], [true, true]);
  assertEquals(guest.events(), []);
});

Deno.test("a page mapped to where no RAM is aborts without an event", () => {
  const { guest, root } = scene();
  guest.map(root, IOVA, NOWHERE);
  assertEquals([guest.dmaRead(SID, IOVA), guest.dmaWrite(SID, IOVA, [1])], [undefined, false]);
  assertEquals(guest.events(), []);
});

Deno.test("a page where no RAM is ends the transfer: pages before it are done, later ones are not", () => {
  const { guest, root } = scene();
  guest.map(root, IOVA, DATA);
  guest.map(root, IOVA + 0x1000n, NOWHERE);
  guest.map(root, IOVA + 0x2000n, DATA + 0x2000);
  assertEquals(guest.dmaWrite(SID, IOVA, counted(0x3000)), false);
  assertEquals(memory(guest, DATA, 0x1000), counted(0x1000));
  assertEquals(memory(guest, DATA + 0x2000, 0x1000), new Array(0x1000).fill(0));
  assertEquals(guest.dmaRead(SID, IOVA, 0x3000), undefined);
});

Deno.test("message() writes one word to RAM or to a doorbell", async (t) => {
  const requester = { streamId: SID, substreamId: -1 };
  const cases = [
    { name: "RAM", gpa: DATA, sent: true, word: 0xdead_beef },
    { name: "doorbell", gpa: DOORBELL & ~0xfff, offset: 0x40n, sent: true, doorbell: true },
    { name: "beside the doorbell", gpa: DOORBELL & ~0xfff, offset: 0x44n, sent: false },
    { name: "nowhere", gpa: NOWHERE, sent: false },
  ];
  for (const { name, gpa, offset = 0n, sent, word = 0, doorbell = false } of cases) {
    await t.step(name, () => {
      const { guest, root } = scene();
      guest.map(root, IOVA, gpa);
      const done = guest.smmu.dma.message(requester, ...split(IOVA + offset), 0xdead_beef);
      assertEquals([done, guest.word(DATA), guest.word(DATA + 4)], [sent, word, 0]);
      assertEquals(guest.messages, doorbell ? [{ gpa: DOORBELL, data: 0xdead_beef }] : []);
    });
  }
  await t.step("not mapped", () => {
    const { guest } = scene();
    assertEquals(guest.smmu.dma.message(requester, ...split(IOVA), 1), false);
    assertEquals(guest.eventNumbers(), [0x10]);
  });
  await t.step("read-only", () => {
    const { guest, root } = scene();
    guest.map(root, IOVA, DATA, 0xcc0n);
    assertEquals(guest.smmu.dma.message(requester, ...split(IOVA), 1), false);
    assertEquals([guest.eventNumbers(), guest.word(DATA)], [[0x13], 0]);
  });
});

Deno.test("port() takes messages to a doorbell of its own", () => {
  const { guest, root } = scene();
  guest.map(root, IOVA, 0x0902_0000);
  const seen: number[] = [];
  const port = guest.smmu.port({ send: (gpa, data) => seen.push(gpa, data) > 0 });
  assert(port.message({ streamId: SID, substreamId: -1 }, ...split(IOVA + 4n), 5));
  assertEquals([seen, guest.messages], [[0x0902_0004, 5], []]);
});

Deno.test("a bypass STE passes addresses below the OAS and makes the others F_ADDR_SIZE", async (t) => {
  for (const oas of [32, 36, 48]) {
    await t.step(`OAS ${oas}`, () => {
      const guest = new Guest({ features: { oas } });
      guest.ste(SID, 0b1001n);
      assert(guest.dmaWrite(SID, BigInt(DATA), [0x5a]));
      assertEquals(guest.word(DATA), 0x5a);
      assertEquals(guest.probe(SID, 2n ** BigInt(oas) - 1n), "abort", "no RAM there");
      assertEquals(guest.probe(SID, 2n ** BigInt(oas)), "event 11");
      assertEquals(guest.probe(SID, 2n ** 64n - 1n), "event 11");
    });
  }
});

Deno.test("while SMMUEN is 0 GBPA decides: bypass below the OAS, or abort, never an event", () => {
  const guest = new Guest({ features: { oas: 36 } });
  guest.memory.setUint8(DATA - RAM, 0x5a);
  guest.smmu.write32(0x20, 0xc);
  const probe = (iova: bigint): string => guest.probe(SID, iova);
  assertEquals(probe(BigInt(DATA)), "data 5a");
  assertEquals(guest.probe(SID, BigInt(DATA), 3), "data 5a", "also with a substream");
  assertEquals([probe(2n ** 36n), probe(2n ** 64n - 1n)], ["abort", "abort"]);
  guest.smmu.write32(0x44, 0x8010_0000);
  assertEquals(probe(BigInt(DATA)), "abort");
  assertEquals(guest.smmu.dma.message({ streamId: SID, substreamId: -1 }, DATA, 0, 1), false);
  guest.smmu.write32(0x44, 0x8000_0000);
  assertEquals(probe(BigInt(DATA)), "data 5a");
  guest.smmu.write32(0x20, 0xd);
  assertEquals(probe(BigInt(DATA)), "event 4");
});

Deno.test("a bypassing transfer ends with RAM", () => {
  const guest = new Guest();
  guest.ste(SID, 0b1001n);
  assertEquals(guest.dmaWrite(SID, BigInt(NOWHERE) - 4n, [1, 2, 3, 4]), true);
  assertEquals(guest.dmaWrite(SID, BigInt(NOWHERE) - 4n, [5, 6, 7, 8, 9]), false);
  assertEquals(memory(guest, NOWHERE - 4, 4), [1, 2, 3, 4]);
});
