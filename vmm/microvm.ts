/**
 * A whole run: parts, devices, QEMU, guest, and what came of it.
 * @module
 */
import type { Features } from "../hw/smmuv3/features.ts";
import type { Summary } from "./counters.ts";
import { DeviceThread } from "./device_thread.ts";
import {
  type Check,
  checkDevice,
  checkGuest,
  checkOutput,
  type Expectations,
} from "./guest_checks.ts";
import type { BarChoice, InterruptKind, IommufdKind } from "./device_configuration.ts";
import { type MachinePlan, planMachine, type RegisterChoice } from "./machine_plan.ts";
import { checkFileSystem, readBack } from "./provision/disk.ts";
import { GuestConsole, type GuestEvent } from "./provision/guest_console.ts";
import {
  provision,
  type Provisioned,
  type ProvisionOptions,
  workingDisk,
} from "./provision/provision.ts";
import { EnvironmentError } from "./environment_error.ts";
import { commandLineOf, FAULT_IOVA } from "./guest_command_line.ts";
import { checkHugePages } from "./huge_pages.ts";
import { launch, type Machine } from "./qemu/launch.ts";
import type { MachineEnd } from "./qemu/machine_control.ts";
import { RuntimeDirectory } from "./qemu/runtime_directory.ts";
import { hostDevice } from "./vfio/host_device.ts";
import type { PasidChoice } from "./vfio/pasid_choice.ts";
import { type Transfer, transfersOf } from "./transfers.ts";
import { guestWords } from "./trace/guest_words.ts";
import { Recording, type RecordingChoice } from "./trace/recording.ts";

/** What a run is to be. */
export interface MicrovmOptions {
  /** Where the parts come from. */
  readonly parts: ProvisionOptions;
  /** Processors of the guest: 1 to 64. */
  readonly cpuCount: number;
  /** Memory of the guest; 256 MiB are enough for ours. */
  readonly memoryMiB: number;
  /** Whether its memory is of the host's huge pages of 2 MiB. */
  readonly hugePages?: boolean;
  /** Added to the guest kernel's command line. */
  readonly append: string;
  /** What our initramfs does: `disk`, `fault`, `bench`, `shell`, `reboot`. */
  readonly actions: readonly string[];
  /** MiB that `bench` reads each time. */
  readonly benchMiB: number;
  /** How the disk interrupts. */
  readonly interrupts: InterruptKind;
  /** How the guest reaches the registers of the SMMU; `trapped` by default. */
  readonly registers?: RegisterChoice;
  /** What is behind the SMMU. */
  readonly iommufd: IommufdKind;
  /** Whether each function is behind a root port of its own, so that the guest numbers the buses. */
  readonly rootPorts?: boolean;
  /** Whether the DMA test device translates for itself, and asks for pages. */
  readonly ats?: boolean;
  /** Functions of the host that the guest gets: character devices of VFIO, or PCI addresses. */
  readonly assign?: readonly string[];
  /** Whether they are shown a PASID capability; `auto` by default. */
  readonly pasid?: PasidChoice;
  /** How the guest reaches their registers; `mapped` by default. */
  readonly bars?: BarChoice;
  /** Choices among the features of the SMMU. */
  readonly features?: Partial<Features>;
  /** A trace to be recorded. */
  readonly record?: RecordingChoice | undefined;
  /** More that should hold, judged by what the guest said. */
  readonly judge?: (
    events: readonly GuestEvent[],
    summary: Summary,
  ) => readonly Check[] | Promise<readonly Check[]>;
  /** Hears what the guest says when it says it. */
  readonly heard?: (event: GuestEvent) => void;
  /** Resolves when a guest with `vsmmu.turns=1` may measure again; it has ended its turn. */
  readonly turn?: () => Promise<void>;
  /** The guest has our standard input and output. */
  readonly interactive: boolean;
  /** Seconds after which a guest that has not ended is ended. */
  readonly timeoutSeconds: number;
  /** Takes the guest's console, line by line. */
  readonly console: (line: string) => void;
  /** Takes lines about what is being done. */
  readonly progress: (line: string) => void;
  /** Ends the run; nothing of it is left then, and `runMicrovm` throws the signal's reason. */
  readonly signal: AbortSignal;
}

/** What came of a run. */
export interface MicrovmResult {
  /** Every check held. */
  readonly ok: boolean;
  /** What should hold, and whether it did. */
  readonly checks: readonly Check[];
  /** What the device did. */
  readonly summary: Summary;
  /** Transfers that the guest measured. */
  readonly transfers: readonly Transfer[];
  /** The guest's kernel, as it says it. */
  readonly kernel: string | undefined;
  /** Version of QEMU. */
  readonly qemu: string;
  /** How often the guest started again. */
  readonly reboots: number;
  /** How long each part took. */
  readonly seconds: { readonly provision: number; readonly guest: number; readonly total: number };
}

/** How long a kernel that panics may go on printing why. */
const PANIC_MS = 1000;

/** What was seen of a guest. */
interface GuestRun {
  /** What it said, as far as it was meant for us. */
  readonly events: readonly GuestEvent[];
  readonly end: MachineEnd;
  readonly summary: Summary;
  readonly reboots: number;
  /** Why there is less of a trace than there should be. */
  readonly recordingFailure: string | undefined;
}

/**
 * Runs a guest to its end. Throws an `EnvironmentError` when it cannot start, `SystemError` when the host refuses something,
 * and the signal's reason.
 */
export async function runMicrovm(options: MicrovmOptions): Promise<MicrovmResult> {
  const began = performance.now();
  const { progress, signal } = options;
  if (options.hugePages) await checkHugePages(options.memoryMiB);
  const parts = await provision({ ...options.parts, progress, signal });
  const provisioned = performance.now();
  using directory = await RuntimeDirectory.make();
  using working = parts.disk.input ? await workingDisk(parts) : undefined;
  const imagePath = working?.path ?? parts.disk.path;
  const commandLine = commandLineOf(options);
  const assign = (options.assign ?? []).map((name) => hostDevice(name));
  const plan = planMachine({ ...options, assign, commandLine }, parts, directory, imagePath);
  const run = await runGuest(options, parts, plan, directory);
  const ended = performance.now();
  const expected: Expectations = {
    actions: options.actions,
    commandLine,
    input: parts.disk.input,
    disk: plan.disk,
    fault: { streamId: plan.dmaTest.streamId, iova: FAULT_IOVA },
  };
  const checks = await judge(options, parts, expected, imagePath, run);
  const { events, summary, reboots } = run;
  return {
    ok: checks.every(({ ok }) => ok),
    checks,
    summary,
    transfers: transfersOf(events),
    kernel: events.find((event) => event.kind === "kernel")?.release,
    qemu: parts.qemu.version,
    reboots,
    seconds: {
      provision: (provisioned - began) / 1000,
      guest: (ended - provisioned) / 1000,
      total: (performance.now() - began) / 1000,
    },
  };
}

/** Runs the devices and the machine until the machine ends; nothing of either is left. */
async function runGuest(
  options: MicrovmOptions,
  parts: Provisioned,
  plan: MachinePlan,
  directory: RuntimeDirectory,
): Promise<GuestRun> {
  const { progress, signal } = options;
  const told = guestWords(parts, { ...options, commandLine: plan.machine.commandLine });
  await using recording = options.record && new Recording(options.record, told, progress);
  await using devices = await DeviceThread.start(
    { ...plan.devices, ...(recording ? { recording: recording.configuration } : {}) },
    progress,
  );
  progress(`Starting QEMU ${parts.qemu.version} with ${parts.kernel.path}`);
  await using guest = await launch({
    tools: { qemu: parts.qemu.tool, dtc: parts.tools.dtc },
    machine: plan.machine,
    directory,
    console: options.interactive ? "inherit" : "lines",
    signal,
  });
  if (plan.machine.smmuMemorySocketPath) {
    devices.showBy((areMemory) => guest.showRegisters(areMemory));
  }
  if (options.rootPorts) {
    const slots = plan.machine.endpoints.map(({ slot }) => slot);
    devices.follow(() => guest.streamIdsBehind(slots));
    devices.unplugBy((at, isLast) => guest.unplug(slots[at], isLast));
  }
  devices.ended.then((failure) => {
    if (failure !== undefined) progress(failure);
    guest.stop();
  });
  const { events, end } = await watch(guest, options);
  const summary = devices.counters.summary();
  await devices.stop();
  const recordingFailure = await recording?.finish();
  signal.throwIfAborted();
  return { events, end, summary, reboots: guest.reboots, recordingFailure };
}

/** Reads the console until the machine ends, its kernel panics, or its time is over. */
async function watch(
  guest: Machine,
  options: MicrovmOptions,
): Promise<{ events: GuestEvent[]; end: MachineEnd }> {
  const parser = new GuestConsole();
  const events: GuestEvent[] = [];
  const { promise: given, resolve } = Promise.withResolvers<MachineEnd>();
  const giveUp = (message: string): void => resolve({ cause: "failed", message });
  const { timeoutSeconds } = options;
  let timer = setTimeout(() => {
    const { reboots } = guest;
    const count = reboots === 1 ? "once" : `${reboots} times`;
    const note = reboots === 0 ? "" : `; it rebooted ${count}`;
    giveUp(`The guest did not end within ${timeoutSeconds} seconds${note}`);
  }, timeoutSeconds * 1000);
  const reading = (async (): Promise<void> => {
    for await (const line of guest.console) {
      options.console(line);
      const event = parser.push(line);
      if (event === undefined) continue;
      events.push(event);
      options.heard?.(event);
      if (event.kind === "turn") options.turn?.().then(() => guest.type(""));
      if (event.kind !== "panic") continue;
      clearTimeout(timer);
      timer = setTimeout(() => giveUp(`Kernel panic: ${event.reason}`), PANIC_MS);
    }
  })();
  try {
    const end = await Promise.race([guest.ended, given, reading.then(() => guest.ended)]);
    await guest.stop();
    await reading;
    return { events, end };
  } finally {
    clearTimeout(timer);
  }
}

async function judge(
  options: MicrovmOptions,
  parts: Provisioned,
  expected: Expectations,
  imagePath: string,
  { events, end, summary, recordingFailure }: GuestRun,
): Promise<Check[]> {
  const checks: Check[] = [{
    name: "The guest powered off",
    ok: end.cause === "power-off",
    seen: end.cause === "failed" ? end.message : end.cause,
  }];
  if (recordingFailure !== undefined) {
    checks.push({ name: "The trace is whole", ok: false, seen: recordingFailure });
  }
  // Someone else's initramfs does not speak to us, and a person at the console needs no judge.
  if (options.parts.initrd !== undefined || options.interactive) return checks;
  checks.unshift(...checkGuest(events, expected));
  if (expected.actions.includes("disk") && expected.input !== undefined) {
    checks.push(...await checkImage(parts, imagePath, events, options.signal));
  }
  checks.push(...checkDevice(summary, expected), ...await options.judge?.(events, summary) ?? []);
  return checks;
}

async function checkImage(
  parts: Provisioned,
  imagePath: string,
  events: readonly GuestEvent[],
  signal: AbortSignal,
): Promise<Check[]> {
  const [isClean, found] = await attempt(async () => {
    await checkFileSystem(parts.tools, imagePath, signal);
    return "e2fsck finds nothing";
  });
  const [isThere, digest] = await attempt(async () =>
    (await readBack(parts.tools, imagePath, "/data/output.bin", signal)).sha256
  );
  return [
    { name: "The file system of the image is clean", ok: isClean, seen: found },
    isThere
      ? checkOutput(events, digest)
      : { name: "The file that the guest wrote is in the image", ok: false, seen: digest },
  ];
}

/** What an action found, or why it could not. */
async function attempt(action: () => Promise<string>): Promise<[boolean, string]> {
  try {
    return [true, await action()];
  } catch (error) {
    if (!(error instanceof EnvironmentError)) throw error;
    return [false, [error.message, ...error.toolLines].join("; ")];
  }
}
