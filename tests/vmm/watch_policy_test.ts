/**
 * When memory is looked at again, and for how long descriptors are waited for in between.
 * @module
 */
import { assert, assertEquals } from "@std/assert";
import { WATCH_TIMES, WatchPolicy } from "../../vmm/watch_policy.ts";
import { MappingPolicy } from "../../vmm/mapping_policy.ts";
import { UNCHANGING, Watcher } from "../../vmm/watcher.ts";

const TIMES = {
  spinUs: 50,
  spinCosts: 3,
  mostFailures: 2,
  tryAgainUs: 10_000,
  lostUs: 2000,
  pauses: [
    { afterUs: 0, pauseUs: 10, costs: 2 },
    { afterUs: 1000, pauseUs: 40, costs: 3 },
    { afterUs: 5000, pauseUs: 90, costs: 3 },
  ],
  idle: { afterUs: 20_000, share: 0.02, mostUs: 600 },
};

/** A look: what it is, whether it found work, when it was in microseconds, and the pause that follows. */
type Step = [name: string, found: boolean, nowUs: number, pauseUs: number];

function assertPauses(policy: WatchPolicy, steps: readonly Step[]): void {
  for (const [name, found, nowUs, pauseUs] of steps) {
    assertEquals(policy.pauseUs(found, nowUs), pauseUs, name);
  }
}

Deno.test("pauses grow with the time since the last work, and work ends them", () => {
  assertPauses(new WatchPolicy(TIMES), [
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
  ]);
});

Deno.test("spins are left when they find nothing, and tried again after a time", () => {
  assertPauses(new WatchPolicy(TIMES), [
    ["work", true, 0, 0],
    ["a spin that fails", false, 60, 10],
    ["work", true, 100, 0],
    ["a spin that pays", true, 120, 0],
    ["a spin that fails, the first in a row", false, 180, 10],
    ["work", true, 200, 0],
    ["the second", false, 260, 10],
    ["work that is not followed by a spin", true, 300, 10],
    ["nor here", true, 10_259, 10],
    ["in the middle of it no spin begins", false, 10_261, 10],
    ["the time is over: work is", true, 10_270, 0],
    ["but fails", false, 10_330, 10],
    ["once is enough then", true, 10_340, 10],
    ["the next time", true, 20_330, 0],
    ["it pays", true, 20_340, 0],
    ["and is trusted again", false, 20_400, 10],
    ["as before", true, 20_410, 0],
  ]);
});

Deno.test("what somebody else had the processor for is no spin that pays", () => {
  const policy = new WatchPolicy(TIMES);
  policy.wakeUs = 1000;
  assertPauses(policy, [
    ["work", true, 0, 0],
    ["a spin", false, 100, 0],
    ["somebody else has the processor, and asks: the first failure", true, 2200, 0],
    ["the second", true, 4400, 2000],
  ]);
  assertPauses(policy, [
    ["after a time", true, 14_500, 0],
    ["it pays", true, 14_600, 0],
    ["and is trusted again", true, 17_000, 0],
  ]);
});

Deno.test("pauses are worth their cost, and without work take no more than their share of a processor", () => {
  const policy = new WatchPolicy(TIMES);
  policy.wakeUs = 10;
  assertPauses(policy, [
    ["work", true, 0, 0],
    ["twice the cost", false, 60, 20],
    ["what the table says is more", false, 1000, 40],
    ["short of idle", false, 19_999, 90],
    ["idle", false, 20_000, 500],
  ]);
  policy.wakeUs = 100;
  assertPauses(policy, [["not more than this", false, 30_000, 600]]);
  policy.wakeUs = 1;
  assertPauses(policy, [["not less than before", false, 30_001, 90]]);
});

Deno.test("where pauses cost much, a spin is some of them long", () => {
  const policy = new WatchPolicy(TIMES);
  policy.wakeUs = 100;
  assertPauses(policy, [
    ["work", true, 0, 0],
    ["short of three pauses", false, 299, 0],
    ["three pauses", false, 300, 200],
  ]);
});

Deno.test("the chosen times are in order, a pause is 100 µs at most until the guest is idle, and idling costs 3 %", () => {
  const { pauses, idle } = WATCH_TIMES;
  assertEquals(pauses[0].afterUs, 0);
  for (let i = 1; i < pauses.length; i++) {
    assert(pauses[i].afterUs > pauses[i - 1].afterUs);
    assert(pauses[i].pauseUs > pauses[i - 1].pauseUs && pauses[i].costs >= pauses[i - 1].costs);
  }
  assert(pauses.at(-1)!.pauseUs <= 100);
  assert(idle.afterUs > pauses.at(-1)!.afterUs && idle.share <= 0.03);
});

Deno.test("a guest that waited for a pause asks again before the spin ends, and then no more waits for one", () => {
  const WORK_US = 300;
  const policy = new WatchPolicy();
  policy.wakeUs = 450;
  let nowUs = 0;
  let askedUs = 0;
  const waits: number[] = [];
  for (let pauseUs = 0; waits.length < 20;) {
    nowUs += Math.max(pauseUs, 20);
    const found = nowUs >= askedUs;
    if (found) {
      nowUs += WORK_US;
      waits.push(nowUs - askedUs);
      // It sees the answer later by as much as it has waited, and then has work of its own.
      askedUs = nowUs + (nowUs - askedUs) + WORK_US;
    }
    pauseUs = policy.pauseUs(found, nowUs);
    // As if it had not asked while spins were not to be had.
    if (waits.length < 4 && pauseUs === 0) pauseUs = 1350;
  }
  assert(waits.slice(0, 4).some((us) => us > 1000));
  assert(waits.slice(10).every((us) => us <= WORK_US + 20), String(waits));
});

Deno.test("a watcher looks, and waits for descriptors as long as the policy says", async (t) => {
  const GLANCES = 8;
  let work = false;
  let [looks, glances, worked] = [0, 0, 0];
  let nowUs = 0;
  let stepUs = 10;
  const find = (): boolean => {
    if (work && ++worked > 1000) throw new Error("Descriptors do not have their turn");
    return work;
  };
  const watched = {
    isUsed: true,
    trapped: 0,
    found: 0,
    look: (): boolean => ++looks > 0 && find(),
    glance: (): boolean => ++glances > 0 && find(),
  };
  const policy = new WatchPolicy({ ...TIMES, mostFailures: 99 });
  const watcher = new Watcher(watched, {
    watch: policy,
    mapping: new MappingPolicy(() => 0),
    shown: UNCHANGING,
    clocks: { nowUs: () => nowUs += stepUs, spentUs: () => nowUs / 4 },
  });
  const turned = (ready: number): number[] => {
    [looks, glances] = [0, 0];
    return [watcher.turn(ready), looks, glances];
  };
  await t.step("one look a pause while there is nothing", () => {
    assertEquals(turned(0), [0.09, 1, 0]);
    assertEquals(turned(0), [0.09, 1, 0]);
  });
  await t.step("a descriptor that was ready is work too", () => {
    assertEquals(turned(1), [0, 1, 2 * GLANCES]);
    assertEquals(turned(0), [0.01, 1, 2 * GLANCES]);
  });
  await t.step("where work was found it is looked for until descriptors have their turn", () => {
    work = true;
    assertEquals(turned(0), [0, 1, 2]);
    work = false;
    assertEquals(turned(0), [0, 1, 2 * GLANCES]);
  });
  await t.step("the spin ends", () => {
    assertEquals(turned(0), [0.01, 1, GLANCES]);
  });
  await t.step("descriptors have their turn while there is always work, however fast it is", () => {
    [work, stepUs, worked] = [true, 1, 0];
    const began = nowUs;
    assertEquals(turned(0), [0, 1, 20]);
    assertEquals([worked, nowUs - began], [21, 21]);
  });
  await t.step("descriptors that were quiet for long wait longer for their turn", () => {
    [work, stepUs] = [true, 10];
    nowUs += 10_000;
    assertEquals(turned(0), [0, 1, 20]);
    assertEquals(turned(1), [0, 1, 2]);
    assertEquals(turned(0), [0, 1, 2]);
  });
  await t.step("one piece of work that takes long ends a turn", () => {
    stepUs = 1e6;
    assertEquals(turned(0), [0, 1, 1]);
  });
  await t.step("where nobody can write, descriptors alone are waited for", () => {
    watched.isUsed = false;
    assertEquals(turned(0), [-1, 0, 0]);
  });
  await t.step("what a pause costs is measured while there is nothing to do", () => {
    [watched.isUsed, work, stepUs] = [true, false, 10];
    nowUs += 1e6;
    // Between the end of one turn and the first look of the next no time passes here, so that it is given.
    for (let i = 0; i < 400; i++) {
      watcher.turn(0);
      nowUs += 40;
    }
    assert(policy.wakeUs > 9 && policy.wakeUs <= 10, `${policy.wakeUs}`);
    assertEquals(watcher.turn(0), policy.wakeUs / 0.02 / 1000);
  });
});
