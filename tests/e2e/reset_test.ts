import { assertEquals } from "@std/assert";
import { DeviceThread } from "../../vmm/device_thread.ts";
import { planMachine } from "../../vmm/machine_plan.ts";
import { provision, workingDisk } from "../../vmm/provision/provision.ts";
import { launch } from "../../vmm/qemu/launch.ts";
import { RuntimeDirectory } from "../../vmm/qemu/runtime_directory.ts";
import { openDescriptors } from "../support/own_process.ts";
import { ignore, NEEDS, Sandbox } from "./sandbox.ts";

/** Boots a guest, presses the reset button at each line that matches, and returns what it said after the last reset. */
async function resetAt(sandbox: Sandbox, pattern: RegExp, resets: number): Promise<string[]> {
  const parts = await provision({ cacheDir: sandbox.cache });
  using directory = await RuntimeDirectory.make(sandbox.runtime);
  using disk = await workingDisk(parts);
  const choice = { cpuCount: 2, memoryMiB: 512, interrupts: "msix", iommufd: "model" } as const;
  const commandLine = "console=ttyAMA0 vsmmu.run=disk";
  const plan = planMachine({ ...choice, commandLine }, parts, directory, disk.path);
  await using devices = await DeviceThread.start(plan.devices, () => {});
  await using machine = await launch({
    tools: { qemu: parts.qemu.tool, dtc: parts.tools.dtc },
    machine: plan.machine,
    directory,
    signal: AbortSignal.timeout(150_000),
  });
  let said: string[] = [];
  for await (const line of machine.console) {
    said.push(line);
    if (!pattern.test(line) || machine.reboots === resets) continue;
    await machine.reset();
    said = [];
  }
  assertEquals([await machine.ended, machine.reboots], [{ cause: "power-off" }, resets]);
  const { commandErrors, eventsDropped, events } = devices.counters.summary();
  assertEquals({ commandErrors, eventsDropped, events }, {
    commandErrors: 0,
    eventsDropped: 0,
    events: {},
  });
  return said;
}

Deno.test({
  name: `the reset button while the guest uses the disk: it comes up again and works ${NEEDS}`,
  ignore,
  async fn(): Promise<void> {
    await using sandbox = new Sandbox();
    await resetAt(sandbox, /never/, 0);
    const before = openDescriptors();
    const said = await resetAt(sandbox, /vsmmu: mount ok/, 2);
    assertEquals(said.filter((line) => /vsmmu: (FAIL|done)|I\/O error/.test(line)).length, 1);
    assertEquals(said.filter((line) => /vsmmu: (mount|reread|unmount) ok/.test(line)).length, 3);
    assertEquals(openDescriptors(), before);
    await sandbox.expectNothingLeft();
  },
});
