/**
 * A vEVENTQ: events of a vIOMMU with their sequence numbers, and what was lost. As drivers/iommu/iommufd/eventq.c has it.
 * @module
 */
import { ERRNO } from "../../../uapi/errno.ts";
import { refuse } from "./objects.ts";
import { ModelRecordQueue } from "./record_queue.ts";

const HEADER_SIZE = 8;
const LOST_EVENTS = 1;
const SEQUENCE_MASK = 0x7fff_ffff;

interface Event {
  sequence: number;
  readonly payload: Uint8Array | undefined;
}

/** The queue, as an object and for its reader. */
export class ModelEventQueue extends ModelRecordQueue {
  /** Of IOMMU_VEVENTQ_TYPE. */
  readonly type: number;
  readonly #depth: number;
  readonly #release: () => void;
  #events: Event[] = [];
  #sequence = 0;

  /** For `depth` events; `release` lets go of the vIOMMU. */
  constructor(type: number, depth: number, release: () => void) {
    super();
    this.type = type;
    this.#depth = depth;
    this.#release = release;
  }

  /** An event, or the loss of one. */
  push(payload: Uint8Array): void {
    const sequence = this.#sequence;
    this.#sequence = (sequence + 1) & SEQUENCE_MASK;
    const last = this.#events.at(-1);
    const waiting = this.#events.length - Number(last !== undefined && last.payload === undefined);
    const isLost = waiting >= this.#depth;
    // One record of a loss at the end stands for all up to there.
    if (last !== undefined && last.payload === undefined) this.#events.pop();
    this.#events.push({ sequence, payload: isLost ? undefined : payload.slice() });
    this.notify();
  }

  protected get isReadable(): boolean {
    return this.#events.length > 0;
  }

  read(into: Uint8Array): number {
    if (into.length < HEADER_SIZE) refuse("read", ERRNO.EINVAL);
    const view = new DataView(into.buffer, into.byteOffset, into.length);
    let at = 0;
    while (this.#events.length > 0) {
      const { sequence, payload } = this.#events[0];
      const size = HEADER_SIZE + (payload?.length ?? 0);
      if (at + size > into.length) {
        if (at === 0) refuse("read", ERRNO.EINVAL);
        break;
      }
      view.setUint32(at, payload === undefined ? LOST_EVENTS : 0, true);
      view.setUint32(at + 4, sequence, true);
      if (payload !== undefined) into.set(payload, at + HEADER_SIZE);
      at += size;
      this.#events.shift();
    }
    return at;
  }

  write(): number {
    return refuse("write", ERRNO.EOPNOTSUPP);
  }

  override release(): void {
    this.#release();
  }
}
