/**
 * The composition root: one configuration in, wired devices out.
 * @module
 */
import type { DmaPort, IrqLine, Requester } from "../hw/device.ts";
import { DmaTestDevice } from "../hw/endpoints/dma_test_device.ts";
import { VirtioBlk } from "../hw/endpoints/virtio_blk.ts";
import { VirtioPci } from "../hw/endpoints/virtio_pci.ts";
import { GuestRam } from "../hw/guest_memory.ts";
import type { PciFunction } from "../hw/pci/function.ts";
import { RegisterCarrier } from "../hw/pci/register_carrier.ts";
import { type Features, features } from "../hw/smmuv3/features.ts";
import { SmmuV3 } from "../hw/smmuv3/smmuv3.ts";
import { ERRNO } from "../uapi/errno.ts";
import type { Poller } from "../uapi/poll.ts";
import type { Counters } from "./counters.ts";
import { EmbeddedIommu } from "./embedded_iommu.ts";
import { EnvironmentError } from "./environment_error.ts";
import { FileBlockStore } from "./file_block_store.ts";
import { GuestRamMap } from "./guest_ram_map.ts";
import type { HostIdentity } from "./host_iommu/host_identity.ts";
import { KernelIommu, offerOf } from "./kernel_iommu.ts";
import type { IommufdObserver } from "./iommufd/observed.ts";
import type { Source } from "./iommufd/model/area.ts";
import { goodHost } from "./iommufd/model/arm_smmuv3.ts";
import { DeferredWork } from "./deferred_work.ts";
import { type TraceHeader, VERSION } from "./trace/format.ts";
import { Recorder } from "./trace/recorder.ts";
import { TextRing } from "./trace/ring.ts";
import { AssignedFunction } from "./vfio/assigned_function.ts";
import { decidePasid, type PasidChoice } from "./vfio/pasid_choice.ts";
import { DmaWriteMsi } from "./vfio_user/dma_write_msi.ts";
import { Intx } from "./vfio_user/intx.ts";
import { LineLimiter, type LineLimits } from "./vfio_user/line_limiter.ts";
import {
  type VfioUserObserver,
  VfioUserServer,
  type VfioUserServerOptions,
} from "./vfio_user/server.ts";

/** Which iommufd is behind the SMMU. */
export type IommufdKind = "model" | "kernel" | "none";

/** How an endpoint interrupts. */
export type InterruptKind = "msix" | "intx";

/** An endpoint behind the SMMU. */
export type EndpointConfiguration =
  & {
    /** Where its vfio-user server listens. */
    readonly socketPath: string;
    /** Its StreamID. */
    readonly streamId: number;
  }
  & (
    | {
      readonly kind: "virtio-blk";
      /** Path of a raw image. */
      readonly imagePath: string;
      readonly readOnly?: boolean;
      readonly interrupts: InterruptKind;
    }
    | {
      readonly kind: "dma-test";
      /** Bits of its PASIDs; it has none when absent. */
      readonly pasidWidth?: number;
    }
    | {
      readonly kind: "vfio";
      /** Character device of a function of the host; wants the kernel's iommufd. */
      readonly devicePath: string;
      /** Whether the guest is shown a PASID capability; `auto` by default. */
      readonly pasid?: PasidChoice;
    }
  );

/** Devices to be served. Plain data: it crosses threads. */
export interface DeviceConfiguration {
  /** Where the vfio-user server of the function that carries the SMMU listens; in a private directory, as all sockets. */
  readonly smmuSocketPath: string;
  /** Choices among the features of the SMMU. */
  readonly features?: Partial<Features>;
  /**
   * To whom the SMMU hands its tables: an iommufd in this process, that of the kernel for the functions of the host, or
   * nobody. It translates itself for the other endpoints.
   */
  readonly iommufd?: IommufdKind;
  /** Where what passes its doors is recorded. */
  readonly recording?: RecordingConfiguration;
  /** What is behind it. */
  readonly endpoints: readonly EndpointConfiguration[];
}

/** Where a recording goes. */
export interface RecordingConfiguration {
  /** Memory of the {@linkcode TextRing}. */
  readonly ring: SharedArrayBuffer;
  /** What the header says of the guest. */
  readonly guest: Readonly<Record<string, string>>;
  /** Payload too. */
  readonly payload: boolean;
}

/** What the devices need of their thread. */
export interface DeviceSurroundings {
  /** The loop that serves the sockets. */
  readonly poller: Poller;
  /** Watches the SMMU. */
  readonly counters: Counters;
  /** Takes one line for people. */
  readonly log: (line: string) => void;
}

const LOG2_TLB_SETS = 10;
/** Quads that a reader of a trace remembers: 24 MiB of its memory. */
const LOG2_KNOWN = 20;

/** What a guest may make hardware refuse, again and again. */
const HARDWARE_LOG: LineLimits = { burst: 8, refillMs: 5000, now: () => performance.now() };

/** What a broken image may say: a guest tries again, and with every sector. */
const STORE_LOG: LineLimits = { burst: 4, refillMs: 5000, now: () => performance.now() };

/** An SMMUv3 and the endpoints behind it, listening on their sockets until disposed. */
export class DeviceMachine implements Disposable {
  readonly #ram = new GuestRam();
  readonly #ramMap: GuestRamMap;
  readonly #surroundings: DeviceSurroundings;
  readonly #later: DeferredWork;
  #recorder: Recorder | undefined;
  readonly #smmu: SmmuV3;
  readonly #hardware: Hardware | undefined;
  readonly #stack = new DisposableStack();

  /** Throws `SystemError` for a socket or image that cannot be opened, `RangeError` for features that cannot be. */
  constructor(configuration: DeviceConfiguration, surroundings: DeviceSurroundings) {
    using stack = new DisposableStack();
    this.#surroundings = surroundings;
    this.#ramMap = new GuestRamMap(this.#ram, { log: surroundings.log });
    this.#later = stack.use(new DeferredWork(surroundings.poller));
    const assigned = configuration.endpoints.filter(isAssigned);
    const host = assigned.length === 0
      ? undefined
      : offerOf(assigned[0].devicePath, configuration.features);
    const chosen = host?.features ?? features(configuration.features);
    this.#recorder = startRecording(configuration, chosen, host?.identity, stack);
    const make = (): [SmmuV3, Hardware | undefined] => {
      const hardware = this.#makeHardware(configuration, chosen, stack);
      return [this.#makeSmmu(configuration, chosen, hardware, stack), hardware];
    };
    const isStarted = configuration.iommufd !== "none" && this.#recorder !== undefined;
    [this.#smmu, this.#hardware] = isStarted ? this.#recorder!.start(make) : make();
    for (const endpoint of configuration.endpoints) this.#makeEndpoint(endpoint, stack);
    this.#stack = stack.move();
  }

  /** Ends all connections, and removes the sockets. */
  [Symbol.dispose](): void {
    this.#stack[Symbol.dispose]();
  }

  /** What an iommufd is asked is counted and recorded. */
  #makeHardware(
    { iommufd, endpoints }: DeviceConfiguration,
    chosen: Features,
    stack: DisposableStack,
  ): Hardware | undefined {
    if (iommufd === "none" || iommufd === undefined) return undefined;
    const { counters, log, poller } = this.#surroundings;
    const recorder = this.#recorder;
    const limiter = new LineLimiter(log, HARDWARE_LOG);
    const recorded = recorder?.iommufd();
    const common = {
      features: chosen,
      calls: (...[name, args, errno, result]: Parameters<IommufdObserver>): void => {
        counters.iommufdCall(name, errno, result);
        // What is read from the kernel's queue is recorded as events when they pass on.
        if (iommufd !== "kernel" || name !== "read") recorded?.(name, args, errno, result);
      },
      log: (line: string): void => limiter.line(`iommufd: ${line}`),
    };
    const hardware = iommufd === "kernel"
      ? new KernelIommu({ ...common, poller, streams: endpoints.filter(isAssigned) })
      : new EmbeddedIommu({
        ...common,
        memory: recorder?.memory(this.#ram) ?? this.#ram,
        pin: (source) => this.#pin(source),
        streams: endpoints.map(({ streamId }) => streamId),
        observer: counters,
        log2tlbSets: LOG2_TLB_SETS,
      });
    const { stageTwo } = stack.use(hardware).host;
    this.#ramMap.mirrorTo(recorder?.ram(stageTwo) ?? stageTwo);
    return hardware;
  }

  /** Guest RAM is what devices see: its model physical addresses are the guest's. */
  #pin(source: Source): number {
    const gpa = source.kind === "file"
      ? this.#ramMap.locate({ number: source.fd }, Number(source.start))
      : undefined;
    return gpa ?? -ERRNO.EFAULT;
  }

  #makeSmmu(
    { smmuSocketPath }: DeviceConfiguration,
    chosen: Features,
    hardware: Hardware | undefined,
    stack: DisposableStack,
  ): SmmuV3 {
    const { counters } = this.#surroundings;
    const intx = new Intx();
    const msi = new DmaWriteMsi();
    const pulse: IrqLine = { pulse: () => carrier.interrupt.pulse(), set: () => {} };
    const recorder = this.#recorder;
    const smmu: SmmuV3 = new SmmuV3({
      memory: recorder?.memory(this.#ram) ?? this.#ram,
      features: chosen,
      lines: {
        eventq: recorder?.wire("eventq", pulse) ?? pulse,
        gerror: recorder?.wire("gerror", pulse) ?? pulse,
      },
      msi: recorder?.msi(msi) ?? msi,
      host: hardware?.host,
      observer: counters,
      log2tlbSets: LOG2_TLB_SETS,
    });
    const event = (words: Uint32Array): void => smmu.hostEvent(words);
    const passed = hardware instanceof KernelIommu
      ? recorder?.hardwareEvent(event) ?? event
      : event;
    hardware?.host.listen((words) => {
      passed(words);
      counters.hostEvents(hardware.host.events.passed, hardware.host.events.lost);
    });
    const reset = (): void => smmu.reset();
    const carrier = new RegisterCarrier({
      name: "smmu",
      device: recorder?.device(smmu) ?? smmu,
      irq: intx,
      resetDevice: recorder?.reset(reset) ?? reset,
    });
    this.#serve(carrier, smmuSocketPath, { intx, msi }, stack, {
      barRead: (_bar, offset) => counters.access(false, offset),
      barWrite: (_bar, offset) => counters.access(true, offset),
    });
    return smmu;
  }

  #makeEndpoint(endpoint: EndpointConfiguration, stack: DisposableStack): void {
    const intx = new Intx();
    const msi = new DmaWriteMsi();
    const requester: Requester = { streamId: endpoint.streamId, substreamId: -1 };
    const messages = this.#recorder?.msi(msi) ?? msi;
    const port = this.#hardware?.port(endpoint.streamId, messages) ?? this.#smmu.port(messages);
    const dma = this.#recorder?.dma(port) ?? port;
    if (endpoint.kind === "vfio") {
      const assigned = this.#makeAssigned(endpoint, requester, dma, intx, stack);
      const { mapped } = assigned;
      return this.#serve(assigned, endpoint.socketPath, { intx, msi, mapped }, stack);
    }
    const pci = endpoint.kind === "virtio-blk"
      ? this.#makeDisk(endpoint, requester, dma, intx, stack)
      : new DmaTestDevice({ ...endpoint, requester, dma, memory: this.#ram });
    this.#serve(pci, endpoint.socketPath, { intx, msi }, stack);
  }

  #makeAssigned(
    { devicePath, pasid = "auto" }: AssignedEndpoint,
    requester: Requester,
    dma: DmaPort,
    irq: Intx,
    stack: DisposableStack,
  ): AssignedFunction {
    const { poller, log } = this.#surroundings;
    const limiter = new LineLimiter(log, HARDWARE_LOG);
    const name = devicePath.slice(devicePath.lastIndexOf("/") + 1);
    const found = this.#hardware?.deviceAt(devicePath);
    if (found === undefined) {
      throw new EnvironmentError(
        `Cannot give ${devicePath} to a guest: only the kernel's iommufd has functions of the host`,
      );
    }
    return stack.use(
      new AssignedFunction({
        name,
        host: found.device.vfio,
        pasid: decidePasid(pasid, found.info, this.#smmu.features.ssidSize),
        requester,
        dma,
        irq,
        poller,
        log: (line) => limiter.line(`${name}: ${line}`),
      }),
    );
  }

  #makeDisk(
    disk: Extract<EndpointConfiguration, { kind: "virtio-blk" }>,
    requester: Requester,
    dma: DmaPort,
    irq: IrqLine,
    stack: DisposableStack,
  ): VirtioPci {
    const limiter = new LineLimiter(this.#surroundings.log, STORE_LOG);
    const { imagePath, readOnly = false } = disk;
    const log = (line: string): void => limiter.line(`virtio-blk: ${line}`);
    const store = stack.use(new FileBlockStore(imagePath, log, { readOnly }));
    return new VirtioPci({
      device: new VirtioBlk({ store, readOnly, serial: "vsmmu" }),
      requester,
      dma,
      irq,
      // QEMU would take a table that it sees for itself and send messages past the SMMU.
      msix: disk.interrupts === "msix" ? "disguised" : "absent",
      later: (work) => this.#later.add(work),
    });
  }

  #serve(
    pci: PciFunction,
    socketPath: string,
    connections: Pick<VfioUserServerOptions, "intx" | "msi" | "mapped">,
    stack: DisposableStack,
    observer: VfioUserObserver = {},
  ): void {
    const { poller, log } = this.#surroundings;
    const guestRam = this.#ramMap;
    const server = new VfioUserServer(pci, {
      ...connections,
      socketPath,
      guestRam,
      log,
      observer,
    });
    stack.use(server).register(poller);
  }
}

/** Hardware of either kind. */
type Hardware = EmbeddedIommu | KernelIommu;

type AssignedEndpoint = Extract<EndpointConfiguration, { kind: "vfio" }>;

function isAssigned(endpoint: EndpointConfiguration): endpoint is AssignedEndpoint {
  return endpoint.kind === "vfio";
}

function startRecording(
  { recording, iommufd, endpoints }: DeviceConfiguration,
  chosen: Features,
  host: HostIdentity | undefined,
  stack: DisposableStack,
): Recorder | undefined {
  if (recording === undefined) return undefined;
  const { ring, guest, payload } = recording;
  const text = new TextRing(ring);
  const began = performance.now();
  const header: TraceHeader = {
    format: "vsmmu-trace",
    version: `${VERSION.major}.${VERSION.minor}`,
    features: chosen,
    ...(iommufd === "none" || iommufd === undefined ? {} : {
      iommufd: {
        idrs: host === undefined ? goodHost() : [...host.idr, host.iidr, host.aidr],
        ...(iommufd === "kernel" ? { isKernel: true } : {}),
        streams: endpoints.filter((endpoint) => iommufd === "model" || isAssigned(endpoint))
          .map(({ streamId }) => streamId),
      },
    }),
    log2tlbSets: LOG2_TLB_SETS,
    log2known: LOG2_KNOWN,
    guest,
    began: new Date().toISOString(),
    time: "seconds since began",
    schema: "vmm/trace/FORMAT.md",
    payload,
  };
  const now = (): number => (performance.now() - began) / 1000;
  const recorder = new Recorder(header, (line) => text.write(line), now);
  stack.defer(() => {
    recorder.end();
    text.close();
  });
  return recorder;
}
