import { assert, assertEquals, assertStringIncludes, assertThrows } from "@std/assert";
import { SmmuV3 } from "../../hw/smmuv3/smmuv3.ts";
import { divergenceLines } from "../../vmm/trace/replay/divergence.ts";
import type { Operation } from "../../vmm/trace/format.ts";
import type { DeviceMaker } from "../../vmm/trace/replay/replayer.ts";
import { runReplay } from "../../vmm/trace/replay/replayer_run.ts";
import { parseSnapshot, snapshotText } from "../../vmm/trace/replay/replayer_snapshot.ts";
import type { TraceLine } from "../../vmm/trace/trace_file.ts";
import { recordDriver } from "../support/recorded_driver.ts";

/** Forgets to drop what an address names. */
const forgetful: DeviceMaker = (options) => {
  const smmu = new SmmuV3(options);
  smmu.translator.tlb.invalidateRange = () => {};
  return smmu;
};

/** A trace in which a line says something else. */
function altered(
  lines: readonly TraceLine[],
  which: (operation: Operation) => boolean,
  change: (operation: Operation) => object,
): TraceLine[] {
  return lines.map((line) =>
    which(line.operation)
      ? { ...line, operation: { ...line.operation, ...change(line.operation) } as Operation }
      : line
  );
}

Deno.test("a divergence shows the fields that differ, the way of the transaction, and the commands before", async () => {
  const { header, lines } = recordDriver();
  const { result } = await runReplay(header, lines, { make: forgetful });
  assertEquals(divergenceLines(result.kinds[0].first, "t.jsonl.gz"), [
    "Line 19, 0.018000 s: DMA write of 16 bytes at IOVA 0x3000 by StreamID 0x1 (0000:00:00.1)",
    "",
    "  payload write.address      expected 0x4000c000                                           got 0x40008000",
    "  fetched records.number     expected 2                                                    got 0",
    "  fetched records.addresses  expected level 2 descriptor 0x40006000, level 3 descriptor 0x40007018  got none",
    "",
    "Most likely: an invalidation was not honoured: the TLB answered for 0x3000 (ASID 1) although " +
    "CMD_TLBI_NH_VA (Address=0x3000 ASID=0x1 Leaf=0x1) at line 17 should have dropped it",
    "",
    "The way of the transaction, as the trace has memory:",
    "  L1STD at 0x40003000: Span=0x3 L2Ptr=0x40004000",
    "  STE at 0x40004040: V=0x1 Config=0x5 (Stage1) S1ContextPtr=0x40005040",
    "  CD at 0x40005040: T0SZ=0x22 EPD1=0x1 V=0x1 IPS=0x5 AA64=0x1 R=0x1 A=0x1 ASID=0x1 TTB0=0x40006000",
    "  level 2 descriptor at 0x40006000: address=0x40007000 Table=0x1",
    "  level 3 descriptor at 0x40007018: address=0x4000c000 AF=0x1 AP=0x1 nG=0x1 Valid=0x1 Table=0x1",
    "",
    "The last commands before it:",
    "  line 16: CMD_SYNC CS=0x1 MSIData=0x5 MSIAddress=0x4000f000",
    "  line 17: CMD_TLBI_NH_VA Address=0x3000 ASID=0x1 Leaf=0x1",
    "  line 18: CMD_SYNC CS=0x1 MSIData=0x5 MSIAddress=0x4000f000",
    "",
    "To see it again: vsmmu replay t.jsonl.gz --seek 19",
  ]);
});

Deno.test("of a register only the fields that differ are shown", async () => {
  const { header, lines } = recordDriver();
  const read = lines.find(({ operation }) => operation.op === "read" && operation.at === 0x24)!;
  const changed = altered(lines, (o) => o === read.operation, () => ({ bytes: "09000000" }));
  const { kinds } = (await runReplay(header, changed)).result;
  assertEquals(kinds.map(({ first }) => first.fields), [[
    { where: "CR0ACK", field: "EVENTQEN", expected: "0x0", got: "0x1" },
  ]]);
});

Deno.test("a replay goes on after divergences, counts them by kind, and finds its way back", async () => {
  const { header, lines } = recordDriver();
  const once = (await runReplay(header, lines, { make: forgetful, all: true })).result;
  assertEquals(once.operations, lines.length);
  assertEquals(once.kinds.map(({ kind, count }) => [kind, count]), [
    ["stale translation: CMD_TLBI_NH_VA", 1],
  ]);
  // A value that was read wrongly three times is one kind, and changes nothing else.
  const changed = altered(
    lines,
    (o) => o.op === "read" && o.at === 0x1_00a8,
    (o) => ({ bytes: `0f${(o as { bytes: string }).bytes.slice(2)}` }),
  );
  const { kinds } = (await runReplay(header, changed, { all: true })).result;
  assertEquals(kinds[0].kind, "EVENTQ_PROD.WR");
});

Deno.test("a replay seeks: what is before is passed over, what is around is told", async () => {
  const { header, lines } = recordDriver();
  const { result } = await runReplay(header, lines, { make: forgetful, seek: 21, until: 30 });
  assertEquals([result.passedOver, result.kinds, result.line], [1, [], 30]);
  assertEquals(result.around.map(({ line }) => line), [16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26]);
  assertStringIncludes(result.around[3].what, "DMA write of 16 bytes at IOVA 0x3000");
});

Deno.test("a replay that is put down at any line goes on from there as if nothing had been", async () => {
  const { header, lines } = recordDriver();
  for (let until = 2; until <= lines.length; until++) {
    const { replayer } = await runReplay(header, lines, { until });
    const text = snapshotText(header, replayer.snapshot());
    const from = parseSnapshot(text, "s.json", header);
    assertEquals(from.line, until);
    const { result } = await runReplay(header, lines, { from });
    assertEquals([result.operations, result.kinds], [lines.length + 1 - until, []], `${until}`);
  }
});

Deno.test("a snapshot of something else is refused by name", async (t) => {
  const { header, lines } = recordDriver();
  const { replayer } = await runReplay(header, lines, { until: 5 });
  const text = snapshotText(header, replayer.snapshot());
  const cases = [
    { name: "no JSON", text: "x", says: "Cannot read s.json: it is no snapshot of a replay" },
    { name: "null", text: "null", says: "it is no snapshot of a replay" },
    {
      name: "another version",
      text: text.replace('"version":1', '"version":9'),
      says: "it is of version 9, and this is a reader of version 1",
    },
    {
      name: "another trace",
      text: text.replace("2026-01-01", "2026-01-02"),
      says: "Cannot use s.json: it is of another trace than the one that is replayed",
    },
  ];
  for (const { name, text, says } of cases) {
    await t.step(name, () => {
      const error = assertThrows(() => parseSnapshot(text, "s.json", header), Error);
      assert(error.message.includes(says), error.message);
    });
  }
});
