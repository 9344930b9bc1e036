/**
 * Several that are measured side by side: whose turn it is, and what happens when one ends before the others.
 * @module
 */
import { assertEquals, assertRejects } from "@std/assert";
import { type Member, takeTurns } from "../../vmm/bench/turns.ts";

/** Members that note when they begin, each of their turns and their end; a number of turns for each of them. */
function members(counts: readonly number[], said: string[]): Member<number>[] {
  return counts.map((count, member) => async (turn) => {
    said.push(`${member} begins`);
    for (let i = 1; i <= count; i++) {
      await turn();
      said.push(`${member}.${i}`);
      await Promise.resolve();
      said.push(`${member}.${i} ends`);
    }
    return count;
  });
}

const FOR_EVER = new AbortController().signal;

Deno.test("takeTurns() has one at work at a time, in a circle that grows smaller", async () => {
  const said: string[] = [];
  assertEquals(await takeTurns(members([2, 1, 3], said), FOR_EVER), [2, 1, 3]);
  assertEquals(said.filter((line) => !line.endsWith("ends")), [
    ...["0 begins", "1 begins", "2 begins"],
    ...["0.1", "1.1", "2.1", "0.2", "2.2", "2.3"],
  ]);
  for (const [i, line] of said.entries()) {
    if (line.includes(".") && !line.endsWith("ends")) assertEquals(said[i + 1], `${line} ends`);
  }
});

Deno.test("takeTurns() ends all when one fails, and throws its reason when they have ended", async () => {
  const said: string[] = [];
  const waits: Member<void> = async (turn, signal) => {
    const { promise, reject } = Promise.withResolvers<void>();
    signal.addEventListener("abort", () => reject(signal.reason));
    try {
      await Promise.race([turn(), promise]);
      await promise;
    } finally {
      said.push("ended");
    }
  };
  const fails: Member<void> = async (turn) => {
    await turn();
    throw new Error("broken");
  };
  const never: Member<void> = () => Promise.resolve(void said.push("begun"));
  await assertRejects(() => takeTurns([fails, waits, waits], FOR_EVER), Error, "broken");
  assertEquals(said, ["ended", "ended"]);
  const stop = AbortSignal.abort(new Error("stopped"));
  await assertRejects(() => takeTurns([never], stop), Error, "stopped");
  assertEquals(said, ["ended", "ended"]);
});
