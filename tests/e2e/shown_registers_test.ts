/**
 * Registers that are memory now and trap then, under a guest that uses its disk.
 * @module
 */
import { assert, assertEquals } from "@std/assert";
import { DeviceThread } from "../../vmm/device_thread.ts";
import { EnvironmentError } from "../../vmm/environment_error.ts";
import { planMachine } from "../../vmm/machine_plan.ts";
import { provision, workingDisk } from "../../vmm/provision/provision.ts";
import { launch } from "../../vmm/qemu/launch.ts";
import { RuntimeDirectory } from "../../vmm/qemu/runtime_directory.ts";
import { ignore, NEEDS, Sandbox } from "./sandbox.ts";

/** How long the guest meets either. */
const CHANGE_MS = 20;

Deno.test({
  name: `memory and traps in turns, some hundred times, and nothing of the guest is lost ${NEEDS}`,
  ignore,
  async fn(): Promise<void> {
    await using sandbox = new Sandbox();
    const parts = await provision({ cacheDir: sandbox.cache });
    using directory = await RuntimeDirectory.make(sandbox.runtime);
    using disk = await workingDisk(parts);
    const plan = planMachine(
      {
        cpuCount: 2,
        memoryMiB: 512,
        interrupts: "msix",
        iommufd: "model",
        registers: "mapped",
        commandLine: "console=ttyAMA0 iommu.strict=1 vsmmu.run=disk",
      },
      parts,
      directory,
      disk.path,
    );
    await using devices = await DeviceThread.start(plan.devices, () => {});
    await using machine = await launch({
      tools: { qemu: parts.qemu.tool, dtc: parts.tools.dtc },
      machine: plan.machine,
      directory,
      signal: AbortSignal.timeout(150_000),
    });
    const said: string[] = [];
    let changes = 0;
    let isOver = false;
    // The device is not told: it has to look, and to be trapped into, at any time.
    const changing = (async (): Promise<void> => {
      while (!isOver) {
        await machine.showRegisters(++changes % 2 === 1);
        await new Promise((resolve) => setTimeout(resolve, CHANGE_MS));
      }
    })().catch((error) => {
      // The machine ends before we hear of it; whether it did too soon is seen below.
      if (!(error instanceof EnvironmentError)) throw error;
    });
    for await (const line of machine.console) said.push(line);
    isOver = true;
    await changing;
    assertEquals(await machine.ended, { cause: "power-off" });
    assertEquals(
      said.filter((line) => /vsmmu: (FAIL|done)|I\/O error|CMD_SYNC/.test(line)).length,
      1,
    );
    assertEquals(said.filter((line) => /vsmmu: (mount|reread|unmount) ok/.test(line)).length, 3);
    const { mmio, commandErrors, events, syncs } = devices.counters.summary();
    assertEquals({ commandErrors, events }, { commandErrors: 0, events: {} });
    const { noticed, writes } = mmio;
    assert(changes > 50 && noticed > 50 && writes > 50, `${changes}, ${noticed}, ${writes}`);
    assert(syncs > 100, `${syncs} CMD_SYNC`);
  },
});
