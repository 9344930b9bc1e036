import { assert, assertEquals, assertRejects, assertStringIncludes } from "@std/assert";
import { EnvironmentError } from "../../vmm/environment_error.ts";
import { chooseBoard } from "../../vmm/qemu/board.ts";
import { launch, type LaunchOptions } from "../../vmm/qemu/launch.ts";
import type { MachineConfiguration } from "../../vmm/qemu/machine_arguments.ts";
import { RuntimeDirectory } from "../../vmm/qemu/runtime_directory.ts";
import { type CarrierTask, SHARED } from "../support/carrier_worker.ts";
import { provisioned } from "../support/provisioned.ts";

const parts = provisioned();
const ignore = parts === undefined;
const NEEDS = "[needs a provisioned QEMU]";

/** A thread that serves the carrier of the SMMU. */
class Carrier implements AsyncDisposable {
  readonly #worker = new Worker(import.meta.resolve("../support/carrier_worker.ts"), {
    type: "module",
  });
  readonly #shared = new Int32Array(new SharedArrayBuffer(4 * SHARED.count));

  static async start(socketPath: string): Promise<Carrier> {
    const carrier = new Carrier();
    const listening = carrier.#next();
    const task: CarrierTask = { socketPath, shared: carrier.#shared };
    carrier.#worker.postMessage(task);
    await listening;
    return carrier;
  }

  /** How often a register was read. */
  get reads(): number {
    return Atomics.load(this.#shared, SHARED.reads);
  }

  /** How often the function was reset. */
  get resets(): number {
    return Atomics.load(this.#shared, SHARED.resets);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    const done = this.#next();
    Atomics.store(this.#shared, SHARED.stop, 1);
    await done;
  }

  async #next(): Promise<void> {
    await new Promise<void>((resolve, reject) => {
      this.#worker.onmessage = () => resolve();
      this.#worker.onerror = (event) => reject(new Error(event.message));
    });
  }
}

/** Options for a guest without a root file system, which panics after it has probed its devices. */
function options(
  directory: RuntimeDirectory,
  machine: Partial<MachineConfiguration> = {},
  more: Partial<LaunchOptions> = {},
): LaunchOptions {
  if (parts === undefined) throw new Error("Cannot launch without a QEMU");
  return {
    tools: parts,
    directory,
    machine: {
      board: chooseBoard(1, "tcg"),
      cpuCount: 1,
      memoryMiB: 256,
      kernelPath: parts.kernelPath,
      commandLine: "console=ttyAMA0 panic=-1",
      smmuSocketPath: directory.file("smmu.sock"),
      endpoints: [],
      ...machine,
    },
    ...more,
  };
}

function isGone(pid: number): boolean {
  try {
    Deno.kill(pid, "SIGCONT");
    return false;
  } catch (error) {
    return error instanceof Deno.errors.NotFound;
  }
}

Deno.test({
  name: `launch() lets a guest find the SMMU, also after it has rebooted ${NEEDS}`,
  ignore,
  async fn(): Promise<void> {
    using directory = await RuntimeDirectory.make();
    await using carrier = await Carrier.start(directory.file("smmu.sock"));
    await using machine = await launch(options(directory));
    assert(carrier.reads > 0, "the start reads IDR0");
    let probes = 0;
    let readsAtProbe = 0;
    for await (const line of machine.console) {
      if (!line.includes("arm-smmu-v3 3ee00000.iommu: ")) continue;
      assert(carrier.reads > readsAtProbe, "the guest reads registers");
      readsAtProbe = carrier.reads;
      if (++probes === 2) break;
    }
    assertEquals([probes, machine.reboots], [2, 1]);
    assert(carrier.resets >= 2, "a reboot resets the function");
    assertEquals(await machine.stop(), { cause: "stopped" });
    assert(isGone(machine.pid));
    assertEquals(await machine.stop(), { cause: "stopped" });
  },
});

Deno.test({
  name: `launch() ends the machine where a guest would reboot, when told to ${NEEDS}`,
  ignore,
  async fn(): Promise<void> {
    using directory = await RuntimeDirectory.make();
    await using _carrier = await Carrier.start(directory.file("smmu.sock"));
    const machine = await launch(options(directory, {}, { onReboot: "end" }));
    assertEquals(await machine.ended, { cause: "reboot" });
    assert(isGone(machine.pid));
  },
});

Deno.test({
  name: `launch() notices a killed QEMU, and obeys its signal ${NEEDS}`,
  ignore,
  async fn(t): Promise<void> {
    using directory = await RuntimeDirectory.make();
    await using _carrier = await Carrier.start(directory.file("smmu.sock"));
    await t.step("killed", async () => {
      const machine = await launch(options(directory));
      Deno.kill(machine.pid, "SIGKILL");
      const message = "QEMU ended: signal SIGKILL";
      assertEquals(await machine.ended, { cause: "failed", message });
    });
    await t.step("aborted while it runs", async () => {
      const interrupt = new AbortController();
      const machine = await launch(options(directory, {}, { signal: interrupt.signal }));
      interrupt.abort();
      assertEquals(await machine.ended, { cause: "stopped" });
      assert(isGone(machine.pid));
    });
    await t.step("aborted while it starts", async () => {
      const signal = AbortSignal.timeout(120);
      const started = launch(options(directory, {}, { signal }));
      const end = started.then(({ ended }) => ended, () => "refused");
      assert(
        ["refused", "stopped"].includes(
          await end.then((how) => typeof how === "string" ? how : how.cause),
        ),
      );
    });
  },
});

Deno.test({
  name: `launch() says why QEMU does not start ${NEEDS}`,
  ignore,
  async fn(t): Promise<void> {
    using directory = await RuntimeDirectory.make();
    const cases: { name: string; machine: Partial<MachineConfiguration>; says: string }[] = [
      { name: "no server", machine: {}, says: "Cannot start QEMU: exit status 1: " },
      {
        name: "no such processor",
        machine: { board: { ...chooseBoard(1, "tcg"), cpu: "pentium" } },
        says: "unable to find CPU model 'pentium'",
      },
    ];
    for (const { name, machine, says } of cases) {
      await t.step(name, async () => {
        const start = (): Promise<unknown> => launch(options(directory, machine));
        const error = await assertRejects(start, EnvironmentError);
        assertEquals(error.message.split("\n").length, 1);
        assertStringIncludes([error.message, ...error.toolLines].join("\n"), says);
      });
    }
  },
});
