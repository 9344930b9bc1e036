import { assert, assertEquals, assertRejects, assertStringIncludes } from "@std/assert";
import { gzipSync } from "node:zlib";
import { LineWriter, type Operation, type TraceHeader } from "../../vmm/trace/format.ts";
import { Replayer } from "../../vmm/trace/replay/replayer.ts";
import { openTrace, TraceError } from "../../vmm/trace/trace_file.ts";
import { SMALL_HEADER, smallTrace } from "../support/small_trace.ts";

const LINES = smallTrace();
const TEXT = new TextEncoder().encode(LINES.join(""));
const OPERATIONS = LINES.slice(1, -1);

interface Read {
  /** Operations before the end or the damage, as they are in the trace. */
  readonly operations: number;
  readonly error: TraceError | undefined;
}

/** Reads and replays all that can be; anything but a `TraceError` that names the file in one line is thrown. */
async function read(path: string): Promise<Read> {
  let count = 0;
  try {
    const { header, operations } = await openTrace(path);
    const replayer = new Replayer(header);
    for await (const { operation, number } of operations) {
      assertEquals(number, count + 2);
      assertEquals(JSON.stringify(operation), OPERATIONS[count].replace(/,"c":\d+}\n$/, "}"));
      assertEquals(replayer.step(operation), []);
      count++;
    }
    return { operations: count, error: undefined };
  } catch (error) {
    if (!(error instanceof TraceError)) throw error;
    assert(error.message.includes(path) && !error.message.includes("\n"), error.message);
    if (error.place !== undefined) {
      const { line, offset, operations } = error.place;
      assertEquals(operations, count);
      const before = LINES.slice(0, line - 1).join("").length;
      assertEquals(offset, before, error.message);
      assertStringIncludes(error.message, `line ${line}, at byte ${offset} of the uncompressed`);
    }
    return { operations: count, error };
  }
}

/** Files in a folder that goes away. */
async function inFolder(
  work: (put: (bytes: Uint8Array | string) => string) => Promise<void>,
): Promise<void> {
  const folder = await Deno.makeTempDir();
  try {
    const path = `${folder}/t.jsonl.gz`;
    await work((bytes) => {
      if (typeof bytes === "string") Deno.writeTextFileSync(path, bytes);
      else Deno.writeFileSync(path, bytes);
      return path;
    });
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
}

function flipped(bytes: Uint8Array, at: number, mask: number): Uint8Array {
  const copy = bytes.slice();
  copy[at] ^= mask;
  return copy;
}

/** Number of the line, from 1, in which a byte of the text is. */
function lineAt(at: number): number {
  let end = 0;
  return LINES.findIndex((line) => (end += line.length) > at) + 1;
}

/** Two members, as a recording has them. */
function members(): Uint8Array {
  const middle = LINES.slice(0, 8).join("").length;
  const parts = [TEXT.subarray(0, middle), TEXT.subarray(middle)].map((part) => gzipSync(part));
  return new Uint8Array(parts.flatMap((part) => [...part]));
}

Deno.test("a trace is read whole, compressed in one member or more, and as plain text", async () => {
  await inFolder(async (put) => {
    const whole = { operations: OPERATIONS.length, error: undefined };
    for (const bytes of [members(), gzipSync(TEXT), TEXT]) {
      assertEquals(await read(put(bytes)), whole);
    }
  });
});

Deno.test("compressed data cut at any byte, or with any byte flipped, replays up to there", async () => {
  await inFolder(async (put) => {
    const compressed = members();
    let before = 0;
    let harmless = 0;
    for (let at = 0; at < compressed.length; at++) {
      const cut = await read(put(compressed.subarray(0, at)));
      assert(cut.error !== undefined, `cut to ${at}`);
      assert(cut.operations >= before, `cut to ${at}: ${cut.operations} instead of ${before}`);
      before = cut.operations;
      const { operations, error } = await read(put(flipped(compressed, at, 1 << (at % 8))));
      // A line that lacks only its newline is whole; one with another letter there is not.
      assert(operations >= before - 1, `byte ${at}: ${operations} instead of ${before}`);
      if (error !== undefined) continue;
      assertEquals(operations, OPERATIONS.length);
      harmless++;
    }
    assertEquals(before, OPERATIONS.length);
    // Times and names in the headers of both members, and bits that fill the last byte of a stream.
    assert(harmless <= 16, String(harmless));
  });
});

Deno.test("text that is cut at any byte replays all whole lines", async () => {
  await inFolder(async (put) => {
    // Without its last newline a line is whole.
    for (let size = 0; size < TEXT.length - 1; size++) {
      const bytes = TEXT.subarray(0, size);
      const { operations, error } = await read(put(size % 2 === 0 ? bytes : gzipSync(bytes)));
      assert(error !== undefined, `cut to ${size}`);
      const line = lineAt(size + 1);
      assertEquals(operations, Math.min(Math.max(0, line - 2), OPERATIONS.length), `to ${size}`);
    }
  });
});

Deno.test("a flipped byte of the text is found at its line, and all lines before it replay", async () => {
  await inFolder(async (put) => {
    for (let at = 0; at < TEXT.length - 1; at++) {
      const bytes = flipped(TEXT, at, 1 << (at % 8));
      const { operations, error } = await read(put(at % 2 === 0 ? bytes : gzipSync(bytes)));
      const line = lineAt(at);
      assert(error !== undefined, `byte ${at} of line ${line}`);
      if (line > 1) assertEquals(error?.place?.line, line, error?.message);
      assertEquals(operations, Math.max(0, line - 2), error?.message);
    }
  });
});

Deno.test("what is not a trace is refused in one line that says why", async (t) => {
  const random = crypto.getRandomValues(new Uint8Array(5000));
  const cases: [string, Uint8Array | string, string][] = [
    ["empty", "", "it is empty"],
    ["one byte", "{", "it does not begin like a trace of vsmmu"],
    ["compressed emptiness", gzipSync(""), "it is empty"],
    ["noise", random, "it does not begin like a trace of vsmmu"],
    ["compressed noise", gzipSync(random), "it does not begin like a trace of vsmmu"],
    ["gzip of nothing more than its name", new Uint8Array([0x1f, 0x8b]), "is damaged in line 1"],
    ["an archive of another kind", "PK\x03\x04", "it does not begin like a trace of vsmmu"],
    ["other JSON", '{"a":1}\n', "it does not begin like a trace of vsmmu"],
    ["a line without end", gzipSync(new Uint8Array(2 ** 26 + 2 ** 17)), "the line has no end"],
  ];
  await inFolder(async (put) => {
    for (const [name, bytes, message] of cases) {
      await t.step(name, async () => {
        assertStringIncludes((await read(put(bytes))).error!.message, message);
      });
    }
  });
  await t.step("a folder", async () => {
    const { error } = await read("/tmp");
    assertEquals(error?.message, "Cannot read /tmp: Is a directory (os error 21)");
  });
  await t.step("nothing", async () => {
    const { error } = await read("/tmp/no/such.jsonl.gz");
    const expected = "Cannot read /tmp/no/such.jsonl.gz: No such file or directory (os error 2)";
    assertEquals(error?.message, expected);
  });
});

/** A trace with this header. */
function withHeader(header: object): string {
  const writer = new LineWriter();
  return writer.line(header as TraceHeader) + writer.line({ end: true, operations: 0 });
}

Deno.test("an operation of another name is given from a newer minor version, refused from this one", async () => {
  const trace = (version: string): string => {
    const writer = new LineWriter();
    const other = { t: 0, op: "stall", stream: 1 } as unknown as Operation;
    return writer.line({ ...SMALL_HEADER, version }) + writer.line(other) +
      writer.line({ end: true, operations: 1 });
  };
  await inFolder(async (put) => {
    await openAll(put(trace("1.7")));
    const { message } = await assertRejects(() => openAll(put(trace("1.0"))), TraceError);
    assertStringIncludes(message, "in line 2");
    assertStringIncludes(message, 'the operation "stall"');
  });
});

Deno.test("versions and features that this reader has not are refused by name", async (t) => {
  const { features } = SMALL_HEADER;
  const cases: [string, object, string | undefined][] = [
    ["a newer minor", { version: "1.7", more: [1], guest: { a: "ä" } }, undefined],
    [
      "a newer major",
      { version: "2.0" },
      "it is of version 2.0, and this is a reader of version 1",
    ],
    ["an older major", { version: "0.9" }, "it is of version 0.9, and this is a reader of version"],
    ["no version", { version: undefined }, 'it has no "version"'],
    ["a version in words", { version: "new" }, '"version" cannot be "new"'],
    [
      "a feature from elsewhere",
      { features: { ...features, realms: true, mpam: 3 } },
      "it was recorded with realms true, mpam 3, and this device has only sidSize, ssidSize, oas,",
    ],
    ["a feature from elsewhere, off", { features: { ...features, realms: false } }, undefined],
    ["a feature that was not known", { features: { ...features, asid16: undefined } }, undefined],
    [
      "a value that this device has not",
      { features: { ...features, oas: 56 } },
      "Feature oas is 56, but this device has 32,36,40,42,44,48",
    ],
    ["a feature of another kind", { features: { ...features, msi: 1 } }, "msi cannot be 1"],
    ["no features", { features: [] }, '"features" cannot be []'],
    ["no guest", { guest: undefined }, 'it has no "guest"'],
    ["a guest of numbers", { guest: { a: 1 } }, '"guest" cannot be {"a":1}'],
    ["a table without size", { log2known: -1 }, '"log2known" cannot be -1'],
    ["a table of all memory", { log2known: 40 }, '"log2known" cannot be 40'],
    ["registers of another kind", { registers: "trapped" }, '"registers" cannot be "trapped"'],
    ["registers in memory", { registers: "mapped" }, undefined],
    ["a TLB of text", { log2tlbSets: "4" }, '"log2tlbSets" cannot be "4"'],
  ];
  await inFolder(async (put) => {
    for (const [name, change, message] of cases) {
      await t.step(name, async () => {
        const path = put(withHeader({ ...SMALL_HEADER, ...change }));
        if (message === undefined) await openAll(path);
        else {assertStringIncludes(
            (await assertRejects(() => openAll(path), TraceError)).message,
            message,
          );}
      });
    }
  });
});

async function openAll(path: string): Promise<void> {
  const { operations } = await openTrace(path);
  for await (const _ of operations);
}

Deno.test("fields that cannot be are refused at their line", async (t) => {
  const read = { t: 0, op: "read", at: 0, bytes: "00" };
  const dma = { t: 0, op: "dma-read", stream: 1, iova: "0x1000", size: 4, ok: true };
  const request = { t: 0, op: "translation-request", stream: 1, iova: "0x1000", status: 1 };
  const message = { t: 0, op: "dma-message", stream: 1, iova: "0x1000", data: 4, ok: true };
  const cases: [object, string | undefined][] = [
    [{ ...read, news: { a: 1 } }, undefined],
    [{ ...read, op: "dream" }, 'it has the operation "dream", which this reader, of version 1.4,'],
    [{ ...read, op: "toString" }, 'it has the operation "toString", which this reader'],
    [{ ...read, op: 3 }, "it has the operation 3, which this reader"],
    [{ ...read, op: undefined }, "it has the operation nothing"],
    [{ ...read, t: "0" }, '"t" cannot be "0"'],
    [{ ...read, t: undefined }, 'it has no "t"'],
    [{ ...read, at: -4 }, '"at" cannot be -4'],
    [{ ...read, at: 0.5 }, '"at" cannot be 0.5'],
    [{ ...read, bytes: "" }, '"bytes" cannot be ""'],
    [{ ...read, bytes: "0" }, '"bytes" cannot be "0"'],
    [{ ...read, bytes: "xy" }, '"bytes" cannot be "xy"'],
    [{ ...read, fetches: "many" }, '"fetches" cannot be "many"'],
    [{ ...read, path: -1 }, '"path" cannot be -1'],
    [{ ...read, mem: 1 }, '"mem" cannot be 1'],
    [{ ...read, mem: [[0, 4096, "00"]] }, '"mem" cannot be [[0,4096,"00"]]'],
    [{ ...read, mem: [null] }, '"mem" cannot be [null]'],
    [{ ...read, out: {} }, '"out" cannot be {}'],
    [{ ...read, out: [null] }, "it has the output nothing"],
    [{ ...read, out: [["scream", 1]] }, 'it has the output "scream", which this reader'],
    [{ ...read, out: [["irq"]] }, '"out" cannot be ["irq"]'],
    [{ ...read, out: [["msi", 1, 2]] }, '"out" cannot be ["msi",1,2]'],
    [{ ...read, out: [["store", 0, "00", true]] }, '"out" cannot be ["store",0,"00",true]'],
    [{ ...read, out: [["store32", 0, 2 ** 32, true]] }, '"out" cannot be ["store32",0,'],
    [{ ...read, out: [["write", 0, "4", 0, true]] }, '"out" cannot be ["write",0,"4",0,true]'],
    [{ ...dma, size: 2 ** 40 }, '"size" cannot be 1099511627776'],
    [{ ...dma, size: undefined }, 'it has no "size"'],
    [{ ...dma, stream: 2 ** 32 }, '"stream" cannot be 4294967296'],
    [{ ...dma, substream: -1 }, '"substream" cannot be -1'],
    [{ ...dma, iova: 4096 }, '"iova" cannot be 4096'],
    [{ ...dma, iova: "0x10000000000000000" }, '"iova" cannot be "0x10000000000000000"'],
    [{ ...dma, ok: 1 }, '"ok" cannot be 1'],
    [{ ...dma, payload: "AAAA" }, '"payload" cannot be "AAAA"'],
    [{ ...dma, payload: "AA AA===" }, '"payload" cannot be "AA AA==="'],
    [{ ...message, data: -1 }, '"data" cannot be -1'],
    [{ ...request, status: 0 }, 'it has no "page"'],
    [{ ...request, asks: "wr" }, '"asks" cannot be "wr"'],
    [{ ...request, status: 8 }, '"status" cannot be 8'],
    [{ ...request, op: "page-request", group: 512 }, '"group" cannot be 512'],
    [{ ...request, op: "page-request", group: 1 }, 'it has no "last"'],
    [{ ...dma, op: "stallable-read" }, 'it has no "transaction"'],
    [{ ...dma, op: "translated-write", ok: 1 }, '"ok" cannot be 1'],
    [{ ...read, out: [["end", 1]] }, '"out" cannot be ["end",1]'],
    [{ ...read, out: [["respond", 1, -2, 3, 0]] }, '"out" cannot be ["respond",1,-2,3,0]'],
    [
      { ...read, out: [["invalidate", 1, -1, false, "0x0", 0]] },
      '"out" cannot be ["invalidate",1,',
    ],
    [{ ...read, out: [["asked", read]] }, '"out" cannot be ["asked",'],
    [{ ...message, stream: undefined }, 'it has no "stream"'],
  ];
  await inFolder(async (put) => {
    for (const [operation, expected] of cases) {
      await t.step(JSON.stringify(operation), async () => {
        const writer = new LineWriter();
        const header = writer.line(SMALL_HEADER);
        const lines = [read, operation, { end: true, operations: 2 }];
        const path = put(header + lines.map((line) => writer.line(line as TraceHeader)).join(""));
        if (expected === undefined) return await openAll(path);
        const { message, place } = await assertRejects(() => openAll(path), TraceError);
        assertStringIncludes(message, expected);
        const offset = header.length + JSON.stringify(read).length + 14;
        assertEquals([place?.line, place?.operations], [3, 1]);
        assert(Math.abs(place!.offset - offset) < 6, message);
      });
    }
  });
});

Deno.test("an end that counts otherwise, or is not the end, is found", async () => {
  await inFolder(async (put) => {
    const writer = new LineWriter();
    const header = writer.line(SMALL_HEADER);
    const end = writer.line({ end: true, operations: 3 });
    const counted = await assertRejects(() => openAll(put(header + end)), TraceError);
    assertStringIncludes(
      counted.message,
      `in line 2, at byte ${header.length} of the uncompressed trace`,
    );
    assertStringIncludes(counted.message, "its end counts 3 operations; 0 operations before it");
    const more = { ...SMALL_HEADER };
    const twice = withHeader(more);
    const { message } = await assertRejects(() => openAll(put(twice + "x\n")), TraceError);
    assertStringIncludes(message, "in line 3");
  });
});

Deno.test("whoever stops reading leaves nothing open", async () => {
  await inFolder(async (put) => {
    const { operations } = await openTrace(put(members()));
    for await (const { number } of operations) if (number === 3) break;
  });
});
