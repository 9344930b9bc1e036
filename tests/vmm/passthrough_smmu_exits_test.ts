/**
 * What the kernel's tracepoint and a guest's console say of exits for an SMMU.
 * @module
 */
import { assertEquals, assertMatch } from "@std/assert";
import { guestTable, tableLines } from "../../vmm/bench/guest_table.ts";
import { filter, SmmuExits, tracedIn } from "../../vmm/passthrough/smmu_exits.ts";
import { UnmapExits } from "../../vmm/passthrough/unmap_exits.ts";

const MAPPINGS = [1, 64].map((pages) => ({ threads: 1, pages, isScattered: false }));

Deno.test("events that a buffer lost to newer ones count too", () => {
  const stats = `entries: 129
overrun: 4000
commit overrun: 7
bytes: 4080
oldest event ts:   189.1
now ts:   190.2
dropped events: 0
read events: 0
`;
  assertEquals(tracedIn(stats), 4129);
});

Deno.test("all places of an SMMU are counted, and a read once", () => {
  assertEquals(
    filter(),
    "type != 1 && ((gpa >= 0x9050000 && gpa < 0x9070000) || (gpa >= 0xc000000 && gpa < 0xe000000) || " +
      "(gpa >= 0x3ee00000 && gpa < 0x3ee20000))",
  );
});

Deno.test("a kernel that does not trace KVM counts nothing, and nothing is left behind", async () => {
  const folder = await Deno.makeTempDir();
  try {
    assertEquals(SmmuExits.start(folder), undefined);
    await Deno.mkdir(`${folder}/instances`);
    assertEquals(SmmuExits.start(folder), undefined);
    assertEquals([...Deno.readDirSync(`${folder}/instances`)], []);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
});

Deno.test("exits count for the mappings during which they happened, and not what the guest did before", () => {
  let count = 0;
  const watched = (perMap: readonly number[]): UnmapExits => {
    const exits = new UnmapExits(() => count, 2);
    count += 500;
    exits.line("[    9.1] vsmmu: run maps");
    for (const [i, { pages }] of MAPPINGS.entries()) {
      count += perMap[i];
      exits.line(`[    9.${i + 2}] vsmmu: map 1 ${pages} 0 40 60`);
    }
    return exits;
  };
  const theirs = watched([600_000, 400_000]);
  const ours = watched([0, 2000]);
  // Ten microseconds each, for two seconds.
  assertEquals(ours.seen.map(({ unmaps }) => unmaps), [200_000, 200_000]);
  const table = guestTable([{ name: "theirs" }, { name: "ours" }], [[], []], MAPPINGS, [
    theirs,
    ours,
  ]);
  assertEquals(table.rows.filter(({ unit }) => unit === "exits").map(({ values }) => values), [
    [3, 0],
    [2, 0.01],
  ]);
  assertMatch(
    tableLines(table).at(-1)!,
    /^exits for an unmap, 64 pages, 1 thread +exits +2\.00 +0\.01 +0\.01$/,
  );
});
