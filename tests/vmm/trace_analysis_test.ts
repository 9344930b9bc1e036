import { assert, assertEquals, assertMatch, assertStringIncludes } from "@std/assert";
import { features } from "../../hw/smmuv3/features.ts";
import { main } from "../../vmm/cli.ts";
import type { Analysis } from "../../vmm/trace/inspect/analysis.ts";
import { analysisLines } from "../../vmm/trace/inspect/analysis_text.ts";
import { Analyst } from "../../vmm/trace/inspect/analyst.ts";
import { type Circumstances, tellFault } from "../../vmm/trace/inspect/fault_story.ts";
import { LineReader, type Operation, type TraceHeader } from "../../vmm/trace/format.ts";
import { Histogram } from "../../vmm/trace/inspect/histogram.ts";
import { LivePages } from "../../vmm/trace/inspect/live_pages.ts";
import {
  commandFields,
  pciAddress,
  registerName,
  scopeOf,
} from "../../vmm/trace/inspect/naming.ts";
import { Timeline } from "../../vmm/trace/inspect/timeline.ts";
import { type Happening, Witness } from "../../vmm/trace/inspect/witness.ts";
import { smallTrace } from "../support/small_trace.ts";

/** What happens in a trace given as lines. */
function happenings(lines: readonly string[]): { header: TraceHeader; happenings: Happening[] } {
  const reader = new LineReader();
  const [header, ...rest] = lines.map((line) => reader.line(line.trimEnd()));
  const happenings: Happening[] = [];
  const witness = new Witness(
    header as unknown as TraceHeader,
    (happening) => happenings.push(happening),
  );
  for (const [i, line] of rest.slice(0, -1).entries()) {
    witness.step(i + 2, line as unknown as Operation);
  }
  return { header: header as unknown as TraceHeader, happenings };
}

function analyse(lines: readonly string[]): Analysis {
  const seen = happenings(lines);
  const analyst = new Analyst(seen.header);
  for (const happening of seen.happenings) analyst.take(happening);
  return analyst.analysis();
}

/** Runs `vsmmu inspect` on text that is written to a file first. */
async function inspect(
  text: string,
  ...flags: string[]
): Promise<{ code: number; out: string[]; notes: string[] }> {
  const path = await Deno.makeTempFile({ suffix: ".jsonl" });
  try {
    await Deno.writeTextFile(path, text);
    const out: string[] = [];
    const notes: string[] = [];
    const signal = new AbortController().signal;
    const io = {
      out: (line: string): void => void out.push(line),
      note: (line: string): void => void notes.push(line.replace(path, "FILE")),
      signal,
    };
    return { code: await main(["inspect", path, ...flags], io), out, notes };
  } finally {
    await Deno.remove(path);
  }
}

Deno.test("the analysis of a small trace has every number right", () => {
  const analysis = analyse(smallTrace());
  assertEquals(analysis.operations, 16);
  assertEquals(analysis.divergence, null);
  assertEquals(analysis.resets, 1);
  assertEquals(analysis.enabledAt, [3.5]);
  assertEquals(analysis.prodWrites, 1);
  assertEquals(
    analysis.streams.map(({ configurations: _, ...stream }) => stream),
    [{
      streamId: 1,
      pciAddress: "0000:00:00.1",
      reads: 2,
      writes: 2,
      messages: 1,
      readBytes: 16,
      writtenBytes: 16,
      failed: 3,
      faults: 3,
    }],
  );
  assertEquals(analysis.streams[0].configurations[0], {
    seconds: 4.5,
    substreamId: null,
    mode: "stage 1",
    ste: "stage 1, CD at 0x40004000",
    cd: "ASID 0, TTB0 at 0x40005000, 16 bits from level 3",
    asid: 0,
  });
  assertEquals(analysis.domains, [{ asid: 0, streamIds: [1] }]);
  assertEquals(analysis.commands.map(({ name, count }) => [name, count]), [
    ["CMD_TLBI_NH_VA", 1],
    ["CMD_SYNC", 1],
  ]);
  assertEquals(analysis.invalidations, [
    { name: "CMD_TLBI_NH_VA", count: 1, ranges: 0, pages: 1 },
  ]);
  assertEquals(analysis.livePages, { peak: 1, atEnd: 0, isCut: false });
  assertEquals(analysis.summary.events, { C_BAD_SUBSTREAMID: 1, F_TRANSLATION: 2 });
  assertEquals(analysis.histograms.commandsPerProdWrite.buckets, [{ from: 2, below: 4, count: 1 }]);
  assertEquals(analysis.histograms.commandsPerSync.buckets, [{ from: 1, below: 2, count: 1 }]);
});

Deno.test("faults are told in words, with what the device found on its way", () => {
  const { faults, faultCount } = analyse(smallTrace(3));
  assertEquals(faultCount, 9);
  assertEquals(
    faults.map(({ text, count }) => [text, count]),
    [
      [
        "StreamID 0x1 (0000:00:00.1), SubstreamID 5, read from IOVA 0x100003000: " +
        "its STE at 0x40003040 has no such substream (C_BAD_SUBSTREAMID)",
        3,
      ],
      [
        "StreamID 0x1 (0000:00:00.1) wrote to IOVA 0x3000: " +
        "the level 3 descriptor at 0x40005018 is invalid (F_TRANSLATION)",
        3,
      ],
      [
        "StreamID 0x1 (0000:00:00.1) sent a message to IOVA 0xffff000000004000: " +
        "walks of this half of the addresses are off (CD.EPD1=1) (F_TRANSLATION)",
        3,
      ],
    ],
  );
  assertEquals(
    faults[1].steps.map(({ what, gpa, value }) => [what, gpa, value]),
    [
      ["STE", "0x40003040", "0x4000400b"],
      ["CD", "0x40004000", "0x6205c0000030"],
      ["level 3", "0x40005018", "0x0"],
    ],
  );
});

Deno.test("each event has its reason", async (t) => {
  const ste = (low: number): Circumstances["ste"] => ({
    gpa: 0x1000,
    sizeBytes: 64,
    words: new Uint32Array(16).fill(low, 0, 1),
  });
  const descriptor = (low: number): Circumstances["walk"] => [
    { gpa: 0x2000, sizeBytes: 8, words: Uint32Array.of(low, 0) },
  ];
  const cases: [event: string | null, more: Partial<Circumstances>, reason: string][] = [
    ["C_BAD_STREAMID", {}, "the stream table is too short for StreamID 0x10"],
    [
      "C_BAD_STREAMID",
      { l1std: { gpa: 0x3000, sizeBytes: 8, words: Uint32Array.of(0, 0) } },
      "the L1STD at 0x3000 leads to no STE for it",
    ],
    [
      "F_STE_FETCH",
      { ste: { gpa: 0x1000, sizeBytes: 64, words: undefined } },
      "its STE at 0x1000 lies where no RAM is",
    ],
    ["C_BAD_STE", { ste: ste(0) }, "its STE at 0x1000 is not valid (V=0)"],
    ["C_BAD_STE", { ste: ste(0xd) }, "its STE at 0x1000 is illegal on this device"],
    [
      "F_WALK_EABT",
      { walk: [{ gpa: 0x2000, sizeBytes: 8, words: undefined }] },
      "the level 0 descriptor at 0x2000 lies where no RAM is",
    ],
    ["F_TRANSLATION", { walk: descriptor(0) }, "the level 0 descriptor at 0x2000 is invalid"],
    [
      "F_ACCESS",
      { walk: descriptor(3) },
      "the level 0 descriptor at 0x2000 has its access flag clear",
    ],
    ["F_PERMISSION", { walk: descriptor(0xc3) }, "the level 0 descriptor at 0x2000 is read-only"],
    [null, { ste: ste(1) }, "its STE at 0x1000 aborts everything (Config=0)"],
    [null, { isEnabled: false }, "the SMMU is off, and GBPA aborts or the address is too large"],
    [null, { isAborted: false }, "it got through, to an address where nothing answers"],
    ["0x77", {}, "the device says no more"],
  ];
  for (const [event, more, reason] of cases) {
    await t.step(`${event}: ${reason}`, () => {
      const story = tellFault({
        seconds: 1,
        line: 2,
        access: "write",
        streamId: 0x10,
        substreamId: -1,
        iova: [0x5678_0000, 0x1234],
        event,
        recorded: true,
        ste: undefined,
        cd: undefined,
        l1std: undefined,
        walk: [],
        isEnabled: true,
        isAborted: true,
        ...more,
      }, features());
      assertEquals(story.reason, reason);
      assertEquals(story.iova, "0x123456780000");
    });
  }
});

Deno.test("names are those of the manual and of Linux", () => {
  assertEquals([0x98, 0x8c, 0xa8, 0x1_00ac, 0x84, 0x200].map(registerName), [
    "CMDQ_PROD",
    "0x8c",
    "EVENTQ_PROD",
    "EVENTQ_CONS",
    "STRTAB_BASE[63:32]",
    "0x200",
  ]);
  assertEquals([0x10, 0x1f9, 0x1_0000].map(pciAddress), [
    "0000:00:02.0",
    "0000:01:1f.1",
    undefined,
  ]);
  // ASID 7, 16K granule, NUM 3, SCALE 1: 8 granules of 4 pages.
  const range = Uint32Array.of(0x0010_3012, 0x0007_0000, 0x4000_0800, 0x12);
  assertEquals(scopeOf(range), {
    kind: "va",
    asid: 7,
    firstPage: 0x124_0000,
    pages: 32,
    isRange: true,
  });
  assertEquals(commandFields(range), { ASID: 7, Address: "0x1240000000", pages: 32 });
});

Deno.test("memory is bounded: histograms, timelines and live pages", () => {
  const histogram = new Histogram();
  for (const value of [0, 0.5, 1, 3, 1e300]) histogram.add(value);
  assertEquals(
    histogram.summary().buckets.filter(({ count }) => count > 0).map(({ count }) => count),
    [
      2,
      1,
      1,
      1,
    ],
  );
  const timeline = new Timeline();
  timeline.add(0.001, "a", 1);
  timeline.level(0.5, "b", 5);
  timeline.level(0.6, "b", 2);
  timeline.add(1e6, "a", 2);
  const { sums, levels, slotSeconds } = timeline.summary();
  assert(sums["a"].length <= 1024 && slotSeconds >= 1e6 / 1024);
  assertEquals([sums["a"][0], sums["a"].at(-1), levels["b"][0], levels["b"][1]], [1, 2, 5, 2]);
  const folded = new Timeline();
  folded.add(0.9, "a", 1);
  folded.add(1.5, "a", 1);
  assertEquals(folded.summary().sums["a"].length, 769);
  const live = new LivePages();
  live.use(1, 0, 2 ** 30);
  assertEquals([live.count, live.isCut], [2 ** 20, true]);
  live.invalidate({ kind: "va", asid: -1, firstPage: 10, pages: 2 ** 50, isRange: true });
  assertEquals(live.count, 10);
  live.invalidate({ kind: "asid", asid: 2, firstPage: 0, pages: 0, isRange: false });
  assertEquals(live.count, 10);
});

Deno.test("the text has faults first, and nothing that a terminal would obey", () => {
  const lines = analysisLines(
    analyse(smallTrace(1, { guest: { kernel: "7\x1b[2J", commandLine: "\x07" } })),
  );
  assert(lines.indexOf("Faults") < lines.indexOf("Who"));
  assertEquals(lines.filter((line) => /\p{Cc}/u.test(line)), []);
});

Deno.test("vsmmu inspect --json prints the analysis, and text without", async () => {
  const text = smallTrace().join("");
  const json = await inspect(text, "--json");
  assertEquals([json.code, json.notes], [0, []]);
  const analysis = JSON.parse(json.out.join("\n"));
  assertEquals([analysis.version, analysis.operations, analysis.damage], [1, 16, null]);
  const plain = await inspect(text);
  assertEquals(plain.code, 0);
  assertStringIncludes(plain.out[0], "numbers brought the SMMU up at 3.50 s");
});

Deno.test("of a damaged trace what precedes the damage is told, then the damage in one line", async () => {
  const lines = smallTrace();
  lines[11] = lines[11].replace('"op"', '"oq"');
  for (const flags of [[], ["--json"]]) {
    const { code, out, notes } = await inspect(lines.join(""), ...flags);
    assertEquals([code, notes.length], [3, 1]);
    assertMatch(notes[0], /FILE.*line 12/);
    assertMatch(out.join("\n"), flags.length === 0 ? /10 operations/ : /"operations": 10/);
  }
});
