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
  idle: { afterUs: 20_000, share: 0.02, mostUs: 600 },
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
    ["before the cost of a pause is known", false, 1e9, 90],
    ["work again", true, 1e9 + 1, 0],
    ["after that", false, 1e9 + 51, 10],
  ];
  for (const [name, found, nowUs, pauseUs] of steps) {
    assertEquals(policy.pauseUs(found, nowUs), pauseUs, name);
  }
});

Deno.test("pauses without work take no more than their share of a processor", () => {
  const policy = new WatchPolicy(TIMES);
  policy.pauseUs(true, 0);
  policy.wakeUs = 10;
  assertEquals([policy.isIdle(19_999), policy.pauseUs(false, 19_999)], [false, 90]);
  assertEquals([policy.isIdle(20_000), policy.pauseUs(false, 20_000)], [true, 500]);
  policy.wakeUs = 100;
  assertEquals(policy.pauseUs(false, 30_000), 600);
  policy.wakeUs = 1;
  assertEquals(policy.pauseUs(false, 30_000), 90);
  policy.wakeUs = 10;
  assertEquals(policy.pauseUs(true, 30_001), 0);
});

Deno.test("the chosen times are in order, a pause is 100 µs at most until the guest is idle, and idling costs 3 %", () => {
  const { spinUs, pauses, idle } = WATCH_TIMES;
  assertEquals(pauses[0].afterUs, spinUs);
  for (let i = 1; i < pauses.length; i++) {
    assert(pauses[i].afterUs > pauses[i - 1].afterUs);
    assert(pauses[i].pauseUs > pauses[i - 1].pauseUs);
  }
  assert(pauses.at(-1)!.pauseUs <= 100);
  assert(idle.afterUs > pauses.at(-1)!.afterUs && idle.share <= 0.03);
});

Deno.test("a watcher looks, and waits for descriptors as long as the policy says", async (t) => {
  const work = [false, false, true, false];
  let looks = 0;
  let nowUs = 0;
  const watched = { isUsed: true, look: (): boolean => work[looks++] ?? false };
  const policy = new WatchPolicy(TIMES);
  const watcher = new Watcher(watched, policy, {
    nowUs: () => nowUs += 10,
    spentUs: () => nowUs / 4,
  });
  await t.step("one look a pause while there is nothing", () => {
    assertEquals([watcher.turn(0), looks], [0.09, 1]);
    assertEquals([watcher.turn(0), looks], [0.09, 2]);
  });
  await t.step("work is found, the spin ends", () => {
    assertEquals([watcher.turn(0), looks], [0.01, 8]);
  });
  await t.step("a descriptor that was ready is work too", () => {
    assertEquals([watcher.turn(1), looks], [0.01, 14]);
  });
  await t.step("descriptors have their turn while there is always work", () => {
    watched.look = () => ++looks > 0;
    assertEquals(watcher.turn(0), 0);
    assertEquals(looks, 14 + 16);
  });
  await t.step("where nobody can write, descriptors alone are waited for", () => {
    watched.isUsed = false;
    assertEquals([watcher.turn(0), looks], [-1, 30]);
  });
  await t.step("the cost of a pause is measured while nothing happens", () => {
    Object.assign(watched, { isUsed: true, look: () => false });
    nowUs += 1e6;
    for (let i = 0; i <= 64; i++) watcher.turn(0);
    assertEquals(policy.wakeUs, 2.5);
    assertEquals(watcher.turn(0), 0.125);
  });
});
