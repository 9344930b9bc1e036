import { assert, assertEquals } from "@std/assert";
import { SmmuV3 } from "../../hw/smmuv3/smmuv3.ts";
import { LineReader, type Operation } from "../../vmm/trace/format.ts";
import { minimise, traceText } from "../../vmm/trace/replay/minimise.ts";
import type { DeviceMaker } from "../../vmm/trace/replay/replayer.ts";
import { runReplay } from "../../vmm/trace/replay/replayer_run.ts";
import { openTrace } from "../../vmm/trace/trace_file.ts";
import { recordDriver } from "../support/recorded_driver.ts";

/** Forgets to drop what an address names. */
const forgetful: DeviceMaker = (options) => {
  const smmu = new SmmuV3(options);
  smmu.translator.tlb.invalidateRange = () => {};
  return smmu;
};

Deno.test("a diverging trace is cut to what it takes: tables, a DMA, the invalidation, the DMA", async () => {
  const { header, lines } = recordDriver();
  const small = (await minimise(header, lines, { make: forgetful }))!;
  assertEquals(small.isRecordedAnew, true);
  assertEquals(small.divergence.kind, "stale translation: CMD_TLBI_NH_VA");
  const said = small.operations.map((operation) =>
    operation.op === "write" ? `write ${operation.at.toString(16)}` : operation.op
  );
  // STRTAB_BASE, STRTAB_BASE_CFG, CMDQ_BASE, CR0, map and use, CMDQ_PROD, use.
  assertEquals(said, [
    "write 80",
    "write 88",
    "write 90",
    "write 20",
    "dma-write",
    "write 98",
    "dma-write",
  ]);
});

Deno.test("a small trace is whole: it reads, this build replays it, and it diverges as the large one", async () => {
  const { header, lines } = recordDriver();
  const small = (await minimise(header, lines, { make: forgetful }))!;
  const reader = new LineReader();
  const values = [...traceText(small)].map((line) => reader.line(line.trimEnd()));
  assertEquals(values.includes(undefined), false);
  assertEquals(values.at(-1)!["operations"], small.operations.length);
  const placed = values.slice(1, -1).map((value, i) => ({
    number: i + 2,
    offset: 0,
    operation: value as unknown as Operation,
  }));
  assertEquals((await runReplay(small.header, placed)).result.kinds, []);
  const { kinds } = (await runReplay(small.header, placed, { make: forgetful })).result;
  assertEquals(kinds.map(({ kind }) => kind), ["stale translation: CMD_TLBI_NH_VA"]);
});

Deno.test("a trace against which this build itself diverges keeps its last line as it was recorded", async () => {
  const { header, lines } = recordDriver();
  // The recorded device had another idea of where the queue is.
  const changed = lines.map((line) =>
    line.operation.op === "read" && line.operation.at === 0x9c
      ? { ...line, operation: { ...line.operation, bytes: "07000000" } }
      : line
  );
  const small = (await minimise(header, changed))!;
  assertEquals(small.isRecordedAnew, false);
  assertEquals(small.divergence.kind, "CMDQ_CONS");
  assertEquals(small.operations.at(-1), {
    ...changed.find(({ operation }) => operation === small.operations.at(-1))?.operation,
    t: small.operations.at(-1)!.t,
    op: "read",
    at: 0x9c,
    bytes: "07000000",
  });
  assert(small.operations.length <= 2, `${small.operations.length} operations`);
});

Deno.test("a trace that does not diverge is not cut", async () => {
  const { header, lines } = recordDriver();
  assertEquals(await minimise(header, lines), undefined);
});

Deno.test("a real guest's trace is cut to a dozen operations", async () => {
  const path = new URL("../traces/linux-7.3-strict.jsonl.gz", import.meta.url).pathname;
  const { header, operations } = await openTrace(path);
  const small = (await minimise(header, operations, { make: forgetful }))!;
  assertEquals(small.divergence.kind, "stale translation: CMD_TLBI_NH_VA");
  assert(small.operations.length <= 12, `${small.operations.length} operations`);
});
