/**
 * A recorded guest as a test of yours: what it once did to the device, against the device of today.
 *
 *     deno test --allow-read examples/replay_test.ts
 *
 * The second argument of `Replayer` may make a device of your own.
 * @module
 */
import { assertEquals } from "@std/assert";
import { openTrace, Replayer } from "../mod.ts";

const TRACE = new URL("../tests/traces/linux-7.3-fault.jsonl.gz", import.meta.url);

Deno.test("Linux 7.3 with a fault sees what it saw when it was recorded", async () => {
  const { header, operations } = await openTrace(TRACE.pathname);
  const replayer = new Replayer(header);
  for await (const { number, operation } of operations) {
    assertEquals(replayer.step(operation), [], `line ${number}`);
  }
});
