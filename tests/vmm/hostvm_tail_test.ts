import { assertEquals } from "@std/assert";
import { Tail } from "../../vmm/hostvm/tail.ts";

Deno.test("Tail delivers what is there, what comes, and the rest when it is disposed of", async () => {
  const folder = await Deno.makeTempDir();
  const path = `${folder}/file`;
  const pieces: number[] = [];
  const tail = Tail.follow(path, (bytes) => pieces.push(...bytes));
  try {
    await Deno.writeFile(path, Uint8Array.of(0, 0xff, 10));
    while (pieces.length < 3) await new Promise((resolve) => setTimeout(resolve, 5));
    assertEquals(pieces, [0, 0xff, 10]);
    await Deno.writeFile(path, new Uint8Array(200_000).fill(7), { append: true });
  } finally {
    await tail[Symbol.asyncDispose]();
    await Deno.remove(folder, { recursive: true });
  }
  assertEquals([pieces.length, pieces.at(-1)], [200_003, 7]);
});

Deno.test("Tail of a file that never appears delivers nothing", async () => {
  await using _tail = Tail.follow("/nowhere/at/all", () => {
    throw new Error("delivered");
  });
});
