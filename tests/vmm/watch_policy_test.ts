/**
 * When memory is looked at again, and for how long descriptors are waited for in between.
 * @module
 */
import { assert, assertEquals } from "@std/assert";
import { WATCH_TIMES, WatchPolicy } from "../../vmm/watch_policy.ts";
import { Watcher } from "../../vmm/watcher.ts";

const TIMES = {
  spinUs: 50,
  pauses: [{ afterUs: 50, pauseUs: 10 }, { afterUs: 1000, pauseUs: 40 }, {
    afterUs: 5000,
    pauseUs: 90,
  }],
};

Deno.test("pauses grow with the time since the last work, and work ends them", () => {
  const policy = new WatchPolicy(TIMES);
  const steps: [name: string, found: boolean, nowUs: number, pauseUs: number][] = [
    ["nothing was ever seen", false, 10, 90],
    ["work", true, 100, 0],
    ["just after it", false, 149, 0],
    ["the end of the spin", false, 150, 10],
    ["short of the next step", false, 1099, 10],
    ["the next step", false, 1100, 40],
    ["short of the last step", false, 5099, 40],
    ["the last step", false, 5100, 90],
    ["long after", false, 1e12, 90],
    ["work again", true, 1e12 + 1, 0],
    ["after that", false, 1e12 + 51, 10],
  ];
  for (const [name, found, nowUs, pauseUs] of steps) {
    assertEquals(policy.pauseUs(found, nowUs), pauseUs, name);
  }
});

Deno.test("the chosen times are in order, and the first command after idling waits 100 µs at most", () => {
  const { spinUs, pauses } = WATCH_TIMES;
  assertEquals(pauses[0].afterUs, spinUs);
  for (let i = 1; i < pauses.length; i++) {
    assert(pauses[i].afterUs > pauses[i - 1].afterUs);
    assert(pauses[i].pauseUs > pauses[i - 1].pauseUs);
  }
  assert(pauses.at(-1)!.pauseUs <= 100);
});

Deno.test("a watcher looks, and waits for descriptors as long as the policy says", async (t) => {
  const work = [false, false, true, false];
  let looks = 0;
  let nowUs = 0;
  const watched = { isUsed: true, look: (): boolean => work[looks++] ?? false };
  const watcher = new Watcher(watched, new WatchPolicy(TIMES), () => nowUs += 10);
  await t.step("one look a pause while there is nothing", () => {
    assertEquals([watcher.turn(), looks], [0.09, 1]);
    assertEquals([watcher.turn(), looks], [0.09, 2]);
  });
  await t.step("work is found, the spin ends", () => {
    assertEquals([watcher.turn(), looks], [0.01, 8]);
  });
  await t.step("descriptors have their turn while there is always work", () => {
    watched.look = () => ++looks > 0;
    assertEquals(watcher.turn(), 0);
    assertEquals(looks, 8 + 16);
  });
  await t.step("where nobody can write, descriptors alone are waited for", () => {
    watched.isUsed = false;
    assertEquals([watcher.turn(), looks], [-1, 24]);
  });
});
