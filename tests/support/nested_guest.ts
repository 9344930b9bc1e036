/**
 * A guest whose endpoints are devices of the model: its SMMU hands its tables to an iommufd in this process.
 * @module
 */
import type { DmaPort } from "../../hw/device.ts";
import type { Entry, GuestMemory } from "../../hw/guest_memory.ts";
import { features } from "../../hw/smmuv3/features.ts";
import { Fd } from "../../uapi/fd.ts";
import { NestedHost } from "../../vmm/host_iommu/nested.ts";
import type { BoundDevice, Iommufd } from "../../vmm/iommufd/iommufd.ts";
import { ModelIommufd } from "../../vmm/iommufd/model.ts";
import { ArmSmmuV3 } from "../../vmm/iommufd/model/arm_smmuv3.ts";
import { Guest, type GuestOptions, RAM, split } from "./guest.ts";

/** Size of the guest's RAM. */
const RAM_SIZE = 0x100_0000;

/** Options beyond those of a guest. */
export interface NestedGuestOptions extends GuestOptions {
  /** The guest's StreamIDs; 8 and 16 by default. */
  streamIds?: readonly number[];
  /** Puts something between host and model. */
  between?: (model: Iommufd) => Iommufd;
  /** The same for a device. */
  bound?: (bind: () => BoundDevice) => BoundDevice;
}

/** The guest. */
export class NestedGuest extends Guest {
  readonly model: ModelIommufd;
  readonly host: NestedHost;
  readonly log: string[];
  readonly devices: readonly BoundDevice[];
  readonly #ports: ReadonlyMap<number, DmaPort>;

  private constructor(
    options: GuestOptions,
    parts: Pick<NestedGuest, "model" | "host" | "log" | "devices">,
    ports: ReadonlyMap<number, DmaPort>,
    later: LaterMemory,
  ) {
    super({ ...options, host: parts.host });
    later.memory = this.ram;
    this.model = parts.model;
    this.host = parts.host;
    this.log = parts.log;
    this.devices = parts.devices;
    this.#ports = ports;
    this.host.listen((words) => this.smmu.hostEvent(words));
    using fd = new Fd(-1);
    this.host.stageTwo.map({ gpa: RAM, sizeBytes: RAM_SIZE, offset: 0, writable: true }, fd);
  }

  /** A guest that has enabled its SMMU. */
  static make(options: NestedGuestOptions = {}): NestedGuest {
    const { streamIds = [8, 16], between = (model): Iommufd => model } = options;
    const { bound = (bind): BoundDevice => bind() } = options;
    const later = new LaterMemory();
    const log: string[] = [];
    const driver = new ArmSmmuV3({ memory: later });
    const model = new ModelIommufd({
      pin: (source) => source.kind === "file" ? RAM + Number(source.start) : -14,
    });
    const iommufd = between(model);
    const devices = streamIds.map((_, i) =>
      bound(() => model.bind({ driver, streamId: 0x100 + i }))
    );
    const streams = devices.map((device, i) => ({
      name: `device ${i}`,
      streamId: streamIds[i],
      device,
    }));
    const log1 = (line: string): void => void log.push(line);
    const host = new NestedHost({
      iommufd,
      streams,
      features: features(options.features),
      log: log1,
    });
    const ports = new Map(
      devices.map(({ devId }, i): [number, DmaPort] => [streamIds[i], model.port(devId)]),
    );
    try {
      return new NestedGuest(options, { model, host, log, devices }, ports, later);
    } catch (error) {
      host[Symbol.dispose]();
      throw error;
    }
  }

  /** A device's write, by the guest's StreamID of the beginning; true when it was not aborted. */
  override dmaWrite(streamId: number, iova: bigint, bytes: number[], substreamId = -1): boolean {
    const requester = { streamId: this.#physical(streamId), substreamId };
    return this.#ports.get(streamId)!.write(requester, ...split(iova), Uint8Array.from(bytes));
  }

  /** A device's read; undefined when it was aborted. */
  override dmaRead(streamId: number, iova: bigint, sizeBytes = 1, substreamId = -1):
    | number[]
    | undefined {
    const into = new Uint8Array(sizeBytes).fill(0xee);
    const requester = { streamId: this.#physical(streamId), substreamId };
    return this.#ports.get(streamId)!.read(requester, ...split(iova), into) ? [...into] : undefined;
  }

  /** Takes everything down. */
  end(): void {
    this.host[Symbol.dispose]();
    for (const device of this.devices) device[Symbol.dispose]();
  }

  #physical(streamId: number): number {
    return 0x100 + [...this.#ports.keys()].indexOf(streamId);
  }
}

/** Memory that is there only after what needs it. */
class LaterMemory implements GuestMemory {
  memory: GuestMemory | undefined;

  fetch(gpa: number, into: Entry): boolean {
    return this.memory!.fetch(gpa, into);
  }

  store(gpa: number, from: Entry): boolean {
    return this.memory!.store(gpa, from);
  }

  store32(gpa: number, value: number): boolean {
    return this.memory!.store32(gpa, value);
  }

  compareExchange(gpa: number, expected: Entry, desired: Entry): number {
    return this.memory!.compareExchange(gpa, expected, desired);
  }

  read(gpa: number, into: Uint8Array): boolean {
    return this.memory!.read(gpa, into);
  }

  write(gpa: number, from: Uint8Array): boolean {
    return this.memory!.write(gpa, from);
  }
}
