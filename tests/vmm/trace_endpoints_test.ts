/** The doors of endpoints that translate for themselves or wait: recorded, replayed, held against each other. */
import { assert, assertEquals, assertRejects, assertStringIncludes } from "@std/assert";
import { TranslationCompletion } from "../../hw/ats_port.ts";
import { SmmuV3 } from "../../hw/smmuv3/smmuv3.ts";
import type { Operation, TraceHeader } from "../../vmm/trace/format.ts";
import { analysisLines } from "../../vmm/trace/inspect/analysis_text.ts";
import { Analyst } from "../../vmm/trace/inspect/analyst.ts";
import { Witness } from "../../vmm/trace/inspect/witness.ts";
import { divergenceLines } from "../../vmm/trace/replay/divergence.ts";
import { minimise } from "../../vmm/trace/replay/minimise.ts";
import { Replayer } from "../../vmm/trace/replay/replayer.ts";
import { runReplay } from "../../vmm/trace/replay/replayer_run.ts";
import { parseSnapshot, snapshotText } from "../../vmm/trace/replay/replayer_snapshot.ts";
import { openTrace, TraceError, type TraceLine } from "../../vmm/trace/trace_file.ts";
import { AtsScene, IOVA } from "../support/ats_scene.ts";
import { DATA, split } from "../support/guest.ts";
import { recordedGuest } from "../support/recorded_guest.ts";

const kindless = { write: false, execute: false, privileged: false };
const FEATURES = { ats: true, pri: true, stage2: true, ssidSize: 4, stallModel: 0, stallMax: 2 };
const PRIQ = DATA - 0x1000;
const PAGE = 0x4090_0000;
const STALLING = 2;

interface Trace {
  readonly header: TraceHeader;
  readonly lines: TraceLine[];
  readonly text: readonly string[];
}

/** All that endpoints do, and are told; one of them asks while it is told. */
function record(): Trace {
  const answers: (() => void)[] = [];
  const endpoints = {
    // It asks again at once, as its ATC is empty now; the second time it does not answer.
    invalidate: (): boolean => {
      answers.shift()?.();
      return answers.length > 0;
    },
    respond: (): void => answers.shift()?.(),
  };
  const { guest, end } = recordedGuest({ features: FEATURES, log2queue: 5, endpoints });
  const scene = new AtsScene(() => guest);
  const { smmu } = guest;
  scene.ste([[3, 1, 5], [93, 92, 1]]);
  smmu.write32(0xc0, PRIQ | 3);
  scene.control({ records: true });
  smmu.write32(0x20, 0x1f);
  const port = smmu.atsPort();
  const who = { streamId: 1, substreamId: -1 };
  const kind = { read: true, write: true, execute: false, privileged: false, last: true };
  scene.ask("w");
  scene.ask("w", IOVA + 0x1000n);
  scene.ask("xp", IOVA, 3);
  port.translated.write(who, DATA, 0, new Uint8Array(8).fill(1));
  port.translated.read(who, DATA, 0, new Uint8Array(8));
  port.translated.message(who, DATA + 8, 0, 7);
  port.requestPage(who, ...split(IOVA), 5, kind);
  port.requestPage({ streamId: 1, substreamId: 3 }, ...split(IOVA), 511, { ...kind, last: false });
  const answer = new TranslationCompletion();
  const again = (): void => port.translate(who, ...split(IOVA), kindless, answer);
  answers.push(again, again, () => {});
  guest.command(0x41n | 1n << 32n, 5n | 2n << 12n);
  guest.command(0x40n | 1n << 32n, 1n);
  guest.command(0x40n | 1n << 32n, 52n);
  guest.command(0x46n);
  smmu.write32(0x64, smmu.read32(0x60));
  // One that waits, is mended and done, and goes on at once with the next one; that one is aborted.
  const { root } = guest.stage1(STALLING, { word1: 1 << 12, asid: 9 });
  const stallable = smmu.stallablePort();
  const slow = { streamId: STALLING, substreamId: -1 };
  stallable.write(slow, 0x3000, 0, new Uint8Array(16), (ok) => {
    if (ok) stallable.read(slow, 0x5000, 0, new Uint8Array(4), () => {});
  });
  stallable.read(slow, 0x9000, 0, new Uint8Array(4), () => {});
  guest.map(root, 0x3000n, PAGE);
  const tags = guest.events().map(([, q1]) => q1 & 0xffffn);
  assertEquals(tags.length, 2);
  guest.command(0x44n | 1n << 12n | BigInt(STALLING) << 32n, tags[0]);
  guest.command(0x45n | BigInt(STALLING) << 32n);
  return end();
}

const asked = ({ lines }: Trace, op: string): Operation[] =>
  lines.map(({ operation }) => operation).filter((operation) => operation.op === op);

const outputs = ({ lines }: Trace): unknown =>
  lines.flatMap(({ operation }) => operation.out ?? []).filter(([kind]) =>
    ["invalidate", "respond", "end", "asked"].includes(kind)
  );

/** Without what every operation has. */
function fields({ t: _t, mem: _m, fetches: _f, path: _p, out: _o, ...rest }: Operation): unknown {
  return rest;
}

Deno.test("what endpoints ask and are told is in the trace, with what came of it", () => {
  const trace = record();
  const iova = `0x${IOVA.toString(16)}`;
  assertEquals(asked(trace, "translation-request").map(fields), [
    {
      op: "translation-request",
      stream: 1,
      iova,
      asks: "w",
      status: 0,
      page: 0x4090_0000,
      log2size: 12,
      grants: "rw",
    },
    {
      op: "translation-request",
      stream: 1,
      iova: "0x87655000",
      asks: "w",
      status: 0,
      page: 0,
      log2size: 12,
    },
    { op: "translation-request", stream: 1, substream: 3, iova, asks: "xp", status: 4 },
  ]);
  const translated = { stream: 1, iova: `0x${DATA.toString(16)}`, size: 8, ok: true };
  assertEquals(fields(asked(trace, "translated-write")[0]), {
    op: "translated-write",
    ...translated,
  });
  assertEquals(fields(asked(trace, "translated-read")[0]), {
    op: "translated-read",
    ...translated,
  });
  assertEquals(fields(asked(trace, "translated-message")[0]), {
    op: "translated-message",
    stream: 1,
    iova: "0x40800008",
    data: 7,
    ok: true,
  });
  assertEquals(asked(trace, "page-request").map(fields), [
    { op: "page-request", stream: 1, iova, asks: "rw", group: 5, last: true },
    { op: "page-request", stream: 1, substream: 3, iova, asks: "rw", group: 511, last: false },
  ]);
  assertEquals(asked(trace, "stallable-write").map(fields), [
    { op: "stallable-write", stream: 2, iova: "0x3000", size: 16, transaction: 0 },
  ]);
  const request = {
    op: "translation-request",
    stream: 1,
    iova,
    status: 0,
    page: 0x4090_0000,
    log2size: 12,
    grants: "rw",
  };
  assertEquals(outputs(trace), [
    ["respond", 1, -1, 5, 2],
    ["asked", request],
    ["invalidate", 1, -1, false, "0x0", 1, true],
    ["asked", request],
    ["invalidate", 1, -1, false, "0x0", 52, false],
    ["end", 0, true],
    ["asked", { op: "stallable-read", stream: 2, iova: "0x5000", size: 4, transaction: 2 }],
    ["end", 2, false],
    ["end", 1, false],
  ]);
});

Deno.test("a fresh device does the same, also when it is put down and restored after any line", async () => {
  const { header, lines } = record();
  const whole = await runReplay(header, lines);
  assertEquals(whole.result.kinds, []);
  assertEquals(whole.result.operations, lines.length);
  for (let until = 2; until <= lines.length; until++) {
    const { replayer } = await runReplay(header, lines, { until });
    const from = parseSnapshot(snapshotText(header, replayer.snapshot()), "s.json", header);
    const { result } = await runReplay(header, lines, { from });
    assertEquals([result.operations, result.kinds], [lines.length + 1 - until, []], `${until}`);
  }
});

/** The trace with one thing in it changed, in the first line in which `change` finds it. */
function changed(
  { lines }: Trace,
  change: (operation: Operation) => object | undefined,
): [TraceLine[], number] {
  let number = 0;
  const altered = lines.map((line) => {
    const other = number === 0 ? change(structuredClone(line.operation)) : undefined;
    if (other === undefined) return line;
    number = line.number;
    return { ...line, operation: { ...line.operation, ...other } as Operation };
  });
  return [altered, number];
}

/** Changes an element of the first output of a kind. */
const inOutput =
  (kind: string, at: number, value: unknown) => ({ out }: Operation): object | undefined => {
    const index = out?.findIndex((output) => output[0] === kind) ?? -1;
    if (index < 0) return undefined;
    const output = out![index] as unknown as unknown[];
    output[at] = value;
    return { out };
  };

const inRequest =
  (op: string, fields: Record<string, unknown>) => (operation: Operation): object | undefined =>
    operation.op === op ? fields : undefined;

Deno.test("a device that answers otherwise is the first difference, told in words", async (t) => {
  const trace = record();
  const cases: { name: string; change: (o: Operation) => object | undefined; says: string[] }[] = [
    {
      name: "another page",
      change: inRequest("translation-request", { page: 0x4090_1000 }),
      says: [
        "translation request (rw) of IOVA 0x87654000 by StreamID 0x1",
        "expected rw at 0x40901000, 2^12 bytes  got rw at 0x40900000, 2^12 bytes",
        "Most likely: the device answers rw at 0x40900000",
        "level 3 descriptor",
      ],
    },
    {
      name: "another permission",
      change: inRequest("translation-request", { grants: "r" }),
      says: ["expected r at 0x40900000", "got rw at 0x40900000"],
    },
    {
      name: "another status",
      change: inRequest("translation-request", { status: 1 }),
      says: ["expected Unsupported Request", "got rw at 0x40900000"],
    },
    {
      name: "a translated write that was aborted",
      change: inRequest("translated-write", { ok: false }),
      says: ["at translated address 0x40800000", "expected aborted", "got done"],
    },
    {
      name: "another ATC invalidation",
      change: inOutput("invalidate", 4, "0x1000"),
      says: [
        "invalidation of an ATC.Address",
        "expected 0x1000",
        "got 0x0",
        "what endpoints are told",
      ],
    },
    {
      name: "another answer to a page request",
      change: inOutput("respond", 4, 0),
      says: ["answer to a page request.Resp", "expected 0x0", "got 0x2"],
    },
    {
      name: "another end",
      change: inOutput("end", 2, false),
      says: ["end of transaction 0.done", "expected no", "got yes"],
    },
    {
      name: "another result of what was asked meanwhile",
      change: ({ out }) => {
        const found = out?.find((output) => output[0] === "asked");
        if (found === undefined) return undefined;
        Object.assign(found[1] as object, { log2size: 21 });
        return { out };
      },
      says: ["what an endpoint asked meanwhile", "2^21 bytes", "2^12 bytes"],
    },
    {
      name: "a page request of another group",
      change: inRequest("page-request", { group: 6 }),
      says: ["page request (rw, group 6, last) of IOVA 0x87654000"],
    },
  ];
  for (const { name, change, says } of cases) {
    await t.step(name, async () => {
      const [lines, number] = changed(trace, change);
      const { result } = await runReplay(trace.header, lines);
      assertEquals(result.kinds.length, 1);
      assertEquals(result.kinds[0].first.line, number);
      const text = divergenceLines(result.kinds[0].first, "t.jsonl.gz").join("\n");
      for (const part of says) assertStringIncludes(text, part);
    });
  }
});

Deno.test("an analysis counts what endpoints asked and were told", () => {
  const { header, lines } = record();
  const analyst = new Analyst(header);
  const witness = new Witness(header, (happening) => analyst.take(happening));
  for (const { number, operation } of lines) witness.step(number, operation);
  const text = analysisLines(analyst.analysis()).map((line) => line.trim());
  const told = text.filter((line) => /^ATS|waited/.test(line));
  assertEquals(told, [
    "ATS: 5 translation requests, 2 of them granted nothing; 2 invalidations, 1 without an answer; " +
    "2 page requests, 1 answer",
    "3 transactions waited for software, 3 of them to an end",
  ]);
});

Deno.test("a trace that is cut says at which line; what precedes it is whole", async () => {
  const { text } = record();
  const path = await Deno.makeTempFile();
  try {
    await Deno.writeTextFile(path, text.slice(0, -1).join("").slice(0, -20));
    const { operations } = await openTrace(path);
    const read = async (): Promise<void> => {
      for await (const _ of operations) { /* as far as it goes */ }
    };
    const { message } = await assertRejects(read, TraceError);
    assertStringIncludes(message, `line ${text.length - 1}`);
  } finally {
    await Deno.remove(path);
  }
});

Deno.test("recordings before 1.4 do not tell what endpoints are told, and replay all the same", () => {
  const { header, lines } = record();
  const older = lines.filter(({ operation }) => !("stream" in operation)).map((line) => {
    const { out, ...rest } = line.operation;
    const told = ["respond", "invalidate", "asked", "end"];
    const left = out?.filter(([kind]) => !told.includes(kind)) ?? [];
    return {
      ...line,
      operation: { ...rest, ...(left.length > 0 ? { out: left } : {}) } as Operation,
    };
  });
  const until = older.findIndex(({ operation }) =>
    operation.op === "write" && operation.at === 0xc0
  );
  const invalidate = lines.find(({ operation }) =>
    operation.out?.some(([kind]) => kind === "invalidate")
  )!;
  // Up to the first CMD_ATC_INV that was answered, which by itself does nothing else.
  const part = older.filter(({ number }) => number <= invalidate.number);
  assert(until > 0);
  const differences = (version: string): number => {
    const replayer = new Replayer({ ...header, version });
    return part.map(({ operation, number }) => replayer.step(operation, number))
      .filter((differences) =>
        differences.some(({ got }) => JSON.stringify(got).includes("invalidate"))
      )
      .length;
  };
  assertEquals([differences("1.3"), differences("1.4")], [0, 1]);
});

Deno.test("a diverging trace of endpoints is cut to a small one that diverges as well", async () => {
  const { header, lines } = record();
  const make = (options: ConstructorParameters<typeof SmmuV3>[0]): SmmuV3 => {
    const { endpoints } = options;
    return new SmmuV3({
      ...options,
      ...(endpoints
        ? {
          endpoints: { ...endpoints, respond: (s, p, g, r) => endpoints.respond(s, p, g, r ^ 1) },
        }
        : {}),
    });
  };
  const small = (await minimise(header, lines, { make }))!;
  assertEquals(small.isRecordedAnew, true);
  assertStringIncludes(small.divergence.kind, "answer to a page request");
  assert(small.operations.length <= 5, `${small.operations.length}`);
});
