/**
 * The devices in a thread of their own, seen from the main thread.
 * @module
 */
import { EventFd } from "../uapi/eventfd.ts";
import { Counters } from "./counters.ts";
import { EnvironmentError } from "./environment_error.ts";
import type { DeviceConfiguration } from "./device_configuration.ts";

/** What the main thread tells the device thread, once. */
export interface ThreadStart {
  /** What to serve. */
  readonly configuration: DeviceConfiguration;
  /** Memory of the counters. */
  readonly counters: SharedArrayBuffer;
  /** Number of an eventfd; when it is signalled, the thread ends. */
  readonly stopFd: number;
}

/** What the device thread tells the main thread. */
export type ThreadMessage =
  /** All sockets listen. */
  | { readonly kind: "ready" }
  /** One line for people. */
  | { readonly kind: "log"; readonly line: string }
  /** The thread has ended and left nothing behind; with a message when it had to. */
  | { readonly kind: "ended"; readonly failure?: string };

/** Devices that are served until they are stopped. */
export class DeviceThread implements AsyncDisposable {
  /** What the device did so far. */
  readonly counters: Counters;
  /** Resolves when the thread has ended: with what went wrong, or with nothing when it was stopped. Never rejects. */
  readonly ended: Promise<string | undefined>;

  readonly #stop: EventFd;
  readonly #ready = Promise.withResolvers<void>();
  readonly #end = Promise.withResolvers<string | undefined>();

  private constructor(configuration: DeviceConfiguration, log: (line: string) => void) {
    this.counters = new Counters();
    this.#stop = EventFd.create();
    const worker = new Worker(new URL("./device_worker.ts", import.meta.url), { type: "module" });
    worker.onmessage = ({ data }: MessageEvent<ThreadMessage>): void => {
      if (data.kind === "ready") this.#ready.resolve();
      else if (data.kind === "log") log(data.line);
      else this.#end.resolve(data.failure);
    };
    worker.onerror = (event: ErrorEvent): void => {
      event.preventDefault();
      this.#end.resolve(`The device thread failed: ${event.message}`);
    };
    this.ended = this.#end.promise.finally(() => {
      worker.terminate();
      this.#stop[Symbol.dispose]();
    });
    const start: ThreadStart = {
      configuration,
      counters: this.counters.buffer,
      stopFd: this.#stop.fd.number,
    };
    worker.postMessage(start);
  }

  /** Starts the thread; resolves when all sockets listen. Throws an `EnvironmentError` that says what could not be done. */
  static async start(
    configuration: DeviceConfiguration,
    log: (line: string) => void,
  ): Promise<DeviceThread> {
    const thread = new DeviceThread(configuration, log);
    const failure = await Promise.race([thread.#ready.promise, thread.ended]);
    if (typeof failure === "string") throw new EnvironmentError(failure);
    return thread;
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
