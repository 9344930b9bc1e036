import { assert, assertEquals } from "@std/assert";
import { Entry, Exchange, GuestRam } from "../../hw/guest_memory.ts";

const BASE = 0x4000_0000;

/** RAM from `BASE`: a page of counted bytes, a second page right behind it, ROM behind that. */
function machine(): { ram: GuestRam; first: Uint8Array; second: Uint8Array; rom: Uint8Array } {
  const [first, second, rom] = [1, 2, 3].map((value) => new Uint8Array(0x1000).fill(value));
  const ram = new GuestRam();
  assert(ram.map(BASE, first.buffer));
  assert(ram.map(BASE + 0x1000, second.buffer));
  assert(ram.map(BASE + 0x2000, rom.buffer, false));
  return { ram, first, second, rom };
}

Deno.test("an entry is the same bytes as quads, words and bytes", () => {
  const entry = new Entry(16);
  entry.quads[1] = 0x0123_4567_89ab_cdefn;
  assertEquals([...entry.words], [0, 0, 0x89ab_cdef, 0x0123_4567]);
  assertEquals(entry.bytes[8], 0xef);
});

Deno.test("fetch() and store() reach the last byte of RAM and no further", async (t) => {
  const cases = [
    { name: "first", gpa: BASE, sizeBytes: 64, fetches: true, stores: true },
    { name: "last of a page", gpa: BASE + 0xfc0, sizeBytes: 64, fetches: true, stores: true },
    { name: "below", gpa: BASE - 8, sizeBytes: 8, fetches: false, stores: false },
    { name: "across the start", gpa: BASE - 8, sizeBytes: 16, fetches: false, stores: false },
    { name: "across slots", gpa: BASE + 0xff8, sizeBytes: 16, fetches: false, stores: false },
    { name: "unaligned", gpa: BASE + 4, sizeBytes: 8, fetches: false, stores: false },
    { name: "read-only", gpa: BASE + 0x2000, sizeBytes: 8, fetches: true, stores: false },
    { name: "last of all", gpa: BASE + 0x2ff8, sizeBytes: 8, fetches: true, stores: false },
    { name: "across the end", gpa: BASE + 0x2ff8, sizeBytes: 16, fetches: false, stores: false },
    { name: "behind", gpa: BASE + 0x3000, sizeBytes: 8, fetches: false, stores: false },
    { name: "address zero", gpa: 0, sizeBytes: 8, fetches: false, stores: false },
    { name: "same low word", gpa: 2 ** 32 + BASE, sizeBytes: 8, fetches: false, stores: false },
    { name: "far away", gpa: 2 ** 55, sizeBytes: 8, fetches: false, stores: false },
  ];
  for (const { name, gpa, sizeBytes, fetches, stores } of cases) {
    await t.step(name, () => {
      const { ram, first, second, rom } = machine();
      const entry = new Entry(sizeBytes);
      entry.bytes.fill(0xee);
      assertEquals(ram.fetch(gpa, entry), fetches);
      assertEquals(entry.bytes.every((byte) => byte !== 0xee), fetches, "all or nothing");
      entry.bytes.fill(0x77);
      assertEquals(ram.store(gpa, entry), stores);
      const stored = [...first, ...second, ...rom].filter((byte) => byte === 0x77).length;
      assertEquals(stored, stores ? sizeBytes : 0);
    });
  }
});

Deno.test("store32() stores one aligned word", async (t) => {
  const cases = [
    { name: "first", gpa: BASE, stores: true },
    { name: "last of a page", gpa: BASE + 0xffc, stores: true },
    { name: "unaligned", gpa: BASE + 2, stores: false },
    { name: "read-only", gpa: BASE + 0x2000, stores: false },
    { name: "behind", gpa: BASE + 0x3000, stores: false },
    { name: "below", gpa: BASE - 4, stores: false },
  ];
  for (const { name, gpa, stores } of cases) {
    await t.step(name, () => {
      const { ram, first } = machine();
      assertEquals(ram.store32(gpa, 0xdead_beef), stores);
      if (stores) {
        assertEquals(
          [...first.subarray(gpa - BASE, gpa - BASE + 4)],
          [0xef, 0xbe, 0xad, 0xde],
        );
        assertEquals(first.filter((byte) => byte !== 1).length, 4);
      }
    });
  }
});

Deno.test("read() and write() take any alignment and cross neighbouring slots, or do nothing", async (t) => {
  const cases = [
    { name: "nothing", gpa: BASE, sizeBytes: 0, reads: true, writes: true },
    { name: "odd", gpa: BASE + 1, sizeBytes: 3, reads: true, writes: true },
    { name: "two slots", gpa: BASE + 0xfff, sizeBytes: 2, reads: true, writes: true },
    { name: "into read-only", gpa: BASE + 0x1ff0, sizeBytes: 32, reads: true, writes: false },
    { name: "three slots", gpa: BASE + 0xff0, sizeBytes: 0x1020, reads: true, writes: false },
    { name: "out of the end", gpa: BASE + 0xff0, sizeBytes: 0x2011, reads: false, writes: false },
    { name: "from below", gpa: BASE - 1, sizeBytes: 2, reads: false, writes: false },
    { name: "behind", gpa: BASE + 0x3000, sizeBytes: 1, reads: false, writes: false },
  ];
  for (const { name, gpa, sizeBytes, reads, writes } of cases) {
    await t.step(name, () => {
      const { ram, first, second, rom } = machine();
      const memory = [...first, ...second, ...rom];
      const into = new Uint8Array(sizeBytes).fill(0xee);
      assertEquals(ram.read(gpa, into), reads);
      const expected = memory.slice(gpa - BASE, gpa - BASE + sizeBytes);
      assertEquals([...into], reads ? expected : new Array(sizeBytes).fill(0xee));
      assertEquals(ram.write(gpa, into.fill(0x77)), writes);
      if (writes) memory.fill(0x77, gpa - BASE, gpa - BASE + sizeBytes);
      assertEquals([...first, ...second, ...rom], memory);
    });
  }
});

Deno.test("write() that starts in read-only memory leaves the RAM behind it alone", () => {
  const ram = new GuestRam();
  const behind = new Uint8Array(0x1000);
  assert(ram.map(BASE, new ArrayBuffer(0x1000), false));
  assert(ram.map(BASE + 0x1000, behind.buffer));
  assertEquals(ram.write(BASE + 0xfff, Uint8Array.of(1, 2)), false);
  assertEquals(behind[0], 0);
});

Deno.test("map() refuses RAM where RAM is, and takes it where RAM only touches", async (t) => {
  const cases = [
    { name: "the same", gpa: BASE, sizeBytes: 0x1000, maps: false },
    { name: "the end of it", gpa: BASE + 0x2fff, sizeBytes: 0x1000, maps: false },
    { name: "all of it", gpa: BASE - 0x1000, sizeBytes: 0x8000, maps: false },
    { name: "before it", gpa: BASE - 0x1000, sizeBytes: 0x1000, maps: true },
    { name: "behind it", gpa: BASE + 0x3000, sizeBytes: 0x1000, maps: true },
  ];
  for (const { name, gpa, sizeBytes, maps } of cases) {
    await t.step(name, () => {
      const { ram } = machine();
      assertEquals(ram.map(gpa, new ArrayBuffer(sizeBytes)), maps);
      assertEquals(ram.sizeBytes, 0x3000 + (maps ? sizeBytes : 0));
    });
  }
});

Deno.test("unmap() takes RAM away at once, also the slot used last", () => {
  const { ram } = machine();
  const entry = new Entry(8);
  assert(ram.fetch(BASE, entry));
  assertEquals(ram.unmap(BASE), true);
  assertEquals([ram.fetch(BASE, entry), ram.write(BASE, entry.bytes)], [false, false]);
  assertEquals([ram.fetch(BASE + 0x1000, entry), ram.sizeBytes], [true, 0x2000]);
  assertEquals(ram.unmap(BASE), false);
});

Deno.test("a fetched entry does not change with memory", () => {
  const { ram, first } = machine();
  const entry = new Entry(8);
  ram.fetch(BASE, entry);
  first.fill(9);
  assertEquals(entry.bytes[0], 1);
});

Deno.test("compareExchange() replaces a quad that is as expected, and nothing else", async (t) => {
  const old = 0x0101_0101_0101_0101n;
  const cases = [
    { name: "as expected", gpa: BASE + 8, expected: old, outcome: Exchange.Done },
    { name: "the last quad", gpa: BASE + 0x1ff8, expected: 2n * old, outcome: Exchange.Done },
    { name: "low word differs", gpa: BASE, expected: old ^ 1n, outcome: Exchange.Changed },
    {
      name: "high word differs",
      gpa: BASE,
      expected: old ^ (1n << 63n),
      outcome: Exchange.Changed,
    },
    { name: "read-only", gpa: BASE + 0x2000, expected: 3n * old, outcome: Exchange.Refused },
    { name: "no RAM", gpa: BASE - 8, expected: 0n, outcome: Exchange.Refused },
    { name: "not aligned", gpa: BASE + 4, expected: old, outcome: Exchange.Refused },
  ];
  for (const { name, gpa, expected, outcome } of cases) {
    await t.step(name, () => {
      const { ram, first, second, rom } = machine();
      const before = [first, second, rom].map((bytes) => bytes.slice());
      const [was, desired] = [new Entry(8), new Entry(8)];
      was.quads[0] = expected;
      desired.quads[0] = 0xfedc_ba98_7654_3210n;
      assertEquals(ram.compareExchange(gpa, was, desired), outcome);
      assertEquals(was.quads[0], expected, "what was expected is left alone");
      if (outcome === Exchange.Done) {
        const page = gpa < BASE + 0x1000 ? before[0] : before[1];
        page.set(desired.bytes, gpa % 0x1000);
      }
      assertEquals([first, second, rom], before);
    });
  }
});
