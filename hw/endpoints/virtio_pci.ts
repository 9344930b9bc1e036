/**
 * A virtio device as a modern PCI function. Virtio 1.2 §4.1.
 * @module
 */
import type { DmaPort, IrqLine, MmioDevice, Requester } from "../device.ts";
import { ConfigSpace } from "../pci/config_space.ts";
import { expressCapability } from "../pci/express.ts";
import type { Bar, PciFunction } from "../pci/function.ts";
import { IntxPin } from "../pci/intx.ts";
import { Msix } from "../pci/msix.ts";
import {
  configAccessCapability,
  type Location,
  notifyCapability,
  structureCapability,
} from "./virtio_capabilities.ts";
import { CommonConfig } from "./virtio_common.ts";
import type { VirtioDevice } from "./virtio_device.ts";
import { CFG_TYPE, COMMON_SIZE, FEATURE, featureSet, ISR } from "./virtio_spec.ts";
import { Drained, Virtqueue } from "./virtqueue.ts";

/** BAR 0: each structure in a page of its own. */
const AREA = {
  common: 0x0000,
  isr: 0x1000,
  device: 0x2000,
  notify: 0x3000,
  sizeBytes: 0x4000,
} as const;
const PAGE = 0x1000;
/** Distance between the notification registers of two queues, in bytes. */
const NOTIFY_MULTIPLIER = 4;
/** Bytes moved in one go, where the rest can be done later. */
const BUDGET = 0x2_0000;

/** What a function is made of. */
export interface VirtioPciOptions {
  /** What the function is: a disk, say. */
  readonly device: VirtioDevice;
  /** As whom rings and buffers are reached, and messages sent. */
  readonly requester: Requester;
  /** The way to them. */
  readonly dma: DmaPort;
  /** Where INTA goes. */
  readonly irq: IrqLine;
  /**
   * MSI-X: `shown` when absent; `disguised` until the first function reset, for VMMs that would otherwise emulate it
   * past the IOMMU; or `absent`.
   */
  readonly msix?: "shown" | "disguised" | "absent";
  /**
   * Runs work soon, from outside any access to this function. With it, a notification moves 128 KiB or a little more
   * before the rest is put off; without it, everything that is available is done at once.
   */
  later?(work: () => void): void;
}

/** The PCI function of a virtio device: BAR 0 holds its structures, BAR 1 the MSI-X table. */
export class VirtioPci implements PciFunction {
  /** The name of the device. */
  readonly name: string;
  /** Configuration space, with the capabilities that say where everything is. */
  readonly config: ConfigSpace;
  /** BAR 0, and BAR 1 unless MSI-X is absent. */
  readonly bars: readonly Bar[];

  readonly #device: VirtioDevice;
  readonly #queues: readonly Virtqueue[];
  readonly #common: CommonConfig;
  readonly #msix: Msix | undefined;
  readonly #pin: IntxPin;
  readonly #later: ((work: () => void) => void) | undefined;
  /** Queues notified while they could not be served. */
  readonly #kicked: Uint8Array;
  /** Queues whose rest was put off. */
  readonly #deferred: Uint8Array;
  #isr = 0;

  /** A function as after power-on. */
  constructor(options: VirtioPciOptions) {
    const { device, requester, dma, msix = "shown" } = options;
    this.name = device.name;
    this.#device = device;
    this.#later = options.later === undefined ? undefined : (work) => options.later?.(work);
    this.#kicked = new Uint8Array(device.queueCount);
    this.#deferred = new Uint8Array(device.queueCount);
    this.#queues = Array.from(
      this.#kicked,
      () => new Virtqueue(requester, dma, device.queueSize),
    );
    const count = device.queueCount + 1;
    if (msix !== "absent") {
      this.#msix = new Msix({
        count,
        barIndex: 1,
        requester,
        dma,
        disguised: msix === "disguised",
      });
    }
    this.#common = new CommonConfig(offered(device), this.#queues, this.#msix?.count ?? 0, {
      negotiated: (features) => device.start(features),
      ready: () => this.#serveKicked(),
      broken: () => this.#needReset(),
      resetByDriver: () => this.#quiet(),
    });
    this.bars = this.#makeBars();
    this.config = this.#makeConfig();
    this.#pin = new IntxPin(this.config, options.irq);
    this.config.watch(0, ConfigSpace.SIZE, { written: () => this.#configured() });
  }

  /** Function reset: the driver has to start over, and nothing that it asked for is remembered. */
  reset(): void {
    this.#common.reset();
    this.#quiet();
    this.#msix?.reset();
    this.config.reset();
  }

  /** For another VMM, which must not see MSI-X where it is to be disguised. */
  coldReset(): void {
    this.reset();
    this.#msix?.coldReset();
  }

  /** The device configuration has changed; the driver is told. */
  configurationChanged(): void {
    this.#common.advanceGeneration();
    if (this.#common.live) this.#interrupt(this.#common.configVector, ISR.Configuration);
  }

  #makeBars(): readonly Bar[] {
    const structures: MmioDevice = {
      read: (offset, into) => this.#read(offset, into),
      write: (offset, from) => this.#write(offset, from),
    };
    const bars: Bar[] = [{ index: 0, sizeBytes: AREA.sizeBytes, device: structures }];
    const msix = this.#msix;
    if (msix !== undefined) bars.push({ index: 1, sizeBytes: msix.sizeBytes, device: msix });
    return bars;
  }

  #makeConfig(): ConfigSpace {
    const device = this.#device;
    const at = (offset: number, length: number): Location => ({ bar: 0, offset, length });
    return new ConfigSpace({
      vendorId: 0x1af4,
      deviceId: 0x1040 + device.deviceType,
      classCode: device.classCode,
      revision: 1,
      subsystemVendorId: 0x1af4,
      subsystemId: 0x1040 + device.deviceType,
      interruptPin: 1,
      bars: this.bars,
      capabilities: [
        expressCapability({ reset: () => this.reset() }),
        ...(this.#msix === undefined ? [] : [this.#msix.capability]),
        structureCapability(CFG_TYPE.COMMON, at(AREA.common, COMMON_SIZE)),
        notifyCapability(at(AREA.notify, device.queueCount * NOTIFY_MULTIPLIER), NOTIFY_MULTIPLIER),
        structureCapability(CFG_TYPE.ISR, at(AREA.isr, 1)),
        structureCapability(CFG_TYPE.DEVICE, at(AREA.device, device.config.length)),
        configAccessCapability(() => this.bars),
      ],
    });
  }

  #read(offset: number, into: Uint8Array): void {
    const within = offset % PAGE;
    into.fill(0);
    switch (offset - within) {
      case AREA.common:
        return this.#common.read(within, into);
      case AREA.isr:
        if (within === 0 && into.length > 0) into[0] = this.#takeIsr();
        return;
      case AREA.device:
        for (let i = 0; i < into.length; i++) into[i] = this.#device.config[within + i] ?? 0;
    }
  }

  #write(offset: number, from: Uint8Array): void {
    const within = offset % PAGE;
    switch (offset - within) {
      case AREA.common:
        return this.#common.write(within, from);
      case AREA.notify:
        // Between two registers there is no queue: a fraction names none.
        this.#serve(within / NOTIFY_MULTIPLIER);
    }
  }

  /** Answers what a queue holds, or remembers that somebody asked. */
  #serve(index: number): void {
    const queue = this.#queues[index];
    if (queue === undefined || this.#deferred[index] !== 0) return;
    if (!queue.enabled || !this.#common.live || !this.config.busMaster) {
      this.#kicked[index] = 1;
      return;
    }
    this.#kicked[index] = 0;
    const outcome = queue.drain(this.#device, this.#later === undefined ? Infinity : BUDGET);
    if ((outcome & Drained.Interrupt) !== 0) this.#interrupt(queue.vector, ISR.Queue);
    if ((outcome & Drained.Broken) !== 0) this.#needReset();
    else if ((outcome & Drained.More) !== 0) this.#defer(index);
  }

  #defer(index: number): void {
    this.#deferred[index] = 1;
    this.#later?.(() => {
      this.#deferred[index] = 0;
      this.#serve(index);
    });
  }

  #serveKicked(): void {
    for (let i = 0; i < this.#kicked.length; i++) if (this.#kicked[i] !== 0) this.#serve(i);
  }

  #needReset(): void {
    if (this.#common.needReset()) this.#interrupt(this.#common.configVector, ISR.Configuration);
  }

  /** A message if MSI-X is enabled, else the ISR status and INTx (§4.1.4.5.1, §4.1.5.3). */
  #interrupt(vector: number, cause: number): void {
    if (this.#msix?.enabled) {
      this.#msix.raise(vector);
      return;
    }
    this.#isr |= cause;
    this.#pin.set(true);
  }

  #takeIsr(): number {
    const isr = this.#isr;
    this.#isr = 0;
    this.#pin.set(false);
    return isr;
  }

  /** No interrupt, no remembered notification. */
  #quiet(): void {
    this.#kicked.fill(0);
    this.#takeIsr();
  }

  #configured(): void {
    this.#pin.set(this.#isr !== 0 && !this.#msix?.enabled);
    if (this.config.busMaster) this.#serveKicked();
  }
}

function offered(device: VirtioDevice): Uint32Array {
  const features = featureSet(
    FEATURE.RING_INDIRECT_DESC,
    FEATURE.RING_EVENT_IDX,
    FEATURE.VERSION_1,
    FEATURE.ACCESS_PLATFORM,
    FEATURE.RING_RESET,
  );
  features[0] |= device.features[0];
  features[1] |= device.features[1];
  return features;
}
