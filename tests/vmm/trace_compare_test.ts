import { assertEquals, assertMatch, assertStringIncludes } from "@std/assert";
import { main } from "../../vmm/cli.ts";
import type { Comparison } from "../../vmm/trace/inspect/comparison.ts";
import { smallTrace } from "../support/small_trace.ts";

/** Compares two traces given as lines. */
async function compare(
  a: readonly string[],
  b: readonly string[],
  ...flags: string[]
): Promise<{ code: number; out: string; notes: string[] }> {
  const folder = await Deno.makeTempDir();
  try {
    await Deno.writeTextFile(`${folder}/a`, a.join(""));
    await Deno.writeTextFile(`${folder}/b`, b.join(""));
    const out: string[] = [];
    const notes: string[] = [];
    const code = await main(["compare", `${folder}/a`, `${folder}/b`, ...flags], {
      out: (line) => out.push(line),
      note: (line) => notes.push(line),
      signal: new AbortController().signal,
    });
    return { code, out: out.join("\n"), notes };
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
}

Deno.test("a trace and itself: nothing is worth a look", async () => {
  const { code, out, notes } = await compare(smallTrace(), smallTrace());
  assertEquals([code, notes], [0, []]);
  assertStringIncludes(out, "Nothing below is worth a look");
  assertStringIncludes(out, "Features: the same");
  assertEquals(out.match(/^\*/gm), null);
});

Deno.test("what is different is marked, and what is alike is not", async () => {
  const { features } = JSON.parse(smallTrace()[0]);
  const other = smallTrace(4, { features: { ...features, ssidSize: 0 } });
  const { code, out } = await compare(smallTrace(), other, "--json");
  assertEquals(code, 0);
  const { version, sections, faults, histograms } = JSON.parse(out) as Comparison;
  assertEquals(version, 1);
  const row = (title: string, name: string): unknown[] => {
    const { a, b, ratio, isNotable } = sections.find((section) => section.title === title)!.rows
      .find((row) => row.name === name)!;
    return [a, b, ratio, isNotable];
  };
  assertEquals(row("Features", "ssidSize"), ["10", "0", null, true]);
  assertEquals(row("Features", "oas"), ["48", "48", null, false]);
  assertEquals(row("Commands", "commands.CMD_SYNC"), [1, 4, 4, true]);
  assertEquals(row("DMA", "readBytes"), [16, 64, 4, true]);
  assertEquals(row("Transactions", "streams"), [1, 1, 1, false]);
  assertEquals(row("Cost", "commandErrors"), [0, 0, null, false]);
  assertEquals(faults.map(({ a, b }) => [a, b]), [[1, 4], [1, 4], [1, 4]]);
  const perSync = histograms.find(({ name }) => name === "commandsPerSync")!;
  assertEquals([perSync.isNotable, perSync.buckets], [
    false,
    [{ from: 1, below: 2, partA: 1, partB: 1 }],
  ]);
});

Deno.test("people see both sides, how far apart they are, and faults of either", async () => {
  const { out } = await compare(smallTrace(), smallTrace(4, { guest: { kernel: "6.12" } }));
  assertMatch(out, /^A {2}.*numbers/m);
  assertMatch(out, /^B {2}.*Linux 6\.12/m);
  assertMatch(out, /^\* CMD_SYNC +1 +4 +4 times$/m);
  assertMatch(out, /^\* StreamID 0x1 .*\(F_TRANSLATION\): A 1, B 4$/m);
});

Deno.test("a damaged side is compared as far as it goes, and named", async () => {
  const { code, out, notes } = await compare(smallTrace(), smallTrace().slice(0, 9));
  assertEquals([code, notes.length], [3, 1]);
  assertMatch(notes[0], /\/b is cut in line 10/);
  assertStringIncludes(out, "Commands");
});

Deno.test("it takes two traces", async () => {
  const notes: string[] = [];
  const io = { out: () => {}, note: (line: string) => void notes.push(line) };
  const { signal } = new AbortController();
  for (const args of [["compare"], ["compare", "a"], ["compare", "a", "b", "c"]]) {
    assertEquals(await main(args, { ...io, signal }), 2);
  }
  assertMatch(notes[1], /it needs A B/);
});
