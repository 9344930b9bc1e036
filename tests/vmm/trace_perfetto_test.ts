import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import { gunzipSync } from "node:zlib";
import { main } from "../../vmm/cli.ts";
import { smallTrace } from "../support/small_trace.ts";

/** An event as the Trace Event Format has it. */
interface TraceEvent {
  readonly ph: string;
  readonly name: string;
  readonly pid: number;
  readonly tid: number;
  readonly ts: number;
  readonly dur?: number;
  readonly s?: string;
  readonly args?: Record<string, unknown>;
}

/** What `vsmmu inspect --perfetto` makes of lines. */
async function perfetto(lines: readonly string[]): Promise<{
  code: number;
  text: string;
  left: string[];
}> {
  const folder = await Deno.makeTempDir();
  try {
    await Deno.writeTextFile(`${folder}/t.jsonl`, lines.join(""));
    const code = await main(["inspect", `${folder}/t.jsonl`, "--perfetto", `${folder}/p.json`], {
      out: () => {},
      note: () => {},
      signal: new AbortController().signal,
    });
    const left = [...Deno.readDirSync(folder)].map(({ name }) => name).sort();
    return { code, text: await Deno.readTextFile(`${folder}/p.json`), left };
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
}

Deno.test("every event is as the Trace Event Format says", async () => {
  const { code, text, left } = await perfetto(smallTrace(5));
  assertEquals([code, left], [0, ["p.json", "t.jsonl"]]);
  const { displayTimeUnit, otherData, traceEvents } = JSON.parse(text);
  assertEquals([displayTimeUnit, otherData.guest], ["ns", "numbers"]);
  for (const event of traceEvents as TraceEvent[]) {
    const where = JSON.stringify(event);
    assert(["X", "i", "C", "M"].includes(event.ph), where);
    assert(typeof event.name === "string" && event.name !== "", where);
    for (const number of [event.pid, event.tid, event.ts]) assert(Number.isFinite(number), where);
    assert(event.ts >= 0, where);
    assertEquals(event.ph === "X", event.dur !== undefined && event.dur >= 0, where);
    assertEquals(event.ph === "i", ["t", "p", "g"].includes(event.s ?? ""), where);
    if (event.ph === "C") {
      assert(Object.values(event.args ?? {}).every((value) => typeof value === "number"), where);
    }
  }
});

Deno.test("every track that is used has a name", async () => {
  const events: TraceEvent[] = JSON.parse((await perfetto(smallTrace(2))).text).traceEvents;
  const names = new Map(
    events.filter(({ name }) => name === "thread_name")
      .map(({ pid, tid, args }) => [`${pid}:${tid}`, args?.["name"]]),
  );
  const used = events.filter(({ ph }) => ph === "X" || ph === "i")
    .map(({ pid, tid }) => `${pid}:${tid}`);
  assertEquals([...new Set(used)].filter((track) => !names.has(track)), []);
  assertEquals([...names.values()], [
    "Registers",
    "Commands",
    "Batches up to CMD_SYNC",
    "Events",
    "Interrupts",
    "DMA of 0x1 (0000:00:00.1)",
  ]);
});

Deno.test("each stream of a real guest has a track of its own", async () => {
  const path = new URL("../traces/linux-7.3-fault.jsonl.gz", import.meta.url);
  const text = gunzipSync(await Deno.readFile(path)).toString();
  const events: TraceEvent[] = JSON.parse((await perfetto([text])).text).traceEvents;
  const tracks = events.filter(({ name, pid }) => name === "thread_name" && pid === 2);
  assertEquals(tracks.map(({ args }) => args?.["name"]), [
    "DMA of 0x8 (0000:00:01.0)",
    "DMA of 0x10 (0000:00:02.0)",
  ]);
  const failed = events.find(({ name }) => name === "write failed");
  assertEquals([failed?.tid, failed?.args?.["iova"]], [tracks[1].tid, "0x123456780000"]);
  assertEquals(new Set(tracks.map(({ tid }) => tid)).size, 2);
});

Deno.test("commands, DMA, faults, interrupts and counters are where they happened", async () => {
  const events: TraceEvent[] = JSON.parse((await perfetto(smallTrace())).text).traceEvents;
  const named = (name: string): (number | undefined)[] =>
    events.filter((event) => event.name === name).map(({ ts }) => ts);
  assertEquals(named("write CMDQ_PROD"), [6_000_000]);
  assertEquals(named("CMD_TLBI_NH_VA"), [6_000_000]);
  assertEquals(named("CMD_SYNC"), [6_000_000]);
  assertEquals(named("1 command"), [6_000_000]);
  assertEquals(named("F_TRANSLATION"), [6_500_000, 7_000_000]);
  assertEquals(named("eventq").length, 1);
  assertEquals(named("write"), [4_500_000]);
  assertEquals(named("write failed"), [6_500_000]);
  const live = events.filter(({ name }) => name === "live pages of 4 KiB")
    .map(({ args }) => args?.["pages"]);
  assertEquals(live.slice(0, 4), [1, 1, 1, 0]);
  const fault = events.find(({ name }) => name === "F_TRANSLATION");
  assertStringIncludes(String(fault?.args?.["text"]), "the level 3 descriptor at 0x40005018");
});

Deno.test("a damaged trace leaves a whole file of what precedes the damage", async () => {
  const { code, text } = await perfetto(smallTrace().slice(0, 10));
  assertEquals(code, 3);
  assert(JSON.parse(text).traceEvents.length > 10);
});
