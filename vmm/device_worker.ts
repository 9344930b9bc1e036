/**
 * The device thread: one synchronous loop over sockets and eventfds.
 * @module
 */
import { EventFd } from "../uapi/eventfd.ts";
import { Fd } from "../uapi/fd.ts";
import { POLL, type Poller, type Watch } from "../uapi/poll.ts";
import { Counters } from "./counters.ts";
import type { ThreadQuestion, ThreadStart } from "./device_thread.ts";
import { DeviceMachine } from "./machine.ts";
import { serveThread, type ServingSurroundings } from "./serve_thread.ts";
import { ShownRegisters } from "./shown_registers.ts";
import { runWatching } from "./watching_loop.ts";

serveThread(serve);

function serve(
  { configuration, counters, places, placedFd, shown, shownFd }: ThreadStart,
  { poller, log, ask, ready }: ServingSurroundings<ThreadQuestion>,
): void {
  using machine = new DeviceMachine(configuration, {
    poller,
    counters: new Counters(counters),
    log,
    ask: () => ask({ kind: "where" }),
    unplug: (endpoint, isLast) => ask({ kind: "unplug", endpoint, isLast }),
  });
  using _placed = watchSignal(poller, placedFd, () => machine.place(new Int32Array(places)));
  using _shown = watchSignal(poller, shownFd, () => {});
  ready();
  if (machine.watched === undefined) return poller.run();
  const registers = new ShownRegisters(shown);
  runWatching(poller, machine.watched, {
    isAdaptive: configuration.registers === "adaptive",
    get kind() {
      return registers.kind;
    },
    want: (registers) => ask({ kind: "show", registers }),
  });
}

/** Calls `signalled` when the main thread, which owns the eventfd, has signalled it; nothing without an eventfd. */
function watchSignal(poller: Poller, number: number, signalled: () => void): Watch | undefined {
  const event = EventFd.adopt(new Fd(number));
  return event && poller.watch(event.fd, POLL.IN, () => {
    event.drain();
    signalled();
  });
}
