import { assertEquals, assertRejects, assertThrows } from "@std/assert";
import { gzipSync } from "node:zlib";
import { DEFAULT_FEATURES } from "../../hw/smmuv3/features.ts";
import { DivergedError } from "../../vmm/trace/corpus/behaviour.ts";
import { CORPUS, MOST_BYTES } from "../../vmm/trace/corpus/corpus.ts";
import { LineWriter, type Operation } from "../../vmm/trace/format.ts";
import { TraceError } from "../../vmm/trace/trace_file.ts";
import { corpusFiles, replayTrace } from "../support/trace_corpus.ts";

/** A trace of a guest that reads IDR0 three times; the second value as given. */
function trace(second: string): Uint8Array {
  const lines = new LineWriter();
  const read = (t: number, bytes: string): Operation => ({ t, op: "read", at: 0, bytes });
  const text = [
    lines.line({
      format: "vsmmu-trace",
      version: "1.0",
      features: DEFAULT_FEATURES,
      log2tlbSets: 4,
      log2known: 8,
      guest: {},
      began: "2026-01-01T00:00:00.000Z",
    }),
    lines.line(read(1, "1a304009")),
    lines.line(read(2, second)),
    lines.line(read(3, "1a304009")),
    lines.line({ end: true, operations: 3 }),
  ];
  return new TextEncoder().encode(text.join(""));
}

const RIGHT = trace("1a304009");

Deno.test("the script records the traces that are there and that the README tells of", async () => {
  const folder = new URL("../traces", import.meta.url).pathname;
  const names = CORPUS.map(({ name }) => name).sort();
  assertEquals(corpusFiles(folder).map(({ name }) => name), names);
  const readme = await Deno.readTextFile(`${folder}/README.md`);
  assertEquals(
    [...readme.matchAll(/^\| ((?:linux|program)-\S+)/gm)].map(([, name]) => name).sort(),
    names,
  );
  assertEquals(MOST_BYTES, 10_000_000);
});

Deno.test("a corpus without a trace is a failure, and others' files are none of it", async () => {
  const folder = await Deno.makeTempDir();
  try {
    await Deno.writeTextFile(`${folder}/README.md`, "");
    await Deno.writeTextFile(`${folder}/a.jsonl.gz.unfinished`, "");
    assertThrows(() => corpusFiles(folder), Error, "No trace in ");
    await Deno.writeFile(`${folder}/b.jsonl.gz`, new Uint8Array(7));
    assertEquals(corpusFiles(folder), [
      { name: "b", path: `${folder}/b.jsonl.gz`, sizeBytes: 7 },
    ]);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
});

Deno.test("a trace of the corpus that is cut, changed or diverges fails with its line", async (t) => {
  const lengths = new TextDecoder().decode(RIGHT).split("\n").map((line) => line.length + 1);
  const changed = RIGHT.slice();
  changed[lengths[0] + 8] ^= 1;
  const cases = [
    {
      name: "without its end",
      text: RIGHT.subarray(0, lengths[0] + lengths[1] + lengths[2] + lengths[3]),
      error: TraceError,
      says: "line 5",
    },
    {
      name: "cut within a line",
      text: RIGHT.subarray(0, lengths[0] + lengths[1] + 10),
      error: TraceError,
      says: "line 3",
    },
    { name: "changed", text: changed, error: TraceError, says: "line 2" },
    { name: "of another device", text: trace("1a304008"), error: DivergedError, says: "Line 3" },
  ];
  const path = await Deno.makeTempFile();
  try {
    await Deno.writeFile(path, gzipSync(RIGHT));
    assertEquals((await replayTrace(path)).behaviour.registers, ["read IDR0 0x0940301a"]);
    for (const { name, text, error, says } of cases) {
      await t.step(name, async () => {
        await Deno.writeFile(path, gzipSync(text));
        await assertRejects(() => replayTrace(path), error, says);
      });
    }
  } finally {
    await Deno.remove(path);
  }
});
