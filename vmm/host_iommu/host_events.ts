/**
 * Events of the hardware on their way to the guest: the records of a vEVENTQ. `struct iommufd_vevent_header`,
 * `struct iommu_vevent_arm_smmuv3`.
 * @module
 */
import { SystemError } from "../../uapi/errno.ts";
import type { RecordQueue } from "../iommufd/iommufd.ts";
import {
  iommu_vevent_arm_smmuv3,
  IOMMU_VEVENTQ_FLAG,
  iommufd_vevent_header,
} from "../../uapi/iommufd/mod.ts";

/** Sequence numbers have 31 bits. */
const SEQUENCE_MASK = 0x7fff_ffff;
const MOST_RECORDS = 64;
/** Hardware that never stops must not keep the loop: what is left makes the queue readable again. */
const MOST_READS = 64;

/** Takes the eight words of an event record. */
export type EventSink = (words: Uint32Array) => void;

/** Reads a vEVENTQ, and keeps count of what the kernel had no room for. */
export class HostEvents implements Disposable {
  /** Events that were passed on. */
  passed = 0;
  /** Events that were lost. */
  lost = 0;

  readonly #queue: RecordQueue;
  #watch: Disposable | undefined;
  readonly #log: (line: string) => void;
  readonly #bytes = new Uint8Array(
    new ArrayBuffer(MOST_RECORDS * (iommufd_vevent_header.size + iommu_vevent_arm_smmuv3.size)),
  );
  readonly #view = new DataView(this.#bytes.buffer);
  readonly #record = new Uint32Array(iommu_vevent_arm_smmuv3.size / 4);
  #sink: EventSink | undefined;
  #next = 0;

  /** Reads `queue` from now on; `log` is told of losses. Disposing it ends that. */
  constructor(queue: RecordQueue, log: (line: string) => void) {
    this.#queue = queue;
    this.#log = log;
    this.#watch = queue.watch(() => this.drain());
  }

  /** Passes events to `sink`; those before have nowhere to go. */
  listen(sink: EventSink): void {
    this.#sink = sink;
  }

  /** Passes on what waits. A queue that cannot be read is not tried again: it would be readable for ever. */
  drain(): void {
    try {
      for (let reads = 0; reads < MOST_READS; reads++) {
        const sizeBytes = this.#queue.read(this.#bytes);
        if (sizeBytes === 0) return;
        this.#take(sizeBytes);
      }
    } catch (error) {
      if (!(error instanceof SystemError)) throw error;
      this.#watch?.[Symbol.dispose]();
      this.#log(`${error.message}; the guest sees no more events of hardware`);
    }
  }

  /** Ends the watch; the queue stays open. */
  [Symbol.dispose](): void {
    this.#watch?.[Symbol.dispose]();
  }

  #take(sizeBytes: number): void {
    for (let at = 0; at + iommufd_vevent_header.size <= sizeBytes;) {
      const isLoss = (this.#view.getUint32(at, true) & IOMMU_VEVENTQ_FLAG.LOST_EVENTS) !== 0;
      this.#follow(this.#view.getUint32(at + 4, true), isLoss);
      at += iommufd_vevent_header.size;
      if (isLoss) continue;
      for (let i = 0; i < this.#record.length; i++) {
        this.#record[i] = this.#view.getUint32(at + 4 * i, true);
      }
      at += iommu_vevent_arm_smmuv3.size;
      this.passed++;
      this.#sink?.(this.#record);
    }
  }

  /** A gap before a record is what was lost; a record of a loss stands for one event itself. */
  #follow(sequence: number, isLoss: boolean): void {
    const lost = ((sequence - this.#next) & SEQUENCE_MASK) + Number(isLoss);
    this.#next = (sequence + 1) & SEQUENCE_MASK;
    if (lost === 0) return;
    this.lost += lost;
    this.#log(`Hardware lost ${lost} events: the queue was full`);
  }
}
