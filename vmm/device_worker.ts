/**
 * The device thread: one synchronous loop over sockets and eventfds.
 * @module
 */
import { EventFd } from "../uapi/eventfd.ts";
import { Fd } from "../uapi/fd.ts";
import { POLL } from "../uapi/poll.ts";
import { threadTimeUs } from "../uapi/thread_clock.ts";
import { setTimerSlack } from "../uapi/timer_slack.ts";
import { Counters } from "./counters.ts";
import type { ThreadQuestion, ThreadStart } from "./device_thread.ts";
import { DeviceMachine } from "./machine.ts";
import { serveThread, type ServingSurroundings } from "./serve_thread.ts";
import { Watcher } from "./watcher.ts";
import { WatchPolicy } from "./watch_policy.ts";

serveThread(serve);

function serve(
  { configuration, counters, places, placedFd }: ThreadStart,
  { poller, log, ask, ready }: ServingSurroundings<ThreadQuestion>,
): void {
  using machine = new DeviceMachine(configuration, {
    poller,
    counters: new Counters(counters),
    log,
    ask: () => ask({ kind: "where" }),
    unplug: (endpoint, isLast) => ask({ kind: "unplug", endpoint, isLast }),
  });
  // The main thread owns this descriptor too.
  const placed = EventFd.adopt(new Fd(placedFd));
  using _placed = placed && poller.watch(placed.fd, POLL.IN, () => {
    placed.drain();
    machine.place(new Int32Array(places));
  });
  ready();
  if (machine.watched === undefined) return poller.run();
  setTimerSlack(1);
  const watcher = new Watcher(machine.watched, new WatchPolicy(), {
    nowUs: () => performance.now() * 1000,
    spentUs: threadTimeUs,
  });
  poller.run((ready) => watcher.turn(ready));
}
