/**
 * What queues of records have in common: an open descriptor, and those who wait at it.
 * @module
 */
import type { RecordQueue } from "../iommufd.ts";
import { ModelObject } from "./objects.ts";

/** A queue, as an object and for its reader. */
export abstract class ModelRecordQueue extends ModelObject implements RecordQueue {
  #handlers: readonly (() => void)[] = [];
  #isOpen = true;

  /** Open, which keeps it from being destroyed. */
  constructor() {
    super();
    this.users = 1;
  }

  /** Whether something waits to be read. */
  protected abstract get isReadable(): boolean;

  abstract read(into: Uint8Array): number;

  abstract write(from: Uint8Array): number;

  watch(handler: () => void): Disposable {
    this.#handlers = [...this.#handlers, handler];
    if (this.isReadable) handler();
    return {
      [Symbol.dispose]: () => {
        this.#handlers = this.#handlers.filter((other) => other !== handler);
      },
    };
  }

  [Symbol.dispose](): void {
    if (!this.#isOpen) return;
    this.#isOpen = false;
    this.users--;
  }

  /** Tells those who wait. */
  protected notify(): void {
    for (const handler of this.#handlers) handler();
  }
}
