/**
 * A thread that serves until it is stopped, seen from the main thread: how it starts, reports and ends.
 * @module
 */
import { EventFd } from "../uapi/eventfd.ts";
import { EnvironmentError } from "./environment_error.ts";

/** What the thread is told, once. */
export interface ServingStart<Start> {
  /** What to serve. */
  readonly start: Start;
  /** Number of an eventfd; when it is signalled, the thread ends. */
  readonly stopFd: number;
}

/** What it tells; `Question` is what it asks for, of its own. */
export type ServingMessage<Question = never> =
  /** All sockets listen. */
  | { readonly kind: "ready" }
  /** One line for people. */
  | { readonly kind: "log"; readonly line: string }
  | { readonly kind: "question"; readonly question: Question }
  /** The thread has ended and left nothing behind; with a message when it had to. */
  | { readonly kind: "ended"; readonly failure?: string };

/** What a thread is started with. */
export interface ServingOptions<Start, Question = never> {
  /** Its module, which calls `serveThread`. */
  readonly module: URL;
  readonly start: Start;
  readonly log: (line: string) => void;
  /** Takes what it asks. */
  readonly ask?: (question: Question) => void;
}

/** The thread; it serves until it is stopped. */
export class ServingThread implements AsyncDisposable {
  /** Resolves when the thread has ended: with what went wrong, or with nothing when it was stopped. Never rejects. */
  readonly ended: Promise<string | undefined>;

  readonly #stop = EventFd.create();
  readonly #ready: Promise<void>;

  private constructor(worker: Worker, ready: Promise<void>, end: Promise<string | undefined>) {
    this.#ready = ready;
    this.ended = end.finally(() => {
      worker.terminate();
      this.#stop[Symbol.dispose]();
    });
  }

  /** Starts a thread; `ready()` says when it serves. */
  static run<Start, Question = never>(
    { module, start, log, ask }: ServingOptions<Start, Question>,
  ): ServingThread {
    const ready = Promise.withResolvers<void>();
    const end = Promise.withResolvers<string | undefined>();
    const worker = new Worker(module, { type: "module" });
    worker.onmessage = ({ data }: MessageEvent<ServingMessage<Question>>): void => {
      if (data.kind === "ready") ready.resolve();
      else if (data.kind === "log") log(data.line);
      else if (data.kind === "question") ask?.(data.question);
      else end.resolve(data.failure);
    };
    worker.onerror = (event: ErrorEvent): void => {
      event.preventDefault();
      end.resolve(`The device thread failed: ${event.message}`);
    };
    const thread = new ServingThread(worker, ready.promise, end.promise);
    const told: ServingStart<Start> = { start, stopFd: thread.#stop.fd.number };
    worker.postMessage(told);
    return thread;
  }

  /** Resolves when all sockets listen. Throws an `EnvironmentError` that says what could not be done. */
  async ready(): Promise<void> {
    const failure = await Promise.race([this.#ready, this.ended]);
    if (typeof failure === "string") throw new EnvironmentError(failure);
  }

  /** Ends the thread and waits until its sockets are gone. Safe to repeat. */
  async stop(): Promise<void> {
    if (this.#stop.fd.isOpen) this.#stop.signal();
    await this.ended;
  }

  /** The same as `stop()`. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.stop();
  }
}
