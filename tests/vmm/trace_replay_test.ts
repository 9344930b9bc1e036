import { assert, assertEquals } from "@std/assert";
import { SmmuV3 } from "../../hw/smmuv3/smmuv3.ts";
import { LineReader, type Operation, type TraceHeader } from "../../vmm/trace/format.ts";
import { Replayer } from "../../vmm/trace/replay/replayer.ts";
import { runReplay } from "../../vmm/trace/replay/replayer_run.ts";
import { recordDriver } from "../support/recorded_driver.ts";
import { smallTrace } from "../support/small_trace.ts";

/** A guest that maps, does DMA, changes its tables, invalidates and faults. */
function record(): string[] {
  return smallTrace().map((line) => line.slice(0, -1));
}

function replay(lines: readonly string[], make?: ConstructorParameters<typeof Replayer>[1]): {
  at: number;
  what: string[];
} {
  const reader = new LineReader();
  const [header, ...rest] = lines.map((line) => reader.line(line));
  const replayer = new Replayer(header as unknown as TraceHeader, make);
  for (const [at, operation] of rest.slice(0, -1).entries()) {
    const differences = replayer.step(operation as unknown as Operation);
    if (differences.length > 0) return { at, what: differences.map(({ what }) => what) };
  }
  return { at: -1, what: [] };
}

Deno.test("a recording replays identically", () => {
  const lines = record();
  assertEquals(lines.length, 18);
  assertEquals(replay(lines), { at: -1, what: [] });
});

Deno.test("two recordings of the same guest are the same", () => {
  assertEquals(record(), record());
});

Deno.test("a device that forgets an invalidation is found at the DMA that should have faulted", () => {
  const lines = record();
  const found = replay(lines, (options) => {
    const smmu = new SmmuV3(options);
    smmu.translator.tlb.invalidateRange = () => {};
    return smmu;
  });
  assertEquals(found.at, 12);
  assert(found.what.includes("result"), String(found.what));
});

Deno.test("a changed line is found, and only lines before it count", () => {
  const lines = record();
  const reader = new LineReader();
  const changed = lines.map((line, i) => i === 7 ? line.replace('"at":', '"at": ') : line);
  assertEquals(changed.findIndex((line) => reader.line(line) === undefined), 7);
});

Deno.test("an operation that a newer minor version added is passed over, and its memory is known", async () => {
  const { header, lines } = recordDriver();
  const at = lines.findIndex(({ operation }) => operation.mem !== undefined);
  const { t, mem } = lines[at].operation;
  const added = { t, op: "ats-request", mem, fetches: 1, path: 7 } as unknown as Operation;
  const operations = lines.map(({ operation }) => operation).toSpliced(at, 0, added);
  const placed = operations.map((operation, i) => ({ number: i + 2, offset: 0, operation }));
  assertEquals((await runReplay(header, placed)).result.kinds, []);
});
