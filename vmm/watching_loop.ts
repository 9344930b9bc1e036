/**
 * The loop of a thread whose device has registers that are memory.
 * @module
 */
import type { Poller } from "../uapi/poll.ts";
import { threadTimeUs, threadWaitedUs } from "../uapi/thread_clock.ts";
import { setTimerSlack } from "../uapi/timer_slack.ts";
import { MAPPING_TIMES, MappingPolicy } from "./mapping_policy.ts";
import { type Shown, type Watched, Watcher } from "./watcher.ts";
import { WatchPolicy } from "./watch_policy.ts";

/** Serves descriptors until the poller is stopped, and looks at the registers in between. */
export function runWatching(poller: Poller, watched: Watched, shown: Shown): void {
  setTimerSlack(1);
  const { crowded: _, ...steady } = MAPPING_TIMES;
  const times = shown.isAdaptive ? MAPPING_TIMES : steady;
  const watcher = new Watcher(watched, {
    watch: new WatchPolicy(),
    mapping: new MappingPolicy(threadWaitedUs, times),
    shown,
    clocks: { nowUs: () => performance.now() * 1000, spentUs: threadTimeUs },
  });
  poller.run((ready) => watcher.turn(ready));
}
