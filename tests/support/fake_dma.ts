/** A `DmaPort` without an IOMMU: identity over one array, with ranges that abort on demand. @module */
import type { DmaPort, IrqLine, Requester } from "../../hw/device.ts";

/** Addresses of which reads, writes or both are aborted. */
export interface FaultRange {
  readonly first: number;
  readonly end: number;
  readonly reads?: boolean;
  readonly writes?: boolean;
}

/** A message that was sent. */
export interface Message {
  readonly streamId: number;
  readonly lo: number;
  readonly hi: number;
  readonly data: number;
}

/** Memory of `sizeBytes` at IOVA `base`; everything else aborts. Pages of 4 KiB are moved one after the other. */
export class FakeDma implements DmaPort {
  readonly base: number;
  readonly bytes: Uint8Array;
  readonly view: DataView;
  readonly messages: Message[] = [];
  /** Aborting ranges. */
  faults: FaultRange[] = [];
  /** Transactions so far. */
  count = 0;
  /** Called before each read, to play a guest that changes memory meanwhile. */
  onRead: (address: number, sizeBytes: number) => void = () => {};
  /** Called after each read that was not aborted. */
  afterRead: (address: number, sizeBytes: number) => void = () => {};

  constructor(base: number, sizeBytes: number) {
    this.base = base;
    this.bytes = new Uint8Array(sizeBytes);
    this.view = new DataView(this.bytes.buffer);
  }

  read(_requester: Requester, lo: number, hi: number, into: Uint8Array): boolean {
    this.onRead(hi * 2 ** 32 + lo, into.length);
    const ok = this.#move(lo, hi, into.length, true, (at, from, to) => {
      into.set(this.bytes.subarray(at, at + to - from), from);
    });
    if (ok) this.afterRead(hi * 2 ** 32 + lo, into.length);
    return ok;
  }

  write(_requester: Requester, lo: number, hi: number, from: Uint8Array): boolean {
    return this.#move(lo, hi, from.length, false, (at, first, end) => {
      this.bytes.set(from.subarray(first, end), at);
    });
  }

  message(requester: Requester, lo: number, hi: number, data: number): boolean {
    this.messages.push({ streamId: requester.streamId, lo, hi, data });
    return true;
  }

  #move(
    lo: number,
    hi: number,
    size: number,
    isRead: boolean,
    copy: (at: number, first: number, end: number) => void,
  ): boolean {
    this.count++;
    const words = [lo, hi];
    if (words.some((value) => !Number.isInteger(value) || value < 0 || value > 0xffff_ffff)) {
      throw new Error(`Not an IOVA: ${hi} ${lo}`);
    }
    const start = hi * 2 ** 32 + lo;
    for (let done = 0; done < size;) {
      const address = start + done;
      const part = Math.min(size - done, 4096 - address % 4096);
      const at = address - this.base;
      if (at < 0 || at + part > this.bytes.length) return false;
      const faulty = this.faults.some((range) =>
        address < range.end && range.first < address + part &&
        (isRead ? range.reads : range.writes)
      );
      if (faulty) return false;
      copy(at, done, done + part);
      done += part;
    }
    return true;
  }
}

/** An interrupt line that remembers. */
export class FakeIrq implements IrqLine {
  level = false;
  /** Every level it was set to. */
  readonly levels: boolean[] = [];
  pulses = 0;

  set(asserted: boolean): void {
    this.level = asserted;
    this.levels.push(asserted);
  }

  pulse(): void {
    this.pulses++;
  }
}
