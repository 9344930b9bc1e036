/**
 * Queues of records that the kernel fills: faults and events of vIOMMUs.
 * @module
 */
import { check } from "../../uapi/errno.ts";
import type { Fd } from "../../uapi/fd.ts";
import { libc } from "../../uapi/libc.ts";
import { POLL, type Poller } from "../../uapi/poll.ts";
import type { RecordQueue } from "./iommufd.ts";

/** An owned queue. The kernel never lets a reader of it wait. */
export class KernelQueue implements RecordQueue {
  /** Its object id. */
  readonly id: number;
  /** The descriptor. */
  readonly fd: Fd;
  readonly #name: string;
  readonly #poller: Poller | undefined;
  readonly #watches = new Set<Disposable>();

  /** Takes `fd` of the object `id`; `name` is for messages. */
  constructor(id: number, fd: Fd, name: string, poller: Poller | undefined) {
    this.id = id;
    this.fd = fd;
    this.#name = name;
    this.#poller = poller;
  }

  /** Reads whole records; returns bytes. Throws `SystemError`. */
  read(into: Uint8Array<ArrayBuffer>): number {
    const count = libc().read(this.fd.number, into, BigInt(into.length));
    return check(count, `read ${this.#name}`);
  }

  /** Writes whole responses; returns bytes. Throws `SystemError`. */
  write(from: Uint8Array<ArrayBuffer>): number {
    const count = libc().write(this.fd.number, from, BigInt(from.length));
    return check(count, `answer ${this.#name}`);
  }

  /** Calls `handler` from the poll loop when records wait. Throws `TypeError` when there is no poll loop. */
  watch(handler: () => void): Disposable {
    if (this.#poller === undefined) throw new TypeError(`Cannot watch ${this.#name}: no poller`);
    const watch = this.#poller.watch(this.fd, POLL.IN, handler);
    const ended: Disposable = {
      [Symbol.dispose]: () => {
        this.#watches.delete(ended);
        watch[Symbol.dispose]();
      },
    };
    this.#watches.add(ended);
    return ended;
  }

  /** Ends its watches and closes the descriptor. */
  [Symbol.dispose](): void {
    for (const watch of this.#watches) watch[Symbol.dispose]();
    this.fd[Symbol.dispose]();
  }
}
