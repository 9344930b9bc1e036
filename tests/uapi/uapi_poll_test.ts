import { assert, assertEquals, assertThrows } from "@std/assert";
import { EventFd } from "../../uapi/eventfd.ts";
import { Poller, type Watch } from "../../uapi/poll.ts";
import { setTimerSlack, timerSlack } from "../../uapi/timer_slack.ts";
import { socketPair } from "../../uapi/socket.ts";

Deno.test("step() calls the handlers of what is ready, and only those", () => {
  using a = EventFd.create();
  using b = EventFd.create();
  const poller = new Poller();
  const seen: string[] = [];
  poller.watch(a.fd, 1, (ready) => seen.push(`a${ready}`));
  poller.watch(b.fd, 5, (ready) => seen.push(`b${ready}`));
  assertEquals(poller.step(0), 1);
  b.signal();
  assertEquals(poller.step(0), 1);
  a.signal();
  assertEquals(poller.step(-1), 2);
  assertEquals(seen, ["b4", "b5", "a1", "b5"]);
});

Deno.test("step() of nothing returns after its time, to the microsecond where the kernel may not be late", () => {
  setTimerSlack(1);
  assertEquals(timerSlack(), 1);
  const poller = new Poller();
  for (const timeoutMs of [0.2, 1.5]) {
    // The least of some, because others want the processor too.
    let leastMs = Infinity;
    for (let i = 0; i < 20; i++) {
      const began = performance.now();
      assertEquals(poller.step(timeoutMs), 0);
      leastMs = Math.min(leastMs, performance.now() - began);
    }
    assert(leastMs >= timeoutMs - 0.01 && leastMs < timeoutMs + 0.5, `${timeoutMs}: ${leastMs}`);
  }
});

Deno.test("run() asks before each step how long it may wait", () => {
  using event = EventFd.create();
  const poller = new Poller();
  poller.watch(event.fd, 1, () => poller.stop());
  const turns = [0, 0.1, 0, -1];
  let count = 0;
  poller.run(() => {
    if (count === 3) event.signal();
    return turns[count++];
  });
  assertEquals(count, 4);
});

Deno.test("the events of a watch can change, and it can end", () => {
  using event = EventFd.create();
  event.signal();
  const poller = new Poller();
  let count = 0;
  const watch = poller.watch(event.fd, 0, () => count++);
  assertEquals(poller.step(0), 0);
  watch.events = 1;
  assertEquals([poller.step(0), count], [1, 1]);
  watch[Symbol.dispose]();
  watch[Symbol.dispose]();
  assertEquals([poller.step(0), count], [0, 1]);
});

Deno.test("a handler may end other watches and add new ones", () => {
  using a = EventFd.create();
  using b = EventFd.create();
  a.signal();
  b.signal();
  const poller = new Poller();
  const seen: string[] = [];
  const watches: Watch[] = [];
  watches.push(poller.watch(a.fd, 1, () => {
    seen.push("a");
    for (const watch of watches) watch[Symbol.dispose]();
    poller.watch(b.fd, 1, () => seen.push("new b"));
  }));
  watches.push(poller.watch(b.fd, 1, () => seen.push("old b")));
  poller.step(0);
  assertEquals(seen, ["a"]);
  poller.step(0);
  assertEquals(seen, ["a", "new b"]);
});

Deno.test("a peer that goes away is reported without being asked for", () => {
  const [left, right] = socketPair();
  const poller = new Poller();
  const seen: number[] = [];
  poller.watch(left, 0, (ready) => seen.push(ready));
  assertEquals(poller.step(0), 0);
  right[Symbol.dispose]();
  poller.step(0);
  assertEquals(seen, [0x10]);
  left[Symbol.dispose]();
});

Deno.test("run() ends when a handler stops it, and at once when stopped before", () => {
  using event = EventFd.create();
  event.signal();
  const poller = new Poller();
  let count = 0;
  poller.watch(event.fd, 1, () => {
    if (++count === 3) poller.stop();
  });
  poller.run();
  assertEquals(count, 3);
  poller.stop();
  poller.run();
  assertEquals(count, 3);
});

Deno.test("what a handler throws leaves step()", () => {
  using event = EventFd.create();
  event.signal();
  const poller = new Poller();
  poller.watch(event.fd, 1, () => {
    throw new Error("a bug");
  });
  assertThrows(() => poller.step(0), Error, "a bug");
});
