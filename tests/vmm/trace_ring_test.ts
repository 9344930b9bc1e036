import { assert, assertEquals } from "@std/assert";
import { delay } from "@std/async/delay";
import { deadline } from "@std/async/deadline";
import { TextRing } from "../../vmm/trace/ring.ts";

/** A thread that writes lines, and what resolves when it is through. */
function writer(ring: TextRing, count: number): { worker: Worker; through: Promise<void> } {
  const url = new URL("../support/ring_writer.ts", import.meta.url);
  const worker = new Worker(url, { type: "module" });
  const { promise, resolve } = Promise.withResolvers<void>();
  worker.onmessage = () => resolve();
  worker.postMessage({ memory: ring.buffer, count });
  return { worker, through: promise };
}

const text = (bytes: Uint8Array): string => new TextDecoder().decode(bytes);

Deno.test("what is written is read, in order, whatever the position in the ring", () => {
  const ring = new TextRing(4);
  let expected = "";
  let got = "";
  for (let i = 0; i < 200; i++) {
    const line = "abcdefghijklmnop".slice(0, i % 17);
    ring.write(line);
    expected += line;
    got += text(ring.read());
  }
  assertEquals(got, expected);
  assertEquals(ring.read().length, 0);
});

Deno.test("a ring is done when it is closed and empty", () => {
  const ring = new TextRing(4);
  ring.write("abc");
  assertEquals(ring.isDone, false);
  ring.close();
  assertEquals(ring.isDone, false);
  assertEquals(text(ring.read()), "abc");
  assertEquals(ring.isDone, true);
});

Deno.test("a writer waits for room, also with lines that are longer than the ring", async () => {
  const ring = new TextRing(5);
  const { worker, through } = writer(ring, 500);
  let got = "";
  while (!ring.isDone) {
    got += text(ring.read());
    await delay(0);
  }
  await through;
  worker.terminate();
  const lines = got.split("\n").slice(0, -1);
  assertEquals(lines.length, 500);
  lines.forEach((line, i) => assertEquals(line, `${i} ${"x".repeat(i % 40)}`));
});

Deno.test("a writer that nobody reads any more goes on", async () => {
  const ring = new TextRing(5);
  const { worker, through } = writer(ring, 100_000);
  while (ring.read().length === 0) await delay(1);
  let isThrough = false;
  through.then(() => isThrough = true);
  await delay(50);
  assert(!isThrough);
  ring.abandon();
  await deadline(through, 5000);
  worker.terminate();
});
