/**
 * A running machine, seen from outside: it is stopped until its carriage is programmed, stops whenever the guest reboots
 * or shuts down, and is programmed again before it goes on.
 * @module
 */
import { type CarriageAddresses, programCarriage, showRegisters } from "./carriage.ts";
import type { ConnectOptions } from "./line_socket.ts";
import { Qmp, type QmpEvent } from "./qmp.ts";
import { Qtest } from "./qtest.ts";
import { functionId } from "./machine_arguments.ts";
import { powerOffSlot, streamIdBehind } from "./root_port.ts";

/** Why a machine ended. */
export type MachineEnd =
  /** The guest shut down. */
  | { readonly cause: "power-off" }
  /** The guest rebooted, and reboots were to end the machine. */
  | { readonly cause: "reboot" }
  /** We ended it. */
  | { readonly cause: "stopped" }
  /** QEMU went away, or the carriage could not be programmed again. */
  | { readonly cause: "failed"; readonly message: string };

/** What to do when the guest reboots. */
export type OnReboot = "restart" | "end";

const RESET_MS = 30_000;

/** The hand on a QEMU that was started with `machineArguments()`. */
export class MachineControl {
  /** Resolves when the machine has shut down, failed, or QEMU has closed its socket; never rejects. */
  readonly ended: Promise<MachineEnd>;
  /** How often the guest was restarted. */
  reboots = 0;

  readonly #qmp: Qmp;
  readonly #qtest: Qtest;
  readonly #addresses: CarriageAddresses;
  readonly #onReboot: OnReboot;
  readonly #end = Promise.withResolvers<MachineEnd>();
  /** Restarts happen one after the other. */
  #restarted: Promise<void> = Promise.resolve();

  private constructor(qmp: Qmp, qtest: Qtest, addresses: CarriageAddresses, onReboot: OnReboot) {
    this.#qmp = qmp;
    this.#qtest = qtest;
    this.#addresses = addresses;
    this.#onReboot = onReboot;
    this.ended = this.#end.promise;
    qmp.closed.then(() => this.#fail("QEMU has closed its control socket"));
  }

  /**
   * Waits for QEMU on its two sockets, programs the carriage and lets the guest run. Throws an `EnvironmentError`
   * when QEMU does not come in time, or when the carriage does not answer.
   */
  static async start(
    sockets: { readonly qmp: string; readonly qtest: string },
    addresses: CarriageAddresses,
    onReboot: OnReboot,
    options: ConnectOptions,
  ): Promise<MachineControl> {
    const qmp = await Qmp.connect(sockets.qmp, options);
    try {
      const qtest = await Qtest.connect(sockets.qtest, options);
      const control = new MachineControl(qmp, qtest, addresses, onReboot);
      qmp.listen((event) => control.#hear(event));
      try {
        await control.#release();
        return control;
      } catch (error) {
        await qtest.close();
        throw error;
      }
    } catch (error) {
      await qmp.close();
      throw error;
    }
  }

  /** Asks the machine to reset, as its reset button would; the guest starts again with a programmed carriage. */
  async reset(): Promise<void> {
    await this.#restarted;
    await this.#qmp.execute("system_reset");
  }

  /** The StreamIDs of the functions behind root ports in these slots of bus 0; `UNPLACED` for those that have none. */
  async streamIdsBehind(slots: readonly number[]): Promise<number[]> {
    const { ecam } = this.#addresses;
    const streamIds: number[] = [];
    for (const slot of slots) streamIds.push(await streamIdBehind(this.#qtest, ecam, slot));
    return streamIds;
  }

  /**
   * Takes the function behind the root port in `slot` of bus 0 from the guest: asks the guest for it, or has it go at once
   * when `isForced`. Throws an `EnvironmentError`; it is gone some time later.
   */
  async unplug(slot: number, isForced: boolean): Promise<void> {
    await this.#restarted;
    if (isForced) await powerOffSlot(this.#qtest, this.#addresses.ecam, slot);
    else await this.#qmp.execute("device_del", { id: functionId(slot) });
  }

  /** Has the guest meet registers of the SMMU that are memory, or such that trap. Throws an `EnvironmentError`. */
  async showRegisters(areMemory: boolean): Promise<void> {
    await this.#restarted;
    await showRegisters(this.#qtest, this.#addresses, areMemory);
  }

  /** Asks QEMU to end, and closes our side. Safe to repeat. */
  async quit(): Promise<void> {
    this.#end.resolve({ cause: "stopped" });
    try {
      await this.#qmp.execute("quit");
    } catch {
      // It is on its way out, or gone.
    }
    await this.#qtest.close();
    await this.#qmp.close();
  }

  async #release(): Promise<void> {
    await programCarriage(this.#qtest, this.#addresses);
    await this.#qmp.execute("cont");
  }

  #hear({ event, data }: QmpEvent): void {
    if (event !== "SHUTDOWN") return;
    const isReset = data["reason"] === "guest-reset" || data["reason"] === "host-qmp-system-reset";
    if (isReset && this.#onReboot === "restart") {
      this.#restarted = this.#restarted.then(() => this.#restart())
        .catch((error: Error) => this.#fail(error.message));
    } else if (isReset) {
      this.#end.resolve({ cause: "reboot" });
    } else if (data["reason"] === "guest-shutdown") {
      this.#end.resolve({ cause: "power-off" });
    } else if (data["reason"] === "host-signal") {
      this.#fail("QEMU was ended by a signal");
    }
  }

  /**
   * A reset clears the buses behind the root port, and a guest that ran meanwhile would find no SMMU. So QEMU is told to
   * stop where the guest wanted to reboot, and the reset is done while nothing runs.
   */
  async #restart(): Promise<void> {
    await this.#qmp.execute("set-action", { reboot: "reset" });
    await Promise.all([
      this.#qmp.next("RESET", RESET_MS),
      this.#qmp.execute("system_reset"),
    ]);
    await this.#qmp.execute("set-action", { reboot: "shutdown" });
    await this.#release();
    this.reboots++;
  }

  #fail(message: string): void {
    this.#end.resolve({ cause: "failed", message });
  }
}
