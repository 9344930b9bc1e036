/**
 * The device thread: one synchronous loop over sockets and eventfds.
 * @module
 */
import { SystemError } from "../uapi/errno.ts";
import { EventFd } from "../uapi/eventfd.ts";
import { Fd } from "../uapi/fd.ts";
import { POLL, Poller } from "../uapi/poll.ts";
import { threadTimeUs } from "../uapi/thread_clock.ts";
import { setTimerSlack } from "../uapi/timer_slack.ts";
import { Counters } from "./counters.ts";
import type { ThreadMessage, ThreadStart } from "./device_thread.ts";
import { DeviceMachine } from "./machine.ts";
import { Watcher } from "./watcher.ts";
import { WatchPolicy } from "./watch_policy.ts";

const scope = self as unknown as {
  onmessage: ((event: MessageEvent<ThreadStart>) => void) | null;
  postMessage(message: ThreadMessage): void;
};

scope.onmessage = ({ data }): void => {
  try {
    serve(data);
    scope.postMessage({ kind: "ended" });
  } catch (error) {
    const isExpected = error instanceof SystemError || error instanceof RangeError;
    const failure = isExpected ? error.message : `A mistake of ours: ${(error as Error).stack}`;
    scope.postMessage({ kind: "ended", failure });
  }
};

function serve({ configuration, counters, stopFd, places, placedFd }: ThreadStart): void {
  const poller = new Poller();
  const log = (line: string): void => scope.postMessage({ kind: "log", line });
  // The main thread owns the descriptors: they are watched here, and never closed.
  using _stop = poller.watch(new Fd(stopFd), POLL.IN, () => poller.stop());
  using machine = new DeviceMachine(configuration, {
    poller,
    counters: new Counters(counters),
    log,
    ask: () => scope.postMessage({ kind: "seen" }),
    unplug: (endpoint, isLast) => scope.postMessage({ kind: "unplug", endpoint, isLast }),
  });
  const placed = EventFd.adopt(new Fd(placedFd));
  using _placed = placed && poller.watch(placed.fd, POLL.IN, () => {
    placed.drain();
    machine.place(new Int32Array(places));
  });
  scope.postMessage({ kind: "ready" });
  if (machine.watched === undefined) return poller.run();
  setTimerSlack(1);
  const watcher = new Watcher(machine.watched, new WatchPolicy(), {
    nowUs: () => performance.now() * 1000,
    spentUs: threadTimeUs,
  });
  poller.run((ready) => watcher.turn(ready));
}
