import { assertEquals } from "@std/assert";
import { ConsoleLines } from "../../vmm/qemu/console_lines.ts";
import { lines } from "../../vmm/qemu/lines.ts";

async function* bytes(...chunks: (string | number[])[]): AsyncGenerator<Uint8Array<ArrayBuffer>> {
  for (const chunk of chunks) {
    yield typeof chunk === "string" ? new TextEncoder().encode(chunk) : new Uint8Array(chunk);
  }
  await Promise.resolve();
}

Deno.test("lines() yields whole lines of at most the given length", async (t) => {
  const cases = [
    { name: "nothing", chunks: [], expected: [] },
    { name: "two lines in one chunk", chunks: ["one\ntwo\n"], expected: ["one", "two"] },
    { name: "one line in three chunks", chunks: ["o", "n", "e\n"], expected: ["one"] },
    { name: "empty lines", chunks: ["\n\na\n"], expected: ["", "", "a"] },
    { name: "carriage returns", chunks: ["one\r\ntwo\r", "\n"], expected: ["one", "two"] },
    { name: "no end of the last line", chunks: ["one\ntw", "o"], expected: ["one", "two"] },
    { name: "a line of the length", chunks: ["12345678\n9\n"], expected: ["12345678", "9"] },
    { name: "a longer line", chunks: ["1234567890\n"], expected: ["12345678", "90"] },
    {
      name: "a line without end",
      chunks: ["aaaaaaa", "abbbbbb", "bbc"],
      expected: ["aaaaaaaa", "bbbbbbbb", "c"],
    },
    { name: "a character in two chunks", chunks: [[0xc3], [0xa9, 0x0a]], expected: ["é"] },
    { name: "what is not UTF-8", chunks: [[0xff, 0x41, 0x0a]], expected: ["\ufffdA"] },
  ];
  for (const { name, chunks, expected } of cases) {
    await t.step(name, async () => {
      assertEquals(await Array.fromAsync(lines(bytes(...chunks), 8)), expected);
    });
  }
});

Deno.test("ConsoleLines keeps the newest lines for a reader that comes late", async () => {
  const console = new ConsoleLines(3);
  for (const line of ["1", "2", "3", "4", "5"]) console.push(line);
  console.close();
  assertEquals(await Array.fromAsync(console), ["3", "4", "5"]);
  assertEquals(console.dropped, 2);
});

Deno.test("ConsoleLines hands over lines as they come and ends when closed", async () => {
  const console = new ConsoleLines();
  const reader = console[Symbol.asyncIterator]();
  const first = reader.next();
  console.push("one");
  assertEquals(await first, { value: "one", done: false });
  console.push("two");
  console.push("three");
  assertEquals(await reader.next(), { value: "two", done: false });
  assertEquals(await reader.next(), { value: "three", done: false });
  const last = reader.next();
  console.close();
  assertEquals(await last, { value: undefined, done: true });
});
