/**
 * When a guest is to meet registers that are memory, and when such that trap.
 * @module
 */
import { assert, assertEquals } from "@std/assert";
import { MAPPING_TIMES, MappingPolicy } from "../../vmm/mapping_policy.ts";
import type { RegisterKind } from "../../vmm/register_page.ts";
import { UNCHANGING, Watcher } from "../../vmm/watcher.ts";
import { WatchPolicy } from "../../vmm/watch_policy.ts";

const TIMES = {
  windowUs: 1000,
  busy: { accesses: 4, share: 0.1 },
  changeAccesses: 60,
  restUs: 5000,
  crowded: { share: 0.2, windows: 2 },
  trialUs: 3000,
  keep: { leastUs: 10_000, mostUs: 40_000 },
};
const WAKE_US = 20;

/** A guest that does so many accesses a window, and whose wishes come true at once. */
class Guest {
  kind: RegisterKind = "trapped";
  nowUs = 0;
  readonly #policy: MappingPolicy;
  readonly #use = { trapped: 0, found: 0 };
  #waitedUs = 0;

  constructor(times: ConstructorParameters<typeof MappingPolicy>[1] = TIMES) {
    this.#policy = new MappingPolicy(() => this.#waitedUs, times);
    this.#wish();
  }

  /** Windows with so many accesses, which wait for a share of it; the kinds that the guest met after each of them. */
  windows(count: number, accesses: number, share = 0): string {
    return Array.from({ length: count }, () => {
      this.nowUs += TIMES.windowUs;
      this.#waitedUs += share * TIMES.windowUs;
      this.#use[this.kind === "trapped" ? "trapped" : "found"] += accesses;
      this.#wish();
      return this.kind[0];
    }).join("");
  }

  /** The same where it depends on the kind: how many windows of so many it met memory. */
  crowd(count: number, accesses: Readonly<Record<RegisterKind, number>>): number {
    let met = 0;
    for (let i = 0; i < count; i++) {
      met += Number(this.kind === "mapped");
      this.windows(1, accesses[this.kind], this.kind === "mapped" ? 0.5 : 0);
    }
    return met;
  }

  #wish(): void {
    this.kind = this.#policy.wish(this.kind, this.#use, WAKE_US, this.nowUs) ?? this.kind;
  }
}

Deno.test("memory is wanted by who does much, and traps by who rests", () => {
  const guest = new Guest();
  assertEquals(guest.windows(3, 4), "ttt", "4 of 20 µs are less than a tenth of a window");
  assertEquals(guest.windows(1, 5), "m");
  assertEquals(guest.windows(3, 1), "mmm", "a little is enough to keep it");
  assertEquals(guest.windows(6, 0), "mmmmtt");
  assertEquals(guest.windows(2, 3) + guest.windows(1, 100), "ttm");
});

Deno.test("who traps although memory was shown, as after a reboot, has traps and then memory again", () => {
  const policy = new MappingPolicy(() => 0, TIMES);
  let kind: RegisterKind = "mapped";
  const kinds = Array.from({ length: 8 }, (_, i) => {
    kind = policy.wish(kind, { trapped: 100 * i, found: 0 }, WAKE_US, 1000 * i) ?? kind;
    return kind[0];
  });
  assertEquals(kinds.join(""), "mmmmmttm");
});

Deno.test("memory is wanted at once when traps have cost what the change does, whatever else is left of the window", () => {
  const policy = new MappingPolicy(() => 0, TIMES);
  const wishes = [0, 59, 60, 61, 121].map((trapped, i) =>
    policy.wish("trapped", { trapped, found: 0 }, WAKE_US, 10 * i)
  );
  assertEquals(wishes, [undefined, undefined, "mapped", undefined, "mapped"]);
});

Deno.test("a wish is repeated until it comes true, and none is made between windows", () => {
  const policy = new MappingPolicy(() => 0, TIMES);
  const wishes = [0, 1000, 1500, 2000, 3000].map((nowUs, i) =>
    policy.wish("trapped", { trapped: 50 * i, found: 0 }, WAKE_US, nowUs)
  );
  assertEquals(wishes, [undefined, "mapped", undefined, "mapped", "mapped"]);
});

Deno.test("where a watcher has to wait for a processor, what does more is found out, and kept ever longer", () => {
  const accesses = { trapped: 20, mapped: 10 };
  const slow = new Guest();
  slow.windows(1, 20);
  const first = slow.crowd(100, accesses);
  const later = slow.crowd(400, accesses);
  assert(
    first <= 20 && later / 4 < first,
    `memory in ${first} of 100 windows, then ${later} of 400`,
  );
  const fast = new Guest();
  fast.windows(1, 20);
  const met = fast.crowd(500, { trapped: 10, mapped: 20 });
  assert(met > 400, `memory in ${met} of 500 windows`);
});

Deno.test("a guest that rests while traps are tried meets them until it is busy again", () => {
  const guest = new Guest();
  guest.windows(1, 20);
  assertEquals(guest.windows(3, 20, 0.5) + guest.windows(6, 0), "mmttttttt");
  assertEquals(guest.windows(1, 20), "m");
});

Deno.test("it changes its mind with the guest", () => {
  const guest = new Guest();
  guest.windows(1, 20);
  guest.crowd(300, { trapped: 20, mapped: 10 });
  assert(guest.crowd(200, { trapped: 10, mapped: 20 }) > 100);
});

Deno.test("who waits once, or may not try traps, keeps memory", () => {
  const { crowded: _, ...steady } = TIMES;
  const once = new Guest();
  once.windows(1, 20);
  assertEquals(once.windows(1, 20, 0.9) + once.windows(1, 20) + once.windows(1, 20, 0.9), "mmm");
  const guest = new Guest(steady);
  guest.windows(1, 20);
  assertEquals(guest.windows(5, 20, 0.9), "mmmmm");
});

Deno.test("the chosen times are in order", () => {
  const { windowUs, restUs, trialUs, keep, crowded } = MAPPING_TIMES;
  assert(windowUs < restUs && windowUs < trialUs && keep.leastUs < keep.mostUs);
  assert(crowded !== undefined && crowded.share < 1);
});

Deno.test("a watcher asks for what its policy wishes, and waits long where accesses trap", () => {
  const wanted: RegisterKind[] = [];
  let kind: RegisterKind = "trapped";
  let nowUs = 0;
  let looks = 0;
  const look = (): boolean => ++looks < 0;
  const watched = { isUsed: true, trapped: 0, found: 0, look, glance: () => false };
  const watcher = new Watcher(watched, {
    watch: new WatchPolicy(),
    mapping: new MappingPolicy(() => 0, TIMES),
    shown: {
      ...UNCHANGING,
      get kind() {
        return kind;
      },
      want: (kind) => wanted.push(kind),
    },
    clocks: { nowUs: () => nowUs, spentUs: () => 0 },
  });
  assertEquals([watcher.turn(0), watcher.turn(1)], [50, 50]);
  [nowUs, watched.trapped] = [2000, 50];
  assertEquals([watcher.turn(1), wanted], [50, ["mapped"]]);
  kind = "mapped";
  assert(watcher.turn(0) < 50, "memory is looked at more often");
  nowUs += 10_000;
  watcher.turn(0);
  assertEquals(wanted, ["mapped", "trapped"]);
  kind = "trapped";
  looks = 0;
  assertEquals(watcher.turn(0), 50, "for what the guest still had on its way");
  assertEquals(looks, 1, "at once");
  for (let i = 0; i < 999; i++) {
    nowUs += 1000;
    assertEquals(watcher.turn(i % 2), 50);
  }
  assertEquals(looks, 20, "every 50 ms, however often descriptors are ready");
  nowUs += 1000;
  assertEquals(watcher.turn(0), -1, "nobody has to look");
  assertEquals(looks, 21, "for the last time");
  nowUs += 1e6;
  assertEquals([watcher.turn(1), looks], [-1, 21]);
});
