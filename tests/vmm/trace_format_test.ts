import { assert, assertEquals } from "@std/assert";
import {
  fromHex,
  hashAddress,
  LineReader,
  LineWriter,
  toHex,
  type TraceHeader,
} from "../../vmm/trace/format.ts";
import { smallTrace } from "../support/small_trace.ts";

const PAGE = new URL("../../vmm/trace/FORMAT.md", import.meta.url);

/** A line of anything. */
const line = (writer: LineWriter, value: object): string => writer.line(value as TraceHeader);

Deno.test("a line carries the check of all lines so far", () => {
  const writer = new LineWriter();
  // CRC-32 of `{"a":1`, and of `{"a":1{"b":2`.
  assertEquals(line(writer, { a: 1 }), '{"a":1,"c":2801990766}\n');
  assertEquals(writer.close('{"b":2'), '{"b":2,"c":3854193186}\n');
});

Deno.test("a reader takes lines as they were written and no others", async (t) => {
  const writer = new LineWriter();
  const [first, second] = [line(writer, { a: 1 }), line(writer, { b: ["c", 2] })]
    .map((text) => text.slice(0, -1));
  const cases: [string, string[], number][] = [
    ["as they are", [first, second], -1],
    ["one lost", [second], 0],
    ["one twice", [first, first], 1],
    ["in another order", [second, first], 0],
    ["cut", [first, second.slice(0, -1)], 1],
    ["another last letter", [first, `${second.slice(0, -1)}]`], 1],
    ["more behind", [first, `${second} `], 1],
    ["without a check", [first, '{"b":["c",2]}'], 1],
    ["a digit more", [first, `${second.slice(0, -1)}0}`], 1],
    ["nothing", [""], 0],
  ];
  for (const [name, lines, expected] of cases) {
    await t.step(name, () => {
      const reader = new LineReader();
      assertEquals(lines.findIndex((text) => reader.line(text) === undefined), expected);
    });
  }
});

Deno.test("a line of the right check that is no JSON is refused", () => {
  const writer = new LineWriter();
  assertEquals(new LineReader().line(writer.close('{"a":').slice(0, -1)), undefined);
});

Deno.test("the hash of addresses depends on each of their 52 bits, and on their order", () => {
  for (let bit = 0; bit < 52; bit++) {
    assert(hashAddress(7, 2 ** bit) !== hashAddress(7, 0), String(bit));
  }
  assert(hashAddress(hashAddress(0, 8), 16) !== hashAddress(hashAddress(0, 16), 8));
});

Deno.test("bytes survive as hexadecimal", () => {
  const bytes = Uint8Array.of(0, 1, 0xab, 0xff);
  assertEquals(toHex(bytes), "0001abff");
  assertEquals(fromHex("0001abff"), bytes);
});

/** The program in the page about the format. */
function program(): string {
  const [, text] = /```python\n([\s\S]*?)```/.exec(Deno.readTextFileSync(PAGE))!;
  return text;
}

Deno.test("the page about the format names every field and every output", () => {
  const page = Deno.readTextFileSync(PAGE);
  const names = new Set<string>();
  for (const text of smallTrace(1, { payload: true })) {
    const { guest: _, features: __, ...value } = JSON.parse(text);
    for (const name of Object.keys(value)) names.add(`\`${name}\``);
    if ("op" in value) names.add(`\`${value.op}\``);
    for (const [name] of value.out ?? []) names.add(`["${name}",`);
  }
  names.delete("`operations`");
  names.delete("`end`");
  assert(names.size > 20, String(names.size));
  assertEquals([...names].filter((name) => !page.includes(name)), []);
});

Deno.test({
  name: "the ten lines of Python in the page about the format read a trace, and find what is wrong",
  ignore: !Deno.env.get("PATH")?.split(":").some((folder) => {
    try {
      return Deno.statSync(`${folder}/python3`).isFile;
    } catch {
      return false;
    }
  }),
  fn: async () => {
    const folder = await Deno.makeTempDir();
    try {
      const path = `${folder}/t.jsonl.gz`;
      const run = async (text: string): Promise<string> => {
        const zipped = new Blob([text]).stream().pipeThrough(new CompressionStream("gzip"));
        Deno.writeFileSync(path, await new Response(zipped).bytes());
        const { code, stderr } = await new Deno.Command("python3", {
          args: ["-c", program(), path],
        })
          .output();
        return code === 0 ? "" : new TextDecoder().decode(stderr).trim().split("\n").at(-1)!;
      };
      const lines = smallTrace();
      assertEquals(await run(lines.join("")), "");
      const changed = lines.map((text, i) => i === 4 ? text.replace("write", "wrote") : text);
      assertEquals(await run(changed.join("")), "AssertionError: line 5 was changed or cut");
      const cut = lines.slice(0, -1).join("");
      assertEquals(await run(cut), "AssertionError: the recording was interrupted");
    } finally {
      await Deno.remove(folder, { recursive: true });
    }
  },
});
