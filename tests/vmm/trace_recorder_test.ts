import { assert, assertEquals, assertStringIncludes, assertThrows } from "@std/assert";
import { deadline } from "@std/async/deadline";
import { delay } from "@std/async/delay";
import { Entry } from "../../hw/guest_memory.ts";
import { SmmuV3 } from "../../hw/smmuv3/smmuv3.ts";
import { EnvironmentError } from "../../vmm/environment_error.ts";
import { LineReader, type Operation, type TraceHeader } from "../../vmm/trace/format.ts";
import { guestWords } from "../../vmm/trace/guest_words.ts";
import { Recorder } from "../../vmm/trace/recorder.ts";
import { Recording } from "../../vmm/trace/recording.ts";
import { Replayer } from "../../vmm/trace/replay/replayer.ts";
import { TextRing } from "../../vmm/trace/ring.ts";
import { openTrace, TraceError } from "../../vmm/trace/trace_file.ts";
import { SMALL_HEADER, smallTrace } from "../support/small_trace.ts";

/** A recorder and what it wrote, as objects. */
function recorder(
  more: Partial<TraceHeader> = {},
): { recorder: Recorder; taken: () => Record<string, unknown>[] } {
  const lines: string[] = [];
  const reader = new LineReader();
  let time = 0;
  const recorder = new Recorder(
    { ...SMALL_HEADER, ...more },
    (line) => lines.push(line),
    () => time += 0.25,
  );
  return {
    recorder,
    taken: () => lines.splice(0).map((line) => reader.line(line.slice(0, -1))!),
  };
}

const WHO = { streamId: 8, substreamId: -1 };

Deno.test("each operation is a line of what it was, and of what came of it", async (t) => {
  const { recorder: subject, taken } = recorder();
  taken();
  const ram = {
    fetch: () => true,
    store: () => true,
    store32: () => false,
    compareExchange: () => 1,
    read: () => true,
  };
  const memory = subject.memory({ ...ram, write: () => false });
  const wire = subject.wire("eventq", { pulse: () => {}, set: () => {} });
  const msi = subject.msi({ send: () => true });
  const entry = new Entry(16);
  entry.words.set([1, 2, 3, 4]);
  const dma = subject.dma({
    read: (_who, _lo, _hi, into) => memory.read(0x5000, into),
    write: (_who, _lo, _hi, from) => memory.write(0x6000, from),
    message: (_who, _lo, _hi, data) => msi.send(0x800_0000, data),
  });
  const registers = subject.device({
    read: (_at, into) => into.set([1, 2, 0xab, 0xff]),
    write: () => {
      memory.fetch(0x1000, entry);
      memory.fetch(0x1000, entry);
      memory.store(0x2000, entry);
      memory.store32(0x3000, -1);
      wire.pulse();
    },
  });
  const quads = "01000000020000000300000004000000";
  const cases: [string, () => void, object][] = [
    ["read", () => registers.read(0x20, new Uint8Array(4)), {
      op: "read",
      at: 32,
      bytes: "0102abff",
    }],
    ["write", () => registers.write(0x98, Uint8Array.of(1, 0, 0, 0)), {
      op: "write",
      at: 152,
      bytes: "01000000",
      mem: [[0, 4096, quads]],
      fetches: 2,
      path: 0,
      out: [["store", 8192, quads, true], ["store32", 12288, 0xffff_ffff, false], [
        "irq",
        "eventq",
      ]],
    }],
    ["reset", subject.reset(() => {}), { op: "reset" }],
    ["DMA read", () => dma.read(WHO, 0x1234, 0, new Uint8Array(4)), {
      op: "dma-read",
      stream: 8,
      iova: "0x1234",
      size: 4,
      ok: true,
      out: [["read", 0x5000, 4, 0x2144df1c, true]],
    }],
    ["DMA write", () => dma.write({ streamId: 9, substreamId: 7 }, 0x34, 0x12, new Uint8Array(4)), {
      op: "dma-write",
      stream: 9,
      substream: 7,
      iova: "0x1200000034",
      size: 4,
      ok: false,
      out: [["write", 0x6000, 4, 0x2144df1c, false]],
    }],
    ["message", () => dma.message(WHO, 0xffff_ffff, 0xffff_ffff, -1), {
      op: "dma-message",
      stream: 8,
      iova: "0xffffffffffffffff",
      data: 0xffff_ffff,
      ok: true,
      out: [["msi", 0x800_0000, 0xffff_ffff, true]],
    }],
  ];
  for (const [i, [name, act, expected]] of cases.entries()) {
    await t.step(name, () => {
      act();
      const [{ path, ...line }] = taken();
      const { path: _, ...rest } = expected as { path?: number };
      assertEquals(line, { t: 0.25 * (i + 1), ...rest });
      assertEquals(typeof path, "fetches" in line ? "number" : "undefined");
    });
  }
  subject.end();
  assertEquals(taken(), [{ end: true, operations: 6 }]);
});

Deno.test("a trace is ASCII, whatever the guest is called", () => {
  const lines: string[] = [];
  new Recorder({ ...SMALL_HEADER, guest: { a: "Grüße 🐧" } }, (line) => lines.push(line), () => 0);
  assert(/^[\x20-\x7e]+\n$/.test(lines[0]), lines[0]);
  assertEquals(JSON.parse(lines[0]).guest, { a: "Grüße 🐧" });
});

/** Replays lines against a device that may be broken; what the first difference is called. */
function firstDifference(lines: readonly string[], breakMemory: boolean): string | undefined {
  const reader = new LineReader();
  const [header, ...operations] = lines.slice(0, -1).map((line) => reader.line(line.slice(0, -1)));
  const replayer = new Replayer(header as unknown as TraceHeader, (options) => {
    const memory = options.memory;
    const write: typeof memory.write = (gpa, from) =>
      memory.write(gpa, from.map((byte) => byte ^ 1));
    return new SmmuV3({ ...options, memory: breakMemory ? { ...memory, write } : memory });
  });
  for (const operation of operations) {
    const [difference] = replayer.step(operation as unknown as Operation);
    if (difference !== undefined) return difference.what;
  }
  return undefined;
}

Deno.test("payload is recorded on demand, and a device that changes it is found", () => {
  const without = smallTrace(2);
  const having = smallTrace(2, { payload: true });
  assert(!without.join("").includes("payload"));
  const reader = new LineReader();
  const operations = having.map((line) => reader.line(line.slice(0, -1))!);
  const payloads = operations.filter(({ op }) => op === "dma-write").map(({ payload }) => payload);
  assertEquals(payloads.slice(0, 2), ["BwcHBwcHBwcHBwcHBwcHBw==", "AAAAAA=="]);
  assertEquals(firstDifference(without, true), undefined);
  assertEquals(firstDifference(having, false), undefined);
  assertEquals(firstDifference(having, true), "output 1");
});

Deno.test("the words about a guest tell nothing of its host", () => {
  const parts = { kernel: { release: undefined, path: "/srv/Image" }, qemu: { version: "11" } };
  const choice = { commandLine: "quiet", cpuCount: 2, memoryMiB: 512, append: "/srv" };
  assertEquals(guestWords(parts, choice), {
    kernel: "the user's own",
    commandLine: "quiet",
    cpuCount: "2",
    memoryMiB: "512",
    qemu: "11",
  });
});

Deno.test("the headers of real traces name no path, host, user or address", async () => {
  const folder = new URL("../traces/", import.meta.url);
  const names = [...Deno.readDirSync(folder)].map(({ name }) => name);
  const traces = names.filter((name) => name.endsWith(".jsonl.gz"));
  assert(traces.length > 0);
  const host = [Deno.hostname(), Deno.env.get("HOME"), Deno.env.get("USER"), Deno.cwd()];
  for (const name of traces) {
    const { header } = await openTrace(new URL(name, folder).pathname);
    const text = JSON.stringify(header).replace("vmm/trace/FORMAT.md", "");
    assert(
      !/\/|0x[0-9a-f]{9}|\d+\.\d+\.\d+\.\d+|@/.test(text.replace(/vsmmu\.iova=\S+/, "")),
      text,
    );
    for (const word of host) {
      if (word !== undefined && word.length > 4) assert(!text.includes(word), `${word} in ${text}`);
    }
  }
});

async function inFolder(work: (folder: string) => Promise<void>): Promise<void> {
  const folder = await Deno.makeTempDir();
  try {
    await work(folder);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
}

/** Writes a small trace through a recording; what it says on the way and in the end. */
async function record(path: string): Promise<{ notes: string[]; failure: string | undefined }> {
  const notes: string[] = [];
  const recording = new Recording({ path }, {}, (line) => notes.push(line));
  const ring = new TextRing(recording.configuration.ring);
  for (const line of smallTrace()) ring.write(line);
  return { notes, failure: await recording.finish() };
}

Deno.test("a recording replaces what was there, for its owner alone", async () => {
  await inFolder(async (folder) => {
    const path = `${folder}/t.jsonl.gz`;
    Deno.writeTextFileSync(path, "x".repeat(100_000), { mode: 0o644 });
    assertEquals(await record(path), { notes: [], failure: undefined });
    assertEquals(Deno.statSync(path).mode! & 0o777, 0o600);
    let count = 0;
    for await (const _ of (await openTrace(path)).operations) count++;
    assertEquals(count, smallTrace().length - 2);
  });
});

Deno.test("a full disk ends the recording in one line, and whoever records goes on", async () => {
  const { notes, failure } = await record("/dev/full");
  assertEquals(failure, "Cannot record to /dev/full: No space left on device (os error 28)");
  assertEquals(notes, [`${failure}; the guest goes on, and the trace ends here`]);
});

Deno.test("a path that cannot be written is refused at once", () => {
  for (const path of ["/tmp", "/tmp/no/such/folder"]) {
    const { message } = assertThrows(() => new Recording({ path }, {}, () => {}), EnvironmentError);
    assertStringIncludes(message, `Cannot record to ${path}: `);
    assert(message.endsWith(")"), message);
  }
});

Deno.test("a process that is killed leaves a trace up to its last second", async () => {
  await inFolder(async (folder) => {
    const path = `${folder}/t.jsonl.gz`;
    const script = new URL("../support/recording_process.ts", import.meta.url).pathname;
    const config = new URL("../../deno.json", import.meta.url).pathname;
    const process = new Deno.Command(Deno.execPath(), {
      args: ["run", "--allow-read", "--allow-write", "--config", config, script, path],
      stdout: "piped",
    }).spawn();
    let last = 0;
    const reading = (async (): Promise<void> => {
      for await (const piece of process.stdout.pipeThrough(new TextDecoderStream())) {
        last = Number(piece.split("\n").at(-2) ?? last);
      }
    })();
    while (last === 0) await delay(10);
    await delay(2000);
    process.kill("SIGKILL");
    await deadline(reading, 5000);
    await process.status;
    let recorded = 0;
    const { operations } = await openTrace(path);
    try {
      for await (const { operation } of operations) recorded = operation.t;
    } catch (error) {
      if (!(error instanceof TraceError)) throw error;
      assertStringIncludes(error.message, "it has no end: its recording was interrupted");
    }
    assert(last > 1.5 && last - recorded < 1, `recorded until ${recorded}, killed at ${last}`);
  });
});
