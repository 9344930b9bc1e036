/**
 * The devices in a thread of their own, seen from the main thread.
 * @module
 */
import { EventFd } from "../uapi/eventfd.ts";
import { Counters } from "./counters.ts";
import type { DeviceConfiguration } from "./device_configuration.ts";
import { UNPLACED } from "./endpoint_places.ts";
import type { RegisterKind } from "./register_page.ts";
import { ServingThread } from "./serving_thread.ts";
import { ShownRegisters } from "./shown_registers.ts";

/** What the main thread tells the device thread, once. */
export interface ThreadStart {
  /** What to serve. */
  readonly configuration: DeviceConfiguration;
  /** Memory of the counters. */
  readonly counters: SharedArrayBuffer;
  /** The StreamIDs of the endpoints, 32 bits each. */
  readonly places: SharedArrayBuffer;
  /** Number of an eventfd that is signalled when they may have changed. */
  readonly placedFd: number;
  /** Memory of `ShownRegisters`. */
  readonly shown: SharedArrayBuffer;
  /** Number of an eventfd that is signalled when the guest meets others. */
  readonly shownFd: number;
}

/** What the device thread asks of the main thread. */
export type ThreadQuestion =
  /** Where the endpoints are, as the guest looks for functions behind root ports. */
  | { readonly kind: "where" }
  /** An endpoint, by its number, is to be taken from the guest; by force when the guest has not given it up in time. */
  | { readonly kind: "unplug"; readonly endpoint: number; readonly isLast: boolean }
  /** The guest is to meet registers of this kind. */
  | { readonly kind: "show"; readonly registers: RegisterKind };

/** Takes an endpoint, by its number, from the guest: asks the guest for it, or by force when `isLast`. */
export type Unplug = (endpoint: number, isLast: boolean) => Promise<void>;

/** Has the guest meet registers that are memory, or such that trap; rejects when the machine cannot. */
export type Show = (areMemory: boolean) => Promise<void>;

/** Devices that are served until they are stopped. */
export class DeviceThread implements AsyncDisposable {
  /** What the device did so far. */
  readonly counters: Counters;
  /** Resolves when the thread has ended: with what went wrong, or with nothing when it was stopped. Never rejects. */
  readonly ended: Promise<string | undefined>;

  readonly #thread: ServingThread;
  readonly #placed = EventFd.create();
  readonly #changed = EventFd.create();
  readonly #shown = new ShownRegisters();
  readonly #places: Int32Array;
  #where: (() => Promise<readonly number[]>) | undefined;
  #isWanted = false;
  #unplug: Unplug | undefined;
  #show: Show | undefined;
  #isChanging = false;
  readonly #log: (line: string) => void;

  private constructor(configuration: DeviceConfiguration, log: (line: string) => void) {
    this.counters = new Counters();
    this.#log = log;
    this.#places = new Int32Array(new SharedArrayBuffer(4 * configuration.endpoints.length));
    this.#thread = ServingThread.run<ThreadStart, ThreadQuestion>({
      module: new URL("./device_worker.ts", import.meta.url),
      start: {
        configuration,
        counters: this.counters.buffer,
        places: this.#places.buffer as SharedArrayBuffer,
        placedFd: this.#placed.fd.number,
        shown: this.#shown.buffer,
        shownFd: this.#changed.fd.number,
      },
      log,
      ask: (question) => void this.#answer(question),
    });
    this.ended = this.#thread.ended.finally(() => {
      this.#placed[Symbol.dispose]();
      this.#changed[Symbol.dispose]();
    });
  }

  /** Starts the thread; resolves when all sockets listen. Throws an `EnvironmentError` that says what could not be done. */
  static async start(
    configuration: DeviceConfiguration,
    log: (line: string) => void,
  ): Promise<DeviceThread> {
    const thread = new DeviceThread(configuration, log);
    await thread.#thread.ready();
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

  /** Where registers are mapped: they trap now, and `show` changes that while it pays. */
  showBy(show: Show): void {
    this.#show = show;
    this.#tell("trapped");
  }

  /** Ends the thread and waits until its sockets are gone. Safe to repeat. */
  async stop(): Promise<void> {
    await this.#thread.stop();
    await this.ended;
  }

  #answer(question: ThreadQuestion): Promise<void> {
    switch (question.kind) {
      case "where":
        return this.#find();
      case "unplug":
        return this.#take(question.endpoint, question.isLast);
      case "show":
        return this.#change(question.registers);
    }
  }

  async #change(registers: RegisterKind): Promise<void> {
    // Wishes are repeated: one at a time is enough, also for a machine that stands still.
    if (this.#show === undefined || this.#isChanging) return;
    this.#isChanging = true;
    try {
      await this.#show(registers === "mapped");
      this.#tell(registers);
    } catch (error) {
      // The machine is on its way out, or a later wish reaches it.
      if (!(error instanceof Error)) throw error;
    } finally {
      this.#isChanging = false;
    }
  }

  #tell(registers: RegisterKind): void {
    this.#shown.kind = registers;
    if (this.#changed.fd.isOpen) this.#changed.signal();
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
