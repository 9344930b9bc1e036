/** How often memory is looked at for a translation of which nothing is cached, by the levels of its tables. */
import { assertEquals } from "@std/assert";
import { DeviceWork, type KindName, KINDS, MISSES } from "../../vmm/bench/device_work.ts";

Deno.test("a miss fetches a descriptor a level, and with both stages 24 at most", async (t) => {
  let fetches = 0;
  const work = new DeviceWork((ram) => {
    const fetch = ram.fetch.bind(ram);
    ram.fetch = (gpa, into): boolean => {
      fetches++;
      return fetch(gpa, into);
    };
    return ram;
  });
  const { translator } = work.smmu;
  // Of stage 1 four levels (three with 64 KiB); below each of them, and below the page, four of stage 2.
  const most: Record<KindName, number> = {
    "4 KiB": 4,
    "16 KiB": 4,
    "64 KiB": 3,
    "nested": 4 * (1 + 4) + 4,
    "two-level CD table": 4,
  };
  for (const [name, { streamId, substreams }] of Object.entries(KINDS)) {
    await t.step(name, () => {
      const requester = { streamId, substreamId: substreams ? 1 : -1 };
      const translate = (): number => {
        fetches = 0;
        assertEquals(translator.translate(requester, 0x1_0000, 0, 2), 0);
        return fetches;
      };
      translator.tlb.invalidateAll();
      translate();
      translator.tlb.invalidateAll();
      assertEquals(translate(), most[name as KindName]);
      assertEquals(translate(), 0, "cached");
      translator.contexts.invalidateStreams(streamId, 1);
      // The TLB has the page: an STE and a CD, or a level 1 descriptor more; stage 2 of the CD may be cached or not.
      const configuration = translate();
      if (name === "nested") assertEquals(configuration <= 2 + 4, true, `${configuration}`);
      else assertEquals(configuration, substreams ? 3 : 2);
    });
  }
});

Deno.test("rounds of the benchmarks do what they say", () => {
  const work = new DeviceWork();
  const { smmu } = work;
  const { tlb } = smmu.translator;
  assertEquals(tlb.count, tlb.capacity, "full");
  for (const kind of ["VA", "range", "ASID", "VMID"] as const) {
    work.restore();
    work.queue(kind);
    work.invalidate();
    assertEquals([smmu.read32(0x60), smmu.read32(0x9c)], [0, smmu.read32(0x98)], kind);
    assertEquals(tlb.count < tlb.capacity, true, `${kind} drops something`);
  }
  work.faults();
  assertEquals(smmu.read32(0x1_00ac), 256, "records were read");
  for (const name of Object.keys(KINDS) as KindName[]) {
    work.miss(name);
    assertEquals(smmu.read32(0x1_00a8), 256, `${name}: no fault`);
    assertEquals(tlb.count >= MISSES, true, `${name}: each page is another`);
  }
});
