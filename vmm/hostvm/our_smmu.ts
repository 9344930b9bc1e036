/**
 * Our own device as the hardware of the Host VM: its SMMUv3 with DMA test devices behind it, served to QEMU, described to
 * the server's kernel in a device tree, and put into its place before that kernel starts.
 * @module
 */
import type { Features } from "../../hw/smmuv3/features.ts";
import type { Summary } from "../counters.ts";
import { DeviceThread } from "../device_thread.ts";
import type { CarriageAddresses } from "../qemu/carriage.ts";
import { makeDeviceTree } from "../qemu/device_tree.ts";
import {
  boardArguments,
  controlArguments,
  endpointSlots,
  functionArguments,
  kernelCommandLine,
  type MachineConfiguration,
  memoryBackend,
} from "../qemu/machine_arguments.ts";
import { MachineControl } from "../qemu/machine_control.ts";
import { RuntimeDirectory } from "../qemu/runtime_directory.ts";
import type { HostVmProvisions } from "./provision.ts";

/**
 * What the server's kernel finds: nesting wants both stages, dirty pages HTTU, processes SubstreamIDs, and functions that
 * translate for themselves ATS.
 */
export const SERVER_FEATURES: Partial<Features> = {
  stage2: true,
  vmid16: true,
  hyp: true,
  xnx: true,
  granule16K: true,
  granule64K: true,
  vax: true,
  ssidSize: 20,
  twoLevelContextTable: true,
  httu: 2,
  stallModel: 0,
  stallMax: 16,
  ats: true,
  pri: true,
};

/**
 * DMA test devices behind it: one whose transfers wait, which a guest of the server is given, and one that translates for
 * itself and asks for pages. Both in one would be an STE that the architecture has as invalid, by EATS and S2S.
 */
const DEVICES: readonly { readonly ats: boolean; readonly stalls: boolean }[] = [
  { ats: false, stalls: true },
  { ats: true, stalls: false },
];
const PASID_WIDTH = 16;

/**
 * A processor that shares all of its address spaces with this SMMU: 48 bits, and neither FEAT_BBM nor FEAT_HAFT, as `max`
 * has. Without that Linux 7.3 makes no queue for page faults, and follows a null pointer when a HWPT with a fault queue is
 * attached to a function that stalls (`arm_smmu_sva_supported()`, `arm_smmu_enable_iopf()`).
 */
const CPU = "neoverse-n1";
const START_MS = 60_000;

/** Without an ITS nothing keeps one function from another's interrupts, and VFIO wants to be told that it may go on. */
const SERVER_WORDS = "iommufd.allow_unsafe_interrupts=1";

/** The board around it. */
export interface OurSmmuOptions {
  readonly cpuCount: number;
  readonly memoryMiB: number;
  /** Takes lines for people. */
  readonly log: (line: string) => void;
  readonly signal: AbortSignal;
}

/** A device that waits for its QEMU, until disposed. */
export class OurSmmu implements AsyncDisposable {
  /** QEMU's arguments for the board, without a kernel; functions without an address follow them. */
  readonly boardArguments: readonly string[];
  /** What the kernel's command line needs for it. */
  readonly words: string;
  /** Resolves with what went wrong in the device, or with nothing when it was disposed. */
  readonly ended: Promise<string | undefined>;

  readonly #devices: DeviceThread;
  readonly #addresses: CarriageAddresses;
  readonly #sockets: { readonly qmp: string; readonly qtest: string };
  readonly #stack: AsyncDisposableStack;
  #control: MachineControl | undefined;

  private constructor(
    machine: MachineConfiguration,
    deviceTree: string,
    sockets: { readonly qmp: string; readonly qtest: string },
    addresses: CarriageAddresses,
    devices: DeviceThread,
    stack: AsyncDisposableStack,
  ) {
    this.boardArguments = [
      ...boardArguments(machine, ",memory-backend=ram"),
      ...["-object", memoryBackend(machine)],
      ...["-dtb", deviceTree],
      ...functionArguments(machine),
      ...controlArguments(sockets),
    ];
    this.words = kernelCommandLine(machine);
    this.ended = devices.ended;
    this.#sockets = sockets;
    this.#addresses = addresses;
    this.#devices = devices;
    this.#stack = stack;
  }

  /** Serves it and writes the device tree. Throws an `EnvironmentError`, or the signal's reason. */
  static async start(
    { qemu, tools }: Pick<HostVmProvisions, "qemu" | "tools">,
    { cpuCount, memoryMiB, log, signal }: OurSmmuOptions,
  ): Promise<OurSmmu> {
    await using stack = new AsyncDisposableStack();
    const directory = stack.use(await RuntimeDirectory.make());
    const endpoints = endpointSlots(DEVICES.length).map((slot, at) => ({
      slot,
      streamId: slot * 8,
      socketPath: directory.file(`dma${slot}.sock`),
      ...DEVICES[at],
    }));
    const machine: MachineConfiguration = {
      board: { accelerator: "tcg", cpu: CPU, gicVersion: "3", virtualization: true },
      cpuCount,
      memoryMiB,
      kernelPath: "",
      commandLine: SERVER_WORDS,
      smmuSocketPath: directory.file("smmu.sock"),
      endpoints,
      foreignFunctions: true,
      ats: true,
    };
    const devices = stack.use(
      await DeviceThread.start({
        smmuSocketPath: machine.smmuSocketPath,
        features: SERVER_FEATURES,
        iommufd: "none",
        endpoints: endpoints.map((endpoint) => ({
          ...endpoint,
          kind: "dma-test",
          pasidWidth: PASID_WIDTH,
        })),
      }, log),
    );
    const deviceTree = directory.file("server.dtb");
    const both = { qemu: qemu.tool, dtc: tools.dtc };
    const addresses = await makeDeviceTree(both, machine, deviceTree, signal);
    const sockets = { qmp: directory.file("qmp.sock"), qtest: directory.file("qtest.sock") };
    return new OurSmmu(machine, deviceTree, sockets, addresses, devices, stack.move());
  }

  /** Puts it into its place in a QEMU that was started with the arguments, and lets that run. Throws an `EnvironmentError`. */
  async release(signal: AbortSignal): Promise<void> {
    const connection = { timeoutMs: START_MS, signal };
    this.#control = await MachineControl.start(this.#sockets, this.#addresses, "end", connection);
  }

  /** What it did up to now. */
  summary(): Summary {
    return this.#devices.counters.summary();
  }

  /** Ends the device, and QEMU with it; its sockets are gone then. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.#control?.quit();
    await this.#stack.disposeAsync();
  }
}
