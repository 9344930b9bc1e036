/**
 * QEMU without a guest: its own SMMUv3 with functions that make DMA and, behind another root, ours over vfio-user. All of it
 * is reached through the qtest socket. QEMU `docs/devel/testing/qtest.rst`.
 * @module
 */
import type { Fd } from "../../uapi/fd.ts";
import { Mapping } from "../../uapi/mapping.ts";
import { createMemfd } from "../../uapi/memfd.ts";
import { EnvironmentError } from "../environment_error.ts";
import { vfioUser } from "../qemu/machine_arguments.ts";
import { qemuFeatures } from "../qemu/qemu_features.ts";
import { describeEnd, QemuProcess, tiedToUs } from "../qemu/qemu_process.ts";
import { Qmp } from "../qemu/qmp.ts";
import { Qtest } from "../qemu/qtest.ts";
import type { RuntimeDirectory } from "../qemu/runtime_directory.ts";
import type { Tool } from "../tool.ts";
import { BusSubject, type FunctionPlace } from "./bus_subject.ts";
import { RAM, READERS, WINDOW, WRITERS } from "./ground.ts";
import type { Subject } from "./subject.ts";

/** Sockets of our functions, to be had in the same QEMU. */
export interface OwnSockets {
  readonly smmu: string;
  /** Those of the functions by StreamID. */
  readonly functions: ReadonlyMap<number, string>;
  /** Counts looks at the registers, where they are memory. */
  readonly looks?: Int32Array<SharedArrayBuffer> | undefined;
}

/** What a peer is started with. */
export interface PeerOptions {
  readonly qemu: Tool;
  readonly directory: RuntimeDirectory;
  readonly own?: OwnSockets | undefined;
  readonly signal?: AbortSignal | undefined;
}

/** QEMU puts the first device of its platform bus there. `hw/arm/virt.c` */
const PEER_SMMU = 0x0c00_0000;
const ECAM = 0x40_1000_0000;
/** Windows of 1 MiB in which BARs are put. */
const PEER_BARS = 0x1000_0000;
const OWN_BARS = 0x2000_0000;
const UNIT = 0x10_0000;

const COMMAND = 0x04;
const BAR0 = 0x10;
const BAR1 = 0x14;
const BUS_NUMBERS = 0x18;
const MEMORY_WINDOW = 0x20;
const MEMORY_AND_MASTER = 6;

/** Bus of the expander behind which our functions are; one root port for each. */
const EXPANDER_BUS = 0x80;
const START_MS = 30_000;
const RESET_MS = 10_000;
const END_MS = 5_000;

/** A running QEMU. */
export class Peer implements AsyncDisposable {
  /** QEMU's SMMUv3. */
  readonly theirs: Subject;
  /** Ours in the same QEMU, where its sockets were given. */
  readonly ours: Subject | undefined;

  readonly #process: QemuProcess;
  readonly #qmp: Qmp;
  readonly #qtest: Qtest;
  readonly #memory: Mapping;
  readonly #file: Fd;
  readonly #setUp: readonly string[];

  private constructor(
    process: QemuProcess,
    qmp: Qmp,
    qtest: Qtest,
    memory: Mapping,
    file: Fd,
    own: OwnSockets | undefined,
  ) {
    this.#process = process;
    this.#qmp = qmp;
    this.#qtest = qtest;
    this.#memory = memory;
    this.#file = file;
    this.#setUp = setUpCommands(own);
    const window = new Uint8Array(memory.buffer, WINDOW.base - RAM.base, WINDOW.sizeBytes);
    const common = { qtest, window, reset: (): Promise<void> => this.#reset() };
    this.theirs = new BusSubject({
      ...common,
      name: "QEMU's",
      smmu: PEER_SMMU,
      functions: peerPlaces(),
      clockStepNs: 101_000_000,
      isPosted: false,
    });
    this.ours = own && new BusSubject({
      ...common,
      name: "ours",
      smmu: OWN_BARS,
      functions: ownPlaces(own),
      clockStepNs: 0,
      isPosted: true,
      looks: own.looks,
    });
  }

  /** Starts QEMU. Throws an `EnvironmentError` when it cannot, or ends at once. */
  static async start({ qemu, directory, own, signal }: PeerOptions): Promise<Peer> {
    const features = await qemuFeatures(qemu, signal);
    const file = createMemfd("differential", RAM.sizeBytes);
    const memory = new Mapping(file, { offset: 0, sizeBytes: RAM.sizeBytes, writable: true });
    const paths = { qmp: directory.file("qmp.sock"), qtest: directory.file("qtest.sock") };
    for (const path of Object.values(paths)) await Deno.remove(path).catch(() => {});
    const args = peerArguments(`/proc/${Deno.pid}/fd/${file.number}`, paths, own);
    if (features.canExitWithParent) args.push("-run-with", "exit-with-parent=on");
    const process = QemuProcess.start(await tiedToUs(qemu, features), args);
    const gone = new AbortController();
    process.exited.then((status) =>
      gone.abort(new EnvironmentError(`Cannot start QEMU: ${describeEnd(process, status)}`))
    );
    const until = signal ? AbortSignal.any([signal, gone.signal]) : gone.signal;
    let peer: Peer | undefined;
    try {
      const connection = { timeoutMs: START_MS, signal: until };
      const qmp = await Qmp.connect(paths.qmp, connection);
      const qtest = await Qtest.connect(paths.qtest, connection);
      peer = new Peer(process, qmp, qtest, memory, file, own);
      await peer.theirs.reset();
      await peer.#check();
      return peer;
    } catch (error) {
      process.kill("SIGKILL");
      const status = await process.exited;
      if (peer !== undefined) await peer[Symbol.asyncDispose]();
      else {
        memory[Symbol.dispose]();
        file[Symbol.dispose]();
      }
      signal?.throwIfAborted();
      if (process.lastWords === "") throw error;
      throw new EnvironmentError(`Cannot start QEMU: ${describeEnd(process, status)}`);
    }
  }

  /** How it ended, if it has within a moment: a guest can end QEMU by what it writes. */
  async end(): Promise<string | undefined> {
    const timeout = Promise.withResolvers<undefined>();
    const timer = setTimeout(() => timeout.resolve(undefined), 2000);
    try {
      const status = await Promise.race([this.#process.exited, timeout.promise]);
      return status && describeEnd(this.#process, status);
    } finally {
      clearTimeout(timer);
    }
  }

  /** Ends QEMU. Safe to repeat. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.#qmp.execute("quit").catch(() => {});
    const timer = setTimeout(() => this.#process.kill("SIGKILL"), END_MS);
    await this.#process.exited;
    clearTimeout(timer);
    await this.#qtest.close();
    await this.#qmp.close();
    this.#memory[Symbol.dispose]();
    this.#file[Symbol.dispose]();
  }

  async #reset(): Promise<void> {
    await Promise.all([this.#qmp.next("RESET", RESET_MS), this.#qmp.execute("system_reset")]);
    await this.#qtest.batch(this.#setUp);
  }

  async #check(): Promise<void> {
    const [idr0] = await this.theirs.perform([{ kind: "read", offset: 0 }]);
    if ((idr0 & 3) !== 3) {
      throw new EnvironmentError(
        `Cannot use this QEMU: IDR0 of its SMMUv3 is 0x${idr0.toString(16)}, without both stages`,
      );
    }
  }
}

function peerArguments(
  memoryPath: string,
  paths: { readonly qmp: string; readonly qtest: string },
  own: OwnSockets | undefined,
): string[] {
  const size = `${RAM.sizeBytes / 0x10_0000}M`;
  const device = (text: string): string[] => ["-device", text];
  const at = (stream: number): string => `bus=pcie.0,addr=${(stream >>> 3).toString(16)}`;
  return [
    ...["-nodefaults", "-no-user-config", "-display", "none", "-accel", "qtest"],
    ...["-machine", "virt,gic-version=2,memory-backend=ram", "-m", size],
    ...["-object", `memory-backend-file,id=ram,size=${size},mem-path=${memoryPath},share=on`],
    ...device("arm-smmuv3,primary-bus=pcie.0,stage=nested"),
    ...WRITERS.flatMap((stream) => device(`iommu-testdev,${at(stream)}`)),
    ...READERS.flatMap((stream) => device(`edu,${at(stream)},dma_mask=0xffffffffffffffff`)),
    ...(own === undefined ? [] : ownArguments(own)),
    ...["-qmp", `unix:${paths.qmp},server=on,wait=off`],
    ...["-qtest", `unix:${paths.qtest},server=on,wait=off`, "-qtest-log", "none"],
  ];
}

function ownArguments(own: OwnSockets): string[] {
  const expander = `pxb-pcie,id=own,bus=pcie.0,addr=1f,bus_nr=${EXPANDER_BUS}`;
  return [
    ...["-device", expander],
    ...ownPaths(own).flatMap((path, i) => [
      ...["-device", `pcie-root-port,id=port${i},bus=own,addr=${i + 1},chassis=1,slot=${i + 1}`],
      ...["-device", vfioUser(`port${i}`, "0", path)],
    ]),
  ];
}

/** The SMMU, then its functions. */
function ownPaths({ smmu, functions }: OwnSockets): string[] {
  return [smmu, ...functions.values()];
}

function peerPlaces(): Map<number, FunctionPlace> {
  const places = [...WRITERS, ...READERS].map((stream, i) =>
    [stream, { bar: PEER_BARS + i * UNIT, config: ECAM + stream * 0x1000 }] as const
  );
  return new Map(places);
}

function ownPlaces({ functions }: OwnSockets): Map<number, FunctionPlace> {
  const places = [...functions.keys()].map((stream, i) =>
    [stream, {
      bar: OWN_BARS + (i + 1) * UNIT,
      config: ECAM + (EXPANDER_BUS + 2 + i) * UNIT,
    }] as const
  );
  return new Map(places);
}

/** What firmware would do: buses get their numbers and windows, functions their addresses. */
function setUpCommands(own: OwnSockets | undefined): string[] {
  const lines: string[] = [];
  const write = (width: "w" | "l", gpa: number, value: number): void => {
    lines.push(`write${width} 0x${gpa.toString(16)} 0x${value.toString(16)}`);
  };
  const enable = ({ bar, config }: FunctionPlace): void => {
    write("l", config + BAR0, bar);
    write("w", config + COMMAND, MEMORY_AND_MASTER);
  };
  for (const place of peerPlaces().values()) enable(place);
  if (own === undefined) return lines;
  ownPaths(own).forEach((_, i) => {
    const bus = EXPANDER_BUS + 1 + i;
    const port = ECAM + EXPANDER_BUS * UNIT + (i + 1) * 0x8000;
    const bar = OWN_BARS + i * UNIT;
    const window = bar >>> 16 & 0xfff0;
    write("l", port + BUS_NUMBERS, bus << 16 | bus << 8 | EXPANDER_BUS);
    write("l", port + MEMORY_WINDOW, (window << 16 | window) >>> 0);
    write("w", port + COMMAND, MEMORY_AND_MASTER);
    const config = ECAM + bus * UNIT;
    write("l", config + BAR1, 0);
    enable({ bar, config });
  });
  return lines;
}
