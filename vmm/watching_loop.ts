/**
 * The loop of a thread whose device has registers that are memory.
 * @module
 */
import type { Poller } from "../uapi/poll.ts";
import { threadTimeUs } from "../uapi/thread_clock.ts";
import { setTimerSlack } from "../uapi/timer_slack.ts";
import { type Watched, Watcher } from "./watcher.ts";
import { WatchPolicy } from "./watch_policy.ts";

/** Serves descriptors until the poller is stopped, and looks at the registers in between. */
export function runWatching(poller: Poller, watched: Watched): void {
  setTimerSlack(1);
  const watcher = new Watcher(watched, new WatchPolicy(), {
    nowUs: () => performance.now() * 1000,
    spentUs: threadTimeUs,
  });
  poller.run((ready) => watcher.turn(ready));
}
