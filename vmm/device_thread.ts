/**
 * The devices in a thread of their own, seen from the main thread.
 * @module
 */
import { EventFd } from "../uapi/eventfd.ts";
import { Counters } from "./counters.ts";
import { UNPLACED } from "./endpoint_places.ts";
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
  /** The StreamIDs of the endpoints, 32 bits each. */
  readonly places: SharedArrayBuffer;
  /** Number of an eventfd that is signalled when they may have changed. */
  readonly placedFd: number;
}

/** What the device thread tells the main thread. */
export type ThreadMessage =
  /** All sockets listen. */
  | { readonly kind: "ready" }
  /** The guest looks for functions behind root ports, whose StreamIDs are to be found. */
  | { readonly kind: "seen" }
  /** An endpoint, by its number, is to be taken from the guest; by force when the guest has not given it up in time. */
  | { readonly kind: "unplug"; readonly endpoint: number; readonly isLast: boolean }
  /** One line for people. */
  | { readonly kind: "log"; readonly line: string }
  /** The thread has ended and left nothing behind; with a message when it had to. */
  | { readonly kind: "ended"; readonly failure?: string };

/** Takes an endpoint, by its number, from the guest: asks the guest for it, or by force when `isLast`. */
export type Unplug = (endpoint: number, isLast: boolean) => Promise<void>;

/** Devices that are served until they are stopped. */
export class DeviceThread implements AsyncDisposable {
  /** What the device did so far. */
  readonly counters: Counters;
  /** Resolves when the thread has ended: with what went wrong, or with nothing when it was stopped. Never rejects. */
  readonly ended: Promise<string | undefined>;

  readonly #stop: EventFd;
  readonly #placed: EventFd;
  readonly #places: Int32Array;
  #where: (() => Promise<readonly number[]>) | undefined;
  #isWanted = false;
  #unplug: Unplug | undefined;
  readonly #log: (line: string) => void;
  readonly #ready = Promise.withResolvers<void>();
  readonly #end = Promise.withResolvers<string | undefined>();

  private constructor(configuration: DeviceConfiguration, log: (line: string) => void) {
    this.counters = new Counters();
    this.#log = log;
    this.#stop = EventFd.create();
    this.#placed = EventFd.create();
    this.#places = new Int32Array(new SharedArrayBuffer(4 * configuration.endpoints.length));
    const worker = new Worker(new URL("./device_worker.ts", import.meta.url), { type: "module" });
    worker.onmessage = ({ data }: MessageEvent<ThreadMessage>): void => {
      if (data.kind === "ready") this.#ready.resolve();
      else if (data.kind === "log") log(data.line);
      else if (data.kind === "seen") void this.#find();
      else if (data.kind === "unplug") void this.#take(data.endpoint, data.isLast);
      else this.#end.resolve(data.failure);
    };
    worker.onerror = (event: ErrorEvent): void => {
      event.preventDefault();
      this.#end.resolve(`The device thread failed: ${event.message}`);
    };
    this.ended = this.#end.promise.finally(() => {
      worker.terminate();
      this.#stop[Symbol.dispose]();
      this.#placed[Symbol.dispose]();
    });
    const start: ThreadStart = {
      configuration,
      counters: this.counters.buffer,
      stopFd: this.#stop.fd.number,
      places: this.#places.buffer as SharedArrayBuffer,
      placedFd: this.#placed.fd.number,
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

  /**
   * Whenever the guest looks for functions behind root ports, `where` tells where they are: the StreamIDs of all endpoints
   * in their order, `UNPLACED` for those that have none, and rejects when the machine cannot say.
   */
  follow(where: () => Promise<readonly number[]>): void {
    this.#where = where;
    if (this.#isWanted) void this.#find();
  }

  /** Whenever the host wants a function back that is behind a root port, `unplug` has the machine take it from the guest. */
  unplugBy(unplug: Unplug): void {
    this.#unplug = unplug;
  }

  /** Ends the thread and waits until its sockets are gone. Safe to repeat. */
  async stop(): Promise<void> {
    if (this.#stop.fd.isOpen) this.#stop.signal();
    await this.ended;
  }

  async #take(endpoint: number, isLast: boolean): Promise<void> {
    try {
      await this.#unplug?.(endpoint, isLast);
    } catch (error) {
      if (!(error instanceof Error)) throw error;
      this.#log(error.message);
    }
  }

  async #find(): Promise<void> {
    this.#isWanted = this.#where === undefined;
    if (this.#where === undefined) return;
    try {
      this.#places.set(await this.#where());
    } catch {
      // The machine is on its way out, or a later question finds it.
      this.#places.fill(UNPLACED);
    }
    if (this.#placed.fd.isOpen) this.#placed.signal();
  }

  /** The same as `stop()`. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.stop();
  }
}
