/**
 * Starts a machine and ends it, so that nothing of it is left behind.
 * @module
 */
import { delay } from "@std/async/delay";
import type { CarriageAddresses } from "./carriage.ts";
import type { ConsoleLines } from "./console_lines.ts";
import { type DeviceTreeTools, makeDeviceTree } from "./device_tree.ts";
import { machineArguments, type MachineConfiguration } from "./machine_arguments.ts";
import { MachineControl, type MachineEnd, type OnReboot } from "./machine_control.ts";
import { EnvironmentError } from "../environment_error.ts";
import { qemuFeatures } from "./qemu_features.ts";
import { type ConsoleMode, describeEnd, QemuProcess, tiedToUs } from "./qemu_process.ts";
import type { RuntimeDirectory } from "./runtime_directory.ts";

/** A machine to start. */
export interface LaunchOptions {
  readonly tools: DeviceTreeTools;
  /** Its vfio-user servers must be listening. */
  readonly machine: MachineConfiguration;
  /** For QEMU's sockets and the device tree. It stays; its maker removes it. */
  readonly directory: RuntimeDirectory;
  /** `restart` when not given. */
  readonly onReboot?: OnReboot | undefined;
  /** How long QEMU may take until the guest can run; 30 seconds when not given. */
  readonly startTimeoutMs?: number | undefined;
  /**
   * Who has the guest's console: `lines` of it go to our reader, or the guest has our own standard input and output, such
   * as a terminal, and `Machine.console` stays empty. `lines` when not given.
   */
  readonly console?: ConsoleMode | undefined;
  /** Ends the machine, whether it is still starting or runs. */
  readonly signal?: AbortSignal | undefined;
}

const START_MS = 30_000;
const QUIT_MS = 5_000;
const LAST_WORDS_MS = 1_000;

/** A machine whose guest runs. */
export class Machine implements AsyncDisposable {
  /** The guest's console. Ends when QEMU does. */
  readonly console: ConsoleLines;
  /** Where the SMMU is. */
  readonly addresses: CarriageAddresses;
  /** Resolves with the cause when QEMU is gone; never rejects. */
  readonly ended: Promise<MachineEnd>;

  readonly #process: QemuProcess;
  readonly #control: MachineControl;
  readonly #signal: AbortSignal | undefined;

  /** Made by `launch()`. */
  constructor(
    process: QemuProcess,
    control: MachineControl,
    addresses: CarriageAddresses,
    signal: AbortSignal | undefined,
  ) {
    this.#process = process;
    this.#control = control;
    this.#signal = signal;
    this.console = process.console;
    this.addresses = addresses;
    this.ended = this.#untilEnd();
  }

  /** How often the guest was restarted. */
  get reboots(): number {
    return this.#control.reboots;
  }

  /** Process identifier of QEMU. */
  get pid(): number {
    return this.#process.pid;
  }

  /** Types a line at the guest's console; nothing happens when QEMU has ended, or somebody else has the console. */
  type(line: string): Promise<void> {
    return this.#process.type(line);
  }

  /** Resets the machine, as its reset button would. */
  reset(): Promise<void> {
    return this.#control.reset();
  }

  /** The StreamIDs of the functions behind root ports in these slots of bus 0; `UNPLACED` for those that have none. */
  streamIdsBehind(slots: readonly number[]): Promise<number[]> {
    return this.#control.streamIdsBehind(slots);
  }

  /** Takes the function behind the root port in `slot` of bus 0 from the guest, which is asked unless `isForced`. */
  unplug(slot: number, isForced: boolean): Promise<void> {
    return this.#control.unplug(slot, isForced);
  }

  /** Has the guest meet registers of the SMMU that are memory, or such that trap. Throws an `EnvironmentError`. */
  showRegisters(areMemory: boolean): Promise<void> {
    return this.#control.showRegisters(areMemory);
  }

  /** Ends the machine now; the guest is not asked. Safe to repeat, also after the machine has ended by itself. */
  async stop(): Promise<MachineEnd> {
    await end(this.#process, this.#control);
    return this.ended;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.stop();
  }

  async #untilEnd(): Promise<MachineEnd> {
    const cause = await this.#control.ended;
    const isGone = cause.cause === "failed" && await endsWithin(this.#process, LAST_WORDS_MS);
    await end(this.#process, this.#control);
    await abortedAfter(this.#process, this.#signal);
    const status = await this.#process.exited;
    if (!isGone || status.success) return cause;
    return { cause: "failed", message: `QEMU ended: ${describeEnd(this.#process, status)}` };
  }
}

/**
 * Makes the device tree, starts QEMU, programs the carriage and lets the guest run. When that fails QEMU is gone and an
 * `EnvironmentError` names the step, with QEMU's last words when it had any.
 */
export async function launch(options: LaunchOptions): Promise<Machine> {
  const { tools, machine, directory, signal } = options;
  const features = await qemuFeatures(tools.qemu, signal);
  const paths = {
    deviceTree: directory.file("guest.dtb"),
    qmp: directory.file("qmp.sock"),
    qtest: directory.file("qtest.sock"),
  };
  const addresses = await makeDeviceTree(tools, machine, paths.deviceTree, signal);
  const args = machineArguments(machine, paths, features);
  const process = QemuProcess.start(await tiedToUs(tools.qemu, features), args, options.console);
  const control = await takeControl(process, paths, addresses, options);
  const running = new Machine(process, control, addresses, signal);
  const stop = (): void => void running.stop();
  signal?.addEventListener("abort", stop, { once: true });
  running.ended.then(() => signal?.removeEventListener("abort", stop));
  return running;
}

async function takeControl(
  process: QemuProcess,
  paths: { readonly qmp: string; readonly qtest: string },
  addresses: CarriageAddresses,
  options: LaunchOptions,
): Promise<MachineControl> {
  const gone = new AbortController();
  process.exited.then((status) =>
    gone.abort(new EnvironmentError(`Cannot start QEMU: ${describeEnd(process, status)}`))
  );
  const signal = options.signal ? AbortSignal.any([options.signal, gone.signal]) : gone.signal;
  const timeoutMs = options.startTimeoutMs ?? START_MS;
  try {
    const connection = { timeoutMs, signal };
    return await MachineControl.start(paths, addresses, options.onReboot ?? "restart", connection);
  } catch (error) {
    // A QEMU that refuses its arguments closes its sockets first and says why a moment later.
    const isGone = !options.signal?.aborted && await endsWithin(process, LAST_WORDS_MS);
    await end(process);
    await abortedAfter(process, options.signal);
    options.signal?.throwIfAborted();
    if (isGone) throw gone.signal.reason;
    const words = process.lastWords;
    if (!(error instanceof EnvironmentError) || words === "") throw error;
    throw new EnvironmentError(`${error.message}; QEMU says: ${words}`);
  }
}

/** Ends QEMU: by asking, by `SIGTERM`, by `SIGKILL`, each when the one before did not help in time. */
async function end(process: QemuProcess, control?: MachineControl): Promise<void> {
  const asked = control?.quit();
  if (!asked || !await endsWithin(process, QUIT_MS)) process.kill("SIGTERM");
  if (!await endsWithin(process, QUIT_MS)) process.kill("SIGKILL");
  await process.exited;
  await asked;
}

/** A terminal's signals go to QEMU as well, and on a busy machine its end is seen before ours: that gets time to come. */
async function abortedAfter(process: QemuProcess, signal: AbortSignal | undefined): Promise<void> {
  if (signal === undefined || signal.aborted) return;
  const { signal: cause } = await process.exited;
  const isTerminals = cause === "SIGINT" || cause === "SIGHUP" ||
    /terminating on signal [12]\b/.test(process.lastWords);
  if (!isTerminals) return;
  await delay(LAST_WORDS_MS, { signal }).catch(() => {});
}

async function endsWithin(process: QemuProcess, timeoutMs: number): Promise<boolean> {
  const { promise, resolve } = Promise.withResolvers<boolean>();
  const timer = setTimeout(() => resolve(false), timeoutMs);
  process.exited.then(() => resolve(true));
  try {
    return await promise;
  } finally {
    clearTimeout(timer);
  }
}
