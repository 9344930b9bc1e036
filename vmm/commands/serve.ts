/**
 * `vsmmu serve`: the devices alone, for a QEMU that somebody else starts.
 * @module
 */
import { delay } from "@std/async/delay";
import { DeviceThread } from "../device_thread.ts";
import { planMachine } from "../machine_plan.ts";
import { provision, workingDisk } from "../provision/provision.ts";
import { makeDeviceTree } from "../qemu/device_tree.ts";
import { machineArguments, type MachinePaths } from "../qemu/machine_arguments.ts";
import { MachineControl } from "../qemu/machine_control.ts";
import { EnvironmentError } from "../environment_error.ts";
import { checkHugePages } from "../huge_pages.ts";
import { qemuFeatures } from "../qemu/qemu_features.ts";
import { RuntimeDirectory } from "../qemu/runtime_directory.ts";
import { shellWords } from "../qemu/shell_words.ts";
import { summaryLines } from "../report.ts";
import { Recording } from "../trace/recording.ts";
import { hostDevice } from "../vfio/host_device.ts";
import { guestWords } from "../trace/guest_words.ts";
import { type Command, EXIT, type Io, type Values } from "./command.ts";
import { GUEST_FLAGS, guestOf, PARTS_FLAGS, partsOf } from "./machine_flags.ts";
import { RECORD_FLAGS, recordingOf } from "./record_flags.ts";

const POLL_MS = 100;
const CONTROL_MS = 30_000;

/** The command. */
export const serve: Command = {
  name: "serve",
  summary: "serves the devices and prints how to start QEMU on them; Ctrl-C ends it",
  flags: {
    ...GUEST_FLAGS,
    directory: { value: "DIR", help: "Where the private directory of the sockets is made" },
    json: { help: "Print the sockets, the device tree and QEMU's arguments as one JSON object" },
    ...RECORD_FLAGS,
    ...PARTS_FLAGS,
  },
  run: runCommand,
};

/** How somebody else starts QEMU. */
interface StartOfQemu {
  readonly command: readonly string[];
  readonly environment: Readonly<Record<string, string>>;
}

async function runCommand(values: Values, io: Io): Promise<number> {
  const { signal, note } = io;
  const { append, ...guest } = guestOf(values);
  const record = recordingOf(values);
  if (guest.hugePages) await checkHugePages(guest.memoryMiB);
  const parts = await provision({ ...partsOf(values), progress: note, signal });
  using directory = await RuntimeDirectory.make(values.text("directory"));
  using working = parts.disk.input ? await workingDisk(parts) : undefined;
  const choice = {
    ...guest,
    assign: guest.assign.map((name) => hostDevice(name)),
    commandLine: `console=ttyAMA0 ${append}`.trim(),
  };
  const plan = planMachine(choice, parts, directory, working?.path ?? parts.disk.path);
  const paths: MachinePaths = {
    deviceTree: directory.file("guest.dtb"),
    qmp: directory.file("qmp.sock"),
    qtest: directory.file("qtest.sock"),
  };
  const tools = { qemu: parts.qemu.tool, dtc: parts.tools.dtc };
  const addresses = await makeDeviceTree(tools, plan.machine, paths.deviceTree, signal);
  const args = machineArguments(plan.machine, paths, await qemuFeatures(tools.qemu, signal));
  const told = guestWords(parts, choice);
  await using recording = record && new Recording(record, told, note);
  await using devices = await DeviceThread.start(
    { ...plan.devices, ...(recording ? { recording: recording.configuration } : {}) },
    note,
  );
  const { command, args: before, env: environment } = tools.qemu;
  const start = { command: [command, ...before, ...args], environment };
  if (values.on("json")) {
    const { smmuSocketPath: smmuSocket, smmuMemorySocketPath, endpoints } = plan.devices;
    const memory = smmuMemorySocketPath ? { smmuMemorySocket: smmuMemorySocketPath } : {};
    const { deviceTree } = paths;
    const all = { ...start, deviceTree, smmuSocket, ...memory, endpoints };
    io.out(JSON.stringify(all, undefined, 2));
  } else {
    announce(start, paths, io);
  }
  const slots = plan.machine.endpoints.map(({ slot }) => slot);
  const stopped = new AbortController();
  devices.ended.then((failure) =>
    stopped.abort(new EnvironmentError(failure ?? "The devices are gone"))
  );
  try {
    const either = AbortSignal.any([signal, stopped.signal]);
    await controlMachines(paths, addresses, either, note, (control) => {
      if (plan.machine.smmuMemorySocketPath) {
        devices.showBy((areMemory) => control.showRegisters(areMemory));
      }
      if (!guest.rootPorts) return;
      devices.follow(() => control.streamIdsBehind(slots));
      devices.unplugBy((at, isLast) => control.unplug(slots[at], isLast));
    });
  } catch (error) {
    if (!signal.aborted) throw error;
  }
  for (const line of summaryLines(devices.counters.summary())) note(line);
  await devices.stop();
  return await recording?.finish() === undefined ? EXIT.ok : EXIT.failed;
}

/** Says how to start a guest; that alone goes to standard output. */
function announce({ command, environment }: StartOfQemu, paths: MachinePaths, io: Io): void {
  const variables = Object.entries(environment).map(([name, value]) => `${name}=${value}`);
  io.note("The devices listen. Start the guest with this, in another terminal:");
  io.note("");
  io.out(shellWords([...(variables.length === 0 ? [] : ["env", ...variables]), ...command]));
  io.note("");
  io.note(`Device tree: ${paths.deviceTree}`);
  io.note("The SMMU is put in place when QEMU's control sockets appear, and the guest then runs");
}

/** Programs the carriage of each QEMU that comes, one after the other, until the signal. */
async function controlMachines(
  paths: MachinePaths,
  addresses: Parameters<typeof MachineControl.start>[1],
  signal: AbortSignal,
  note: (line: string) => void,
  taken: (control: MachineControl) => void,
): Promise<void> {
  for (;;) {
    while (!await exists(paths.qtest)) await delay(POLL_MS, { signal });
    try {
      const control = await MachineControl.start(paths, addresses, "restart", {
        timeoutMs: CONTROL_MS,
        signal,
      });
      taken(control);
      note("The SMMU is in place; the guest runs");
      const aborted = Promise.withResolvers<void>();
      const onAbort = (): void => aborted.resolve();
      signal.addEventListener("abort", onAbort, { once: true });
      const end = await Promise.race([control.ended, aborted.promise]);
      signal.removeEventListener("abort", onAbort);
      await control.quit();
      signal.throwIfAborted();
      note(`The guest has ended: ${end?.cause === "failed" ? end.message : end?.cause}`);
    } catch (error) {
      if (!(error instanceof EnvironmentError)) throw error;
      note(error.message);
    }
    // A QEMU that was killed leaves its sockets behind.
    for (const path of [paths.qmp, paths.qtest]) await Deno.remove(path).catch(() => {});
  }
}

async function exists(path: string): Promise<boolean> {
  try {
    await Deno.lstat(path);
    return true;
  } catch {
    return false;
  }
}
