/**
 * The inside of a thread that serves until it is stopped.
 * @module
 */
import { SystemError } from "../uapi/errno.ts";
import { Fd } from "../uapi/fd.ts";
import { POLL, Poller } from "../uapi/poll.ts";
import type { ServingMessage, ServingStart } from "./serving_thread.ts";

/** What a thread serves with. */
export interface ServingSurroundings<Question> {
  /** Its loop, which ends when the thread is stopped. */
  readonly poller: Poller;
  /** Takes one line for people. */
  readonly log: (line: string) => void;
  /** Asks the main thread. */
  readonly ask: (question: Question) => void;
  /** Says that all sockets listen. */
  readonly ready: () => void;
}

/** Has this thread wait for what to serve, and `serve` it, to the end. */
export function serveThread<Start, Question = never>(
  serve: (start: Start, surroundings: ServingSurroundings<Question>) => void,
): void {
  const scope = self as unknown as {
    onmessage: ((event: MessageEvent<ServingStart<Start>>) => void) | null;
    postMessage(message: ServingMessage<Question>): void;
  };
  scope.onmessage = ({ data: { start, stopFd } }): void => {
    try {
      const poller = new Poller();
      // The main thread owns the descriptor: it is watched here, and never closed.
      using _stop = poller.watch(new Fd(stopFd), POLL.IN, () => poller.stop());
      serve(start, {
        poller,
        log: (line) => scope.postMessage({ kind: "log", line }),
        ask: (question) => scope.postMessage({ kind: "question", question }),
        ready: () => scope.postMessage({ kind: "ready" }),
      });
      scope.postMessage({ kind: "ended" });
    } catch (error) {
      const isExpected = error instanceof SystemError || error instanceof RangeError;
      const failure = isExpected ? error.message : `A mistake of ours: ${(error as Error).stack}`;
      scope.postMessage({ kind: "ended", failure });
    }
  };
}
