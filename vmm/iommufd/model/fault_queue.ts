/**
 * A fault queue: page requests by groups, and their answers. As drivers/iommu/iommufd/eventq.c has it.
 * @module
 */
import { ERRNO } from "../../../uapi/errno.ts";
import {
  iommu_hwpt_page_response,
  iommu_hwpt_pgfault,
  IOMMUFD_PAGE_RESP,
} from "../../../uapi/iommufd/mod.ts";
import { refuse } from "./objects.ts";
import { ModelRecordQueue } from "./record_queue.ts";

const FAULT_SIZE = iommu_hwpt_pgfault.size;
const RESPONSE_SIZE = iommu_hwpt_page_response.size;
const COOKIE = iommu_hwpt_pgfault.fields.cookie.offset;

/** Page requests that are answered together. */
export interface FaultGroup {
  /** `struct iommu_hwpt_pgfault` one after the other, without cookies. */
  readonly records: Uint8Array;
  /** What asked; when that is over, nobody waits for an answer. */
  readonly from: unknown;
  /** Takes the answer: one of IOMMUFD_PAGE_RESP. */
  readonly answer?: (code: number) => void;
}

/** The queue, as an object and for its reader. */
export class ModelFaultQueue extends ModelRecordQueue {
  #waiting: FaultGroup[] = [];
  /** Groups that were read, by cookie. */
  readonly #asked = new Map<number, FaultGroup>();

  /** Asks for pages. */
  push(group: FaultGroup): void {
    this.#waiting.push(group);
    this.notify();
  }

  /** Answers for the reader that there is nothing: `from` asks no longer. */
  drop(from: unknown): void {
    const isMeant = (group: FaultGroup): boolean => group.from === from;
    const dropped = [...this.#waiting, ...this.#asked.values()].filter(isMeant);
    this.#waiting = this.#waiting.filter((group) => !isMeant(group));
    for (const [cookie, group] of this.#asked) if (isMeant(group)) this.#asked.delete(cookie);
    for (const group of dropped) group.answer?.(IOMMUFD_PAGE_RESP.INVALID);
  }

  protected get isReadable(): boolean {
    return this.#waiting.length > 0;
  }

  read(into: Uint8Array): number {
    if (into.length % FAULT_SIZE !== 0) refuse("read", ERRNO.ESPIPE);
    let done = 0;
    for (let group; (group = this.#waiting[0]) !== undefined;) {
      if (done + group.records.length > into.length) {
        if (done === 0) refuse("read", ERRNO.EINVAL);
        break;
      }
      this.#waiting.shift();
      into.set(group.records, done);
      const cookie = this.#cookie();
      this.#asked.set(cookie, group);
      const view = new DataView(into.buffer, into.byteOffset, into.length);
      for (const end = done + group.records.length; done < end; done += FAULT_SIZE) {
        view.setUint32(done + COOKIE, cookie, true);
      }
    }
    return done;
  }

  write(from: Uint8Array): number {
    if (from.length % RESPONSE_SIZE !== 0) refuse("write", ERRNO.ESPIPE);
    const view = new DataView(from.buffer, from.byteOffset, from.length);
    const { SUCCESS, INVALID } = IOMMUFD_PAGE_RESP;
    let done = 0;
    for (; done < from.length; done += RESPONSE_SIZE) {
      const cookie = view.getUint32(done, true);
      const code = view.getUint32(done + 4, true);
      const group = code === SUCCESS || code === INVALID ? this.#asked.get(cookie) : undefined;
      if (group === undefined) break;
      this.#asked.delete(cookie);
      group.answer?.(code);
    }
    return done > 0 || from.length === 0 ? done : refuse("write", ERRNO.EINVAL);
  }

  /** The lowest that is free. */
  #cookie(): number {
    let cookie = 1;
    while (this.#asked.has(cookie)) cookie++;
    return cookie;
  }
}
