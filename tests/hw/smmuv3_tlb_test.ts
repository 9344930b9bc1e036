/**
 * The TLB by itself: what it finds, what it drops, how much it holds. IHI 0070 §3.17, §4.4.
 * @module
 */
import { assert, assertEquals } from "@std/assert";
import { SHARED, World } from "../../hw/smmuv3/translation/domains.ts";
import { Tlb } from "../../hw/smmuv3/translation/tlb.ts";
import { Random } from "../../vmm/random.ts";

interface Translation {
  lo: number;
  hi: number;
  world: number;
  vmid: number;
  asid: number;
  global: boolean;
  log2size: number;
  log2leaf: number;
  gpa: number;
}

function insert(tlb: Tlb, entry: Partial<Translation>): void {
  const { lo = 0x1000, hi = 0, world = World.El1, vmid = 0, asid = 1, global = false } = entry;
  const { log2size = 12, log2leaf = log2size, gpa = 0x4000_0000 } = entry;
  const own = tlb.domains.intern(world, vmid, asid);
  const domain = global ? tlb.domains.intern(world, vmid, SHARED) : own;
  const gpaHi = Math.floor(gpa / 2 ** 32);
  tlb.insert(lo, hi, domain, log2size, log2leaf, gpa >>> 0, gpaHi, 0b011011);
}

function find(
  tlb: Tlb,
  lo: number,
  hi: number,
  asid: number,
  vmid: number = 0,
  world: number = World.El1,
): number {
  const domain = tlb.domains.intern(world, vmid, asid);
  return tlb.find(lo, hi, domain, tlb.domains.intern(world, vmid, SHARED));
}

function gpa(
  tlb: Tlb,
  lo: number,
  hi: number,
  asid: number,
  vmid: number = 0,
  world: number = World.El1,
): number | undefined {
  const at = find(tlb, lo, hi, asid, vmid, world);
  return at < 0 ? undefined : tlb.gpa(at) + ((lo & tlb.offsetMask(at)) >>> 0);
}

Deno.test("find() matches the page, the upper word and the ASID, or any ASID of a global entry", async (t) => {
  for (const log2size of [12, 14, 16, 21, 25, 29, 30]) {
    await t.step(`2^${log2size} bytes`, () => {
      const size = 2 ** log2size;
      const tlb = new Tlb();
      insert(tlb, { lo: size + 8, hi: 0x12_3456, asid: 7, log2size, gpa: 2 ** 47 });
      assertEquals(gpa(tlb, size, 0x12_3456, 7), 2 ** 47);
      assertEquals(gpa(tlb, 2 * size - 1, 0x12_3456, 7), 2 ** 47 + size - 1);
      assertEquals(gpa(tlb, size - 1, 0x12_3456, 7), undefined);
      assertEquals(gpa(tlb, 2 * size, 0x12_3456, 7), undefined);
      assertEquals(gpa(tlb, size, 0x12_3457, 7), undefined);
      assertEquals(gpa(tlb, size, 0x12_3456, 8), undefined);
      insert(tlb, { lo: size, hi: 0x12_3456, global: true, log2size, gpa: 0x5000_0000 });
      assertEquals(gpa(tlb, size, 0x12_3456, 8), 0x5000_0000);
      assertEquals(gpa(tlb, size, 0x12_3456, 0), 0x5000_0000);
    });
  }
});

Deno.test("insert() replaces the same page of the same ASID", () => {
  const tlb = new Tlb(0);
  for (let i = 1; i <= 10; i++) insert(tlb, { gpa: i * 0x1000 });
  assertEquals([tlb.count, gpa(tlb, 0x1000, 0, 1)], [1, 0xa000]);
});

Deno.test("it never holds more than its capacity, and keeps the entry inserted last", async (t) => {
  for (const log2sets of [0, 1, 3]) {
    await t.step(`${4 << log2sets} entries`, () => {
      const tlb = new Tlb(log2sets);
      assertEquals(tlb.capacity, [4, 8, 16, 32][log2sets]);
      const random = new Random();
      for (let i = 0; i < 2000; i++) {
        const lo = (random.word() & ~0xfff) >>> 0;
        const hi = random.below(0x1_0000);
        const asid = random.below(4);
        insert(tlb, { lo, hi, asid, gpa: lo, log2size: random.of([12, 21, 30]) });
        assert(gpa(tlb, lo, hi, asid) !== undefined, `${random}`);
        assert(tlb.count <= tlb.capacity, `${random}`);
      }
      assertEquals(tlb.count, tlb.capacity);
    });
  }
});

Deno.test("pages that share a set do not displace each other before it is full", () => {
  const tlb = new Tlb(0);
  for (let i = 0; i < 4; i++) insert(tlb, { lo: i * 0x1000, gpa: i * 0x1000 });
  assertEquals([0, 1, 2, 3].map((i) => gpa(tlb, i * 0x1000, 0, 1)), [0, 0x1000, 0x2000, 0x3000]);
});

Deno.test("a dead entry is overwritten before a live one", () => {
  const tlb = new Tlb(0);
  for (let i = 0; i < 4; i++) insert(tlb, { lo: i * 0x1000, asid: i });
  tlb.invalidateAsid(World.El1, 0, 2);
  insert(tlb, { lo: 0x9000, asid: 9 });
  assertEquals(tlb.count, 4);
  for (const asid of [0, 1, 3]) assert(gpa(tlb, asid * 0x1000, 0, asid) !== undefined);
});

Deno.test("invalidateAsid() drops its ASID and nothing else", () => {
  const tlb = new Tlb();
  for (let asid = 0; asid < 0x1_0000; asid += 0x1111) insert(tlb, { lo: asid * 0x1000, asid });
  insert(tlb, { lo: 0x7000, asid: 0x2222, global: true });
  assertEquals(tlb.count, 17);
  tlb.invalidateAsid(World.El1, 0, 0x2222);
  assertEquals(tlb.count, 16);
  assertEquals(gpa(tlb, 0x2222_000, 0, 0x2222), undefined);
  assert(gpa(tlb, 0x7000, 0, 0x2222) !== undefined, "the global one stays");
  tlb.invalidateAsid(World.El1, 0, 0);
  tlb.invalidateAsid(World.El1, 0, 0xffff);
  assertEquals(tlb.count, 14);
});

Deno.test("invalidateAll() drops everything, and new entries live", () => {
  const tlb = new Tlb();
  for (let i = 0; i < 100; i++) insert(tlb, { lo: i * 0x1000, asid: i, global: i % 3 === 0 });
  tlb.invalidateAll();
  assertEquals(tlb.count, 0);
  insert(tlb, {});
  assertEquals(tlb.count, 1);
});

Deno.test("invalidations past the last stamp drop too much, never too little", () => {
  const tlb = new Tlb(4, 6);
  const random = new Random();
  const floors = new Array<number>(4).fill(0);
  for (let step = 0; step < 500; step++) {
    const asid = random.below(4);
    if (random.chance(0.5)) {
      insert(tlb, { lo: asid * 0x1000, asid, gpa: step });
      assertEquals(gpa(tlb, asid * 0x1000, 0, asid), step, `${random}: a new entry lives`);
    } else if (random.chance(0.8)) {
      tlb.invalidateAsid(World.El1, 0, asid);
      floors[asid] = step;
    } else {
      tlb.invalidateAll();
      floors.fill(step);
    }
    for (let other = 0; other < 4; other++) {
      const insertedAt = gpa(tlb, other * 0x1000, 0, other) ?? Infinity;
      assert(insertedAt >= floors[other], `${random}, step ${step}, ASID ${other}`);
    }
  }
});

Deno.test("invalidateRange() drops whatever overlaps the range, and keeps the neighbours", async (t) => {
  const K4 = 0x1000;
  const M2 = 0x20_0000;
  const G1 = 0x4000_0000;
  const cases = [
    { name: "one page", lo: 5 * K4, size: K4, pages: [5 * K4], kept: [4 * K4, 6 * K4] },
    {
      name: "two pages",
      lo: 5 * K4,
      size: 2 * K4,
      pages: [5 * K4, 6 * K4],
      kept: [4 * K4, 7 * K4],
    },
    { name: "inside 2 MiB", lo: 3 * M2 + K4, size: K4, log2size: 21, pages: [3 * M2], kept: [M2] },
    {
      name: "end of 2 MiB",
      lo: 4 * M2 - K4,
      size: K4,
      log2size: 21,
      pages: [3 * M2],
      kept: [4 * M2],
    },
    {
      name: "inside 1 GiB",
      lo: 2 * G1 + 5 * M2,
      size: K4,
      log2size: 30,
      pages: [2 * G1],
      kept: [G1],
    },
    {
      name: "two of 2 MiB",
      lo: 2 * M2 - K4,
      size: 2 * K4,
      log2size: 21,
      pages: [M2, 2 * M2],
      kept: [0, 3 * M2],
    },
    {
      name: "up to 4 GiB",
      lo: 3 * G1,
      size: G1,
      log2size: 21,
      pages: [3 * G1, 4 * G1 - M2],
      kept: [3 * G1 - M2],
    },
  ];
  for (const { name, lo, size, log2size = 12, pages, kept } of cases) {
    for (const log2sets of [0, 4, 10]) {
      await t.step(`${name}, ${4 << log2sets} entries`, () => {
        const tlb = new Tlb(log2sets);
        for (const page of pages) insert(tlb, { lo: page, log2size });
        for (const page of kept) insert(tlb, { lo: page, log2size });
        assertEquals(tlb.count, pages.length + kept.length);
        tlb.invalidateRange(lo, 0, size, World.El1, 0, 1);
        assertEquals(tlb.count, kept.length);
        for (const page of kept) assert(gpa(tlb, page, 0, 1) !== undefined);
      });
    }
  }
});

Deno.test("invalidateRange() continues past 4 GiB", async (t) => {
  for (const log2sets of [0, 10]) {
    await t.step(`${4 << log2sets} entries`, () => {
      const tlb = new Tlb(log2sets);
      insert(tlb, { lo: 0xffff_f000, hi: 6 });
      insert(tlb, { lo: 0, hi: 7 });
      insert(tlb, { lo: 0x1000, hi: 7 });
      insert(tlb, { lo: 0, hi: 6 });
      tlb.invalidateRange(0xffff_f000, 6, 0x2000, World.El1, 0, 1);
      assertEquals(tlb.count, 2);
      assertEquals(gpa(tlb, 0xffff_f000, 6, 1), undefined);
      assertEquals(gpa(tlb, 0, 7, 1), undefined);
    });
  }
});

Deno.test("invalidateRange() spares other ASIDs but no global entry; ASID -1 means all", () => {
  const tlb = new Tlb();
  const fill = (): void => {
    tlb.invalidateAll();
    insert(tlb, { asid: 1 });
    insert(tlb, { asid: 2 });
    insert(tlb, { asid: 3, global: true });
  };
  for (const sizeBytes of [0x1000, 2 ** 60]) {
    fill();
    tlb.invalidateRange(0x1000, 0, sizeBytes, World.El1, 0, 1);
    assertEquals([tlb.count, find(tlb, 0x1000, 0, 2) >= 0], [1, true]);
    fill();
    tlb.invalidateRange(0x1000, 0, sizeBytes, World.El1, 0, -1);
    assertEquals(tlb.count, 0);
  }
});

/** One entry of each kind, named by what it is. */
const OWNERS: readonly (Partial<Translation> & { name: string })[] = [
  { name: "VMID 1, ASID 1", vmid: 1, asid: 1 },
  { name: "VMID 1, ASID 2", vmid: 1, asid: 2 },
  { name: "VMID 1, global", vmid: 1, asid: 3, global: true },
  { name: "VMID 2, ASID 1", vmid: 2, asid: 1 },
  { name: "VMID 2, global", vmid: 2, asid: 3, global: true },
  { name: "IPA of VMID 1", world: World.Stage2, vmid: 1, asid: 0 },
  { name: "IPA of VMID 2", world: World.Stage2, vmid: 2, asid: 0 },
  { name: "EL2", world: World.El2, asid: 0 },
  { name: "EL2-E2H, ASID 1", world: World.El2E2h, asid: 1 },
  { name: "EL2-E2H, global", world: World.El2E2h, asid: 4, global: true },
];

Deno.test("an invalidation drops what it names in its world, and nothing else", async (t) => {
  const range = (world: number, vmid: number, asid: number) => (tlb: Tlb): void =>
    tlb.invalidateRange(0, 0, 0x1_0000, world, vmid, asid);
  const far = (world: number, vmid: number, asid: number) => (tlb: Tlb): void =>
    tlb.invalidateRange(0, 0, 2 ** 50, world, vmid, asid);
  const cases: Record<string, [act: (tlb: Tlb) => void, dropped: string[]]> = {
    "ASID 1 of VMID 1": [(tlb) => tlb.invalidateAsid(World.El1, 1, 1), ["VMID 1, ASID 1"]],
    "ASID 1 of EL2-E2H": [(tlb) => tlb.invalidateAsid(World.El2E2h, 0, 1), ["EL2-E2H, ASID 1"]],
    "VMID 1": [
      (tlb) => tlb.invalidateVmid(World.El1, 1),
      ["VMID 1, ASID 1", "VMID 1, ASID 2", "VMID 1, global"],
    ],
    "IPAs of VMID 2": [(tlb) => tlb.invalidateVmid(World.Stage2, 2), ["IPA of VMID 2"]],
    "a VMID without translations": [(tlb) => tlb.invalidateVmid(World.El1, 9), []],
    "pages of ASID 1": [range(World.El1, 1, 1), ["VMID 1, ASID 1", "VMID 1, global"]],
    "pages of an ASID without translations": [range(World.El1, 1, 9), ["VMID 1, global"]],
    "pages of all ASIDs": [
      range(World.El1, 1, -1),
      ["VMID 1, ASID 1", "VMID 1, ASID 2", "VMID 1, global"],
    ],
    "pages of an IPA": [range(World.Stage2, 1, -1), ["IPA of VMID 1"]],
    "pages of EL2": [range(World.El2, 0, -1), ["EL2"]],
    "a long range": [far(World.El1, 2, 1), ["VMID 2, ASID 1", "VMID 2, global"]],
    "a long range of all ASIDs": [far(World.El2E2h, 0, -1), ["EL2-E2H, ASID 1", "EL2-E2H, global"]],
    "all": [(tlb) => tlb.invalidateAll(), OWNERS.map(({ name }) => name)],
  };
  for (const [name, [act, dropped]] of Object.entries(cases)) {
    await t.step(name, () => {
      const tlb = new Tlb();
      // Each has a page of its own, so that none pushes out another.
      for (const [i, owner] of OWNERS.entries()) insert(tlb, { ...owner, lo: i * 0x1000 });
      act(tlb);
      const gone = OWNERS.filter(({ vmid, asid, world }, i) =>
        find(tlb, i * 0x1000, 0, asid!, vmid, world) < 0
      );
      assertEquals(gone.map(({ name }) => name), dropped);
    });
  }
});

Deno.test("a global entry answers for each ASID of its VMID and world, and for no other", () => {
  for (const { world = World.El1, vmid = 0 } of OWNERS.filter(({ global }) => global)) {
    const tlb = new Tlb();
    insert(tlb, { world, vmid, global: true });
    for (const asked of OWNERS) {
      const { world: otherWorld = World.El1, vmid: otherVmid = 0 } = asked;
      const expected = world === otherWorld && vmid === otherVmid;
      assertEquals(find(tlb, 0x1000, 0, asked.asid!, otherVmid, otherWorld) >= 0, expected);
    }
  }
});

Deno.test("an invalidation inside a leaf drops all the pieces it is cached in, and no neighbour's", () => {
  const K4 = 0x1000;
  const M2 = 0x20_0000;
  for (const [log2leaf, hi] of [[21, 0], [30, 7], [42, 0x400]] as const) {
    for (const log2sets of [0, 4, 12]) {
      const tlb = new Tlb(log2sets);
      const leaf = 2 ** log2leaf;
      const base = log2leaf === 42 ? 0 : Math.min(leaf, 0x4000_0000);
      for (const offset of [0, 5 * K4, M2 - K4]) insert(tlb, { lo: base + offset, hi, log2leaf });
      insert(tlb, { lo: base + 8 * K4, hi, log2size: 12, asid: 2, log2leaf });
      insert(tlb, { lo: base - K4 >>> 0, hi: base === 0 ? hi - 1 : hi, log2leaf: 12 });
      const held = tlb.count;
      tlb.invalidateRange(base + 9 * K4, hi, K4, World.El1, 0, 1);
      assertEquals(gpa(tlb, base + 5 * K4, hi, 1), undefined, `2^${log2leaf}, ${log2sets}`);
      if (log2sets > 0) assertEquals([held, tlb.count], [5, 2], `2^${log2leaf}, ${log2sets}`);
    }
  }
});

Deno.test("whatever came before, an invalidation of a range leaves nothing of it", () => {
  const random = new Random();
  const page = (): number => random.below(6) * 0x1000;
  let tlb = new Tlb(1, 40);
  for (let step = 0; step < 20_000; step++) {
    const [asid, vmid] = [random.below(3), random.below(2)];
    switch (random.below(12)) {
      case 0:
        tlb.invalidateAsid(World.El1, vmid, asid);
        break;
      case 1:
        tlb.invalidateVmid(World.El1, vmid);
        break;
      case 2:
        if (random.below(10) === 0) tlb.clear();
        else tlb.invalidateAll();
        break;
      case 3: {
        const other = new Tlb(1, 40);
        insert(other, { lo: page(), asid, vmid });
        other.restore(tlb.snapshot());
        tlb = other;
        break;
      }
      case 4:
      case 5:
      case 6: {
        const lo = page();
        tlb.invalidateRange(lo, 0, 0x2000, World.El1, vmid, asid);
        const left = [lo, lo + 0x1000].map((lo) => gpa(tlb, lo, 0, asid, vmid));
        assertEquals(left, [undefined, undefined], `${random}, step ${step}`);
        break;
      }
      default:
        insert(tlb, { lo: page(), asid, vmid, global: random.below(4) === 0 });
    }
  }
});
