/**
 * The common configuration structure: status, feature negotiation, queue setup. Virtio 1.2 §3.1, §4.1.4.3.
 * @module
 */
import type { MmioDevice } from "../device.ts";
import {
  COMMON,
  COMMON_SIZE,
  FEATURE,
  featureSet,
  type FeatureWords,
  hasFeature,
  NO_VECTOR,
  STATUS,
} from "./virtio_spec.ts";
import type { Virtqueue } from "./virtqueue.ts";

/** Bits of the status that a driver sets. */
const DRIVER_STATUS = STATUS.ACKNOWLEDGE | STATUS.DRIVER | STATUS.DRIVER_OK | STATUS.FEATURES_OK |
  STATUS.FAILED;

/** Who is told what the driver did. */
export interface CommonListener {
  /** Features were agreed on. */
  negotiated(features: FeatureWords): void;
  /** DRIVER_OK was set. */
  ready(): void;
  /** The driver enabled a queue whose areas are misaligned. */
  broken(): void;
  /** The driver wrote status 0; everything in this structure is already reset. */
  resetByDriver(): void;
}

/** The registers through which a driver finds, configures and resets a device. */
export class CommonConfig implements MmioDevice {
  /** Vector for configuration changes, or 0xffff. */
  configVector: number = NO_VECTOR;

  readonly #offered: FeatureWords;
  readonly #queues: readonly Virtqueue[];
  readonly #vectorCount: number;
  readonly #listener: CommonListener;
  readonly #accepted: FeatureWords = featureSet();
  readonly #image = new Uint8Array(COMMON_SIZE);
  readonly #view = new DataView(this.#image.buffer);
  #deviceFeatureSelect = 0;
  #driverFeatureSelect = 0;
  #status = 0;
  #generation = 0;
  #queueSelect = 0;

  /** `vectorCount` is the number of MSI-X vectors that a driver may choose from. */
  constructor(
    offered: FeatureWords,
    queues: readonly Virtqueue[],
    vectorCount: number,
    listener: CommonListener,
  ) {
    this.#offered = offered;
    this.#queues = queues;
    this.#vectorCount = vectorCount;
    this.#listener = listener;
  }

  /** Whether the driver has taken over and the device is sound. */
  get live(): boolean {
    return (this.#status & (STATUS.DRIVER_OK | STATUS.DEVICE_NEEDS_RESET)) === STATUS.DRIVER_OK;
  }

  /** Sets DEVICE_NEEDS_RESET; true when the driver is to be told (§2.1.2). */
  needReset(): boolean {
    const told = (this.#status & STATUS.DEVICE_NEEDS_RESET) !== 0;
    this.#status |= STATUS.DEVICE_NEEDS_RESET;
    return !told && (this.#status & STATUS.DRIVER_OK) !== 0;
  }

  /** The device configuration changed: its next reader sees another generation. */
  advanceGeneration(): void {
    this.#generation = (this.#generation + 1) & 0xff;
  }

  /** Device reset. §2.4. */
  reset(): void {
    this.#deviceFeatureSelect = 0;
    this.#driverFeatureSelect = 0;
    this.#accepted.fill(0);
    this.configVector = NO_VECTOR;
    this.#status = 0;
    this.#generation = 0;
    this.#queueSelect = 0;
    for (const queue of this.#queues) queue.reset();
  }

  read(offset: number, into: Uint8Array): void {
    this.#render();
    for (let i = 0; i < into.length; i++) into[i] = this.#image[offset + i] ?? 0;
  }

  /** Fields are written whole (§4.1.3.1), 64-bit ones also as two halves; anything else is ignored. */
  write(offset: number, from: Uint8Array): void {
    if (
      from.length === 8 && offset % 8 === 0 && offset >= COMMON.queue_desc &&
      offset < COMMON.queue_notify_data
    ) {
      this.#write32(offset, word(from, 0));
      this.#write32(offset + 4, word(from, 4));
    } else if (from.length === 4) {
      this.#write32(offset, word(from, 0));
    } else if (from.length === 2) {
      this.#write16(offset, from[0] | from[1] << 8);
    } else if (from.length === 1 && offset === COMMON.device_status) {
      this.#writeStatus(from[0]);
    }
  }

  #write32(offset: number, value: number): void {
    if (offset === COMMON.device_feature_select) this.#deviceFeatureSelect = value;
    else if (offset === COMMON.driver_feature_select) this.#driverFeatureSelect = value;
    else if (offset === COMMON.driver_feature) this.#accept(value);
    else if (offset >= COMMON.queue_desc && offset < COMMON.queue_notify_data && offset % 4 === 0) {
      const queue = this.#queues[this.#queueSelect];
      if (queue !== undefined && !queue.enabled) {
        queue.areas[(offset - COMMON.queue_desc) / 4] = value;
      }
    }
  }

  #write16(offset: number, value: number): void {
    if (offset === COMMON.queue_select) this.#queueSelect = value;
    else if (offset === COMMON.config_msix_vector) this.configVector = this.#vector(value);
    else {
      const queue = this.#queues[this.#queueSelect];
      if (queue !== undefined) this.#writeQueue(queue, offset, value);
    }
  }

  #writeQueue(queue: Virtqueue, offset: number, value: number): void {
    if (offset === COMMON.queue_msix_vector) {
      queue.vector = this.#vector(value);
    } else if (offset === COMMON.queue_size) {
      const powerOfTwo = value !== 0 && (value & (value - 1)) === 0;
      if (!queue.enabled && powerOfTwo && value <= queue.maxSize) queue.size = value;
    } else if (offset === COMMON.queue_enable) {
      const agreed = (this.#status & STATUS.FEATURES_OK) !== 0;
      if (value === 1 && agreed && !queue.enabled && !queue.enable(this.#accepted)) {
        this.#listener.broken();
      }
    } else if (offset === COMMON.queue_reset) {
      if (value === 1 && hasFeature(this.#accepted, FEATURE.RING_RESET)) queue.reset();
    }
  }

  /** A vector that does not exist reads back as none (§4.1.5.1.2). */
  #vector(value: number): number {
    return value < this.#vectorCount ? value : NO_VECTOR;
  }

  #accept(value: number): void {
    const settled = (this.#status & STATUS.FEATURES_OK) !== 0;
    if (!settled && this.#driverFeatureSelect < 2) {
      this.#accepted[this.#driverFeatureSelect] = value;
    }
  }

  /** Bits only come on, until 0 resets everything; FEATURES_OK comes on if the choice is acceptable (§3.1.1). */
  #writeStatus(value: number): void {
    if (value === 0) {
      this.reset();
      this.#listener.resetByDriver();
      return;
    }
    const before = this.#status;
    let on = value & DRIVER_STATUS & ~before;
    if ((on & STATUS.FEATURES_OK) !== 0 && !this.#acceptable()) on &= ~STATUS.FEATURES_OK;
    if (((before | on) & STATUS.FEATURES_OK) === 0) on &= ~STATUS.DRIVER_OK;
    this.#status = before | on;
    if ((on & STATUS.FEATURES_OK) !== 0) this.#listener.negotiated(this.#accepted);
    if ((on & STATUS.DRIVER_OK) !== 0) this.#listener.ready();
  }

  /** ACCESS_PLATFORM is mandatory: a driver without it would use addresses that the IOMMU does not translate (§6.1). */
  #acceptable(): boolean {
    const [lo, hi] = this.#accepted;
    const extra = (lo & ~this.#offered[0]) | (hi & ~this.#offered[1]);
    return extra === 0 && hasFeature(this.#accepted, FEATURE.VERSION_1) &&
      hasFeature(this.#accepted, FEATURE.ACCESS_PLATFORM);
  }

  #render(): void {
    const view = this.#view;
    this.#image.fill(0);
    view.setUint32(COMMON.device_feature_select, this.#deviceFeatureSelect, true);
    view.setUint32(COMMON.device_feature, this.#offered[this.#deviceFeatureSelect] ?? 0, true);
    view.setUint32(COMMON.driver_feature_select, this.#driverFeatureSelect, true);
    view.setUint32(COMMON.driver_feature, this.#accepted[this.#driverFeatureSelect] ?? 0, true);
    view.setUint16(COMMON.config_msix_vector, this.configVector, true);
    view.setUint16(COMMON.num_queues, this.#queues.length, true);
    view.setUint8(COMMON.device_status, this.#status);
    view.setUint8(COMMON.config_generation, this.#generation);
    view.setUint16(COMMON.queue_select, this.#queueSelect, true);
    const queue = this.#queues[this.#queueSelect];
    if (queue === undefined) return;
    view.setUint16(COMMON.queue_size, queue.size, true);
    view.setUint16(COMMON.queue_msix_vector, queue.vector, true);
    view.setUint16(COMMON.queue_enable, queue.enabled ? 1 : 0, true);
    view.setUint16(COMMON.queue_notify_off, this.#queueSelect, true);
    for (let i = 0; i < 6; i++) view.setUint32(COMMON.queue_desc + 4 * i, queue.areas[i], true);
  }
}

function word(bytes: Uint8Array, at: number): number {
  return (bytes[at] | bytes[at + 1] << 8 | bytes[at + 2] << 16 | bytes[at + 3] << 24) >>> 0;
}
