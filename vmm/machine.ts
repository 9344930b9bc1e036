/**
 * The composition root: one configuration in, wired devices out.
 * @module
 */
import type { DmaPort, IrqLine, Requester, StallableDmaPort } from "../hw/device.ts";
import { DmaTestDevice } from "../hw/endpoints/dma_test_device.ts";
import { EndpointRouter } from "../hw/endpoints/endpoint_router.ts";
import { VirtioBlk } from "../hw/endpoints/virtio_blk.ts";
import { VirtioPci } from "../hw/endpoints/virtio_pci.ts";
import { GuestRam } from "../hw/guest_memory.ts";
import type { PciFunction } from "../hw/pci/function.ts";
import { type Features, features } from "../hw/smmuv3/features.ts";
import { SmmuV3 } from "../hw/smmuv3/smmuv3.ts";
import { ERRNO } from "../uapi/errno.ts";
import type { Poller } from "../uapi/poll.ts";
import {
  type AssignedEndpoint,
  type AssignedSurroundings,
  nameOf,
  serveAssigned,
} from "./assigned_endpoint.ts";
import type { Counters } from "./counters.ts";
import type { DeviceConfiguration, EndpointConfiguration } from "./device_configuration.ts";
import { EmbeddedIommu } from "./embedded_iommu.ts";
import { EnvironmentError } from "./environment_error.ts";
import { FileBlockStore } from "./file_block_store.ts";
import { GuestRamMap } from "./guest_ram_map.ts";
import { KernelIommu, offerOf } from "./kernel_iommu.ts";
import type { IommufdObserver } from "./iommufd/observed.ts";
import type { Source } from "./iommufd/model/area.ts";
import { DeferredWork } from "./deferred_work.ts";
import { EndpointPlaces } from "./endpoint_places.ts";
import type { StreamMove } from "./host_iommu/nested.ts";
import { serveRegisters } from "./register_functions.ts";
import { RegisterPage } from "./register_page.ts";
import { modelledStreams, startRecording } from "./start_recording.ts";
import type { Recorder } from "./trace/recorder.ts";
import { DmaWriteMsi } from "./vfio_user/dma_write_msi.ts";
import { Intx } from "./vfio_user/intx.ts";
import { LineLimiter, type LineLimits } from "./vfio_user/line_limiter.ts";
import {
  type VfioUserObserver,
  VfioUserServer,
  type VfioUserServerOptions,
} from "./vfio_user/server.ts";
import type { Watched } from "./watcher.ts";

/** What the devices need of their thread. */
export interface DeviceSurroundings {
  /** The loop that serves the sockets. */
  readonly poller: Poller;
  /** Watches the SMMU. */
  readonly counters: Counters;
  /** Takes one line for people. */
  readonly log: (line: string) => void;
  /** Asks for the StreamIDs of the endpoints; `DeviceMachine.place()` is the answer. */
  readonly ask: () => void;
  /**
   * Asks the machine to take an endpoint, by its number in the configuration, from the guest; `isLast` when the guest has
   * not given it up in time.
   */
  readonly unplug: (endpoint: number, isLast: boolean) => void;
}

const LOG2_TLB_SETS = 10;

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
  readonly #places: EndpointPlaces;
  /** Endpoints that translate for themselves. */
  readonly #translating = new EndpointRouter();
  readonly #stack = new DisposableStack();
  #watched: Watched | undefined;

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
    this.#recorder = startRecording(configuration, {
      features: chosen,
      log2tlbSets: LOG2_TLB_SETS,
      host: host?.identity,
    }, stack);
    const make = (): [SmmuV3, Hardware | undefined] => {
      const hardware = this.#makeHardware(configuration, chosen, stack);
      return [this.#makeSmmu(configuration, chosen, hardware, stack), hardware];
    };
    const isStarted = configuration.iommufd !== "none" && this.#recorder !== undefined;
    [this.#smmu, this.#hardware] = isStarted ? this.#recorder!.start(make) : make();
    const move = (moves: readonly StreamMove[]): boolean => this.#move(moves);
    this.#places = new EndpointPlaces({ ask: surroundings.ask, move });
    configuration.endpoints.forEach((endpoint, at) => this.#makeEndpoint(endpoint, at, stack));
    this.#stack = stack.move();
  }

  /** The StreamIDs of the endpoints by their order, as the guest has them now; `UNPLACED` where nobody knows better. */
  place(streamIds: ArrayLike<number>): void {
    this.#places.place(streamIds);
  }

  /** What the thread is to look at, where registers are memory. */
  get watched(): Watched | undefined {
    return this.#watched;
  }

  /** Ends all connections, and removes the sockets. */
  [Symbol.dispose](): void {
    this.#stack[Symbol.dispose]();
  }

  /** Those of the hardware have other StreamIDs, unless two would have the same. */
  #move(moves: readonly StreamMove[]): boolean {
    const hardware = this.#hardware;
    if (hardware === undefined) return true;
    const { log } = this.#surroundings;
    let refusal: string | undefined;
    const tell = (moves: readonly StreamMove[]): void => {
      refusal = hardware.move(moves);
      this.#smmu.refreshHost();
    };
    const known = hardware.host.streamIds;
    (this.#recorder?.moves(tell) ?? tell)(moves.filter(([from]) => known.includes(from)));
    if (refusal !== undefined) log(`Endpoints keep their StreamIDs: ${refusal}`);
    return refusal === undefined;
  }

  /** The host has a function back. */
  #withdraw(streamId: number): void {
    const withdraw = (streamId: number): void => this.#hardware?.withdraw(streamId);
    (this.#recorder?.gone(withdraw) ?? withdraw)(streamId);
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
    const calls: IommufdObserver = (name, args, errno, result) => {
      counters.iommufdCall(name, errno, result);
      // What is read from the kernel's queue is recorded as events when they pass on.
      if (iommufd !== "kernel" || name !== "read") recorded?.(name, args, errno, result);
    };
    const common = {
      features: chosen,
      calls,
      log: (line: string): void => limiter.line(`iommufd: ${line}`),
    };
    const hardware = iommufd === "kernel"
      ? new KernelIommu({ ...common, poller, streams: endpoints.filter(isAssigned) })
      : new EmbeddedIommu({
        ...common,
        memory: recorder?.memory(this.#ram) ?? this.#ram,
        pin: (source) => this.#pin(source),
        streams: modelledStreams(endpoints),
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
    { smmuSocketPath, smmuMemorySocketPath, registers = "trapped" }: DeviceConfiguration,
    chosen: Features,
    hardware: Hardware | undefined,
    stack: DisposableStack,
  ): SmmuV3 {
    const { counters } = this.#surroundings;
    const msi = new DmaWriteMsi();
    const pulse: IrqLine = { pulse: () => interrupt.pulse(), set: () => {} };
    const recorder = this.#recorder;
    const page = registers !== "trapped" ? stack.use(new RegisterPage()) : undefined;
    const smmu: SmmuV3 = new SmmuV3({
      memory: recorder?.memory(this.#ram) ?? this.#ram,
      features: chosen,
      lines: {
        eventq: recorder?.wire("eventq", pulse) ?? pulse,
        gerror: recorder?.wire("gerror", pulse) ?? pulse,
        priq: recorder?.wire("priq", pulse) ?? pulse,
      },
      msi: recorder?.msi(msi) ?? msi,
      host: hardware?.host,
      endpoints: recorder?.endpoints(this.#translating) ?? this.#translating,
      observer: counters,
      page: page?.buffer,
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
    const { interrupt, watched } = serveRegisters({
      smmu,
      door: recorder?.device(smmu) ?? smmu,
      reset: recorder?.reset(reset) ?? reset,
      msi,
      counters,
      socketPath: smmuSocketPath,
      page,
      memorySocketPath: smmuMemorySocketPath,
      serve: (pci, path, connections, observer) =>
        this.#serve(pci, path, connections, stack, observer),
    });
    this.#watched = watched;
    return smmu;
  }

  #makeEndpoint(endpoint: EndpointConfiguration, at: number, stack: DisposableStack): void {
    const intx = new Intx();
    const msi = new DmaWriteMsi();
    const requester = this.#places.add(endpoint.streamId);
    const observer: VfioUserObserver = endpoint.behindPort
      ? { configAccess: (isWrite, offset) => isWrite || offset > 0 || this.#places.seen() }
      : {};
    const messages = this.#recorder?.msi(msi) ?? msi;
    const port = this.#hardware?.port(endpoint.streamId, messages) ?? this.#smmu.port(messages);
    const dma = this.#recorder?.dma(port) ?? port;
    if (endpoint.kind === "vfio") {
      const { unplug } = this.#surroundings;
      return serveAssigned(endpoint, {
        ...this.#found(endpoint),
        ssidSize: this.#smmu.features.ssidSize,
        requester,
        dma,
        irq: intx,
        poller: this.#surroundings.poller,
        unplug: (isLast) => unplug(at, isLast),
        withdraw: (streamId) => this.#withdraw(streamId),
        serve: (pci, connections) =>
          this.#serve(pci, endpoint.socketPath, { intx, msi, ...connections }, stack, observer),
      }, stack);
    }
    const pci = endpoint.kind === "virtio-blk"
      ? this.#makeDisk(endpoint, requester, dma, intx, stack)
      : this.#makeTester(endpoint, requester, dma);
    this.#serve(pci, endpoint.socketPath, { intx, msi }, stack, observer);
  }

  #makeTester(
    { pasidWidth, ats: translates = false, stalls = false }: TesterEndpoint,
    requester: Requester,
    dma: DmaPort,
  ): DmaTestDevice {
    const common = {
      requester,
      dma,
      memory: this.#ram,
      ...(pasidWidth ? { pasidWidth } : {}),
      ...(stalls ? { stallable: this.#stallablePort() } : {}),
    };
    if (!translates) return new DmaTestDevice(common);
    const { features } = this.#smmu;
    if (!features.ats) {
      throw new RangeError("Endpoint dma-test has ats, but feature ats of its SMMU is false");
    }
    const port = this.#smmu.atsPort();
    const ats = this.#recorder?.ats(port) ?? port;
    const tester = new DmaTestDevice({ ...common, ats, pageRequests: features.pri });
    const { counters } = this.#surroundings;
    this.#translating.add(requester, {
      invalidate: (...range) => {
        counters.reached("invalidation");
        tester.invalidate(...range);
      },
      respond: (...answer) => {
        counters.reached("page response");
        tester.respond(...answer);
      },
    });
    return tester;
  }

  #stallablePort(): StallableDmaPort {
    const { stallModel } = this.#smmu.features;
    if (stallModel === 1) {
      throw new RangeError("Endpoint dma-test stalls, but feature stallModel of its SMMU is 1");
    }
    if (this.#hardware !== undefined) {
      throw new EnvironmentError(
        "Cannot stall an endpoint while an iommufd is between it and the SMMU",
      );
    }
    const port = this.#smmu.stallablePort();
    return this.#recorder?.stallable(port) ?? port;
  }

  #found(endpoint: AssignedEndpoint): Pick<AssignedSurroundings, "found" | "log"> {
    const { devicePath } = endpoint;
    const found = this.#hardware?.deviceAt(devicePath);
    if (found === undefined) {
      throw new EnvironmentError(
        `Cannot give ${devicePath} to a guest: only the kernel's iommufd has functions of the host`,
      );
    }
    const limiter = new LineLimiter(this.#surroundings.log, HARDWARE_LOG);
    return { found, log: (line) => limiter.line(`${nameOf(endpoint)}: ${line}`) };
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
    connections: Pick<VfioUserServerOptions, "intx" | "msi" | "mapped" | "request">,
    stack: DisposableStack,
    observer: VfioUserObserver = {},
  ): VfioUserServer {
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
    return server;
  }
}

/** Hardware of either kind. */
type Hardware = EmbeddedIommu | KernelIommu;

type TesterEndpoint = Extract<EndpointConfiguration, { kind: "dma-test" }>;

function isAssigned(endpoint: EndpointConfiguration): endpoint is AssignedEndpoint {
  return endpoint.kind === "vfio";
}
