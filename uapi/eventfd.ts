/**
 * Event counters, the kernel's wires. eventfd(2).
 * @module
 */
import { check } from "./errno.ts";
import { Fd } from "./fd.ts";
import { libc } from "./libc.ts";
import { cString } from "./pinned.ts";

const EFD_CLOEXEC = 0x8_0000;
const EFD_NONBLOCK = 0x800;
const ONE = new Uint8Array(Uint8Array.of(1, 0, 0, 0, 0, 0, 0, 0).buffer);

/**
 * An owned event counter. No method blocks, whatever the other holders of the same counter do to it.
 *
 * ```ts
 * import { EventFd } from "./eventfd.ts";
 * using event = EventFd.create();
 * event.signal();
 * event.signal();
 * console.assert(event.drain() === 2 && event.drain() === 0);
 * ```
 */
export class EventFd implements Disposable {
  /** The descriptor, for a poller. */
  readonly fd: Fd;
  readonly #isForeign: boolean;
  readonly #count = new DataView(new ArrayBuffer(8));
  readonly #bytes = new Uint8Array(this.#count.buffer);

  private constructor(fd: Fd, isForeign: boolean) {
    this.fd = fd;
    this.#isForeign = isForeign;
  }

  /** A new counter at zero. Throws `SystemError`. */
  static create(): EventFd {
    const number = check(libc().eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK), "make an eventfd");
    return new EventFd(new Fd(number), false);
  }

  /** Takes `fd`, received from someone else; undefined, with `fd` closed, when it is not an event counter. */
  static adopt(fd: Fd): EventFd | undefined {
    if (isEventFd(fd)) return new EventFd(fd, true);
    fd[Symbol.dispose]();
    return undefined;
  }

  /** Adds one. A counter that is full has been signalled already. */
  signal(): void {
    this.#forbidBlocking();
    libc().write(this.fd.number, ONE, 8n);
  }

  /** Takes everything counted since the last time, as a number. */
  drain(): number {
    this.#forbidBlocking();
    if (libc().read(this.fd.number, this.#bytes, 8n) !== 8) return 0;
    return this.#count.getUint32(4, true) * 0x1_0000_0000 + this.#count.getUint32(0, true);
  }

  /** Closes the descriptor. */
  [Symbol.dispose](): void {
    this.fd[Symbol.dispose]();
  }

  /** The flag belongs to the open file, so its other holders can clear it at any time. */
  #forbidBlocking(): void {
    if (this.#isForeign && this.fd.isOpen) this.fd.setNonblocking();
  }
}

/** Only a real event counter can be written without waiting for a stranger's file system. */
function isEventFd(fd: Fd): boolean {
  const target = new Uint8Array(64);
  const length = libc().readlink(
    cString(`/proc/self/fd/${fd.number}`),
    target,
    BigInt(target.length),
  );
  return length > 0 &&
    new TextDecoder().decode(target.subarray(0, length)) === "anon_inode:[eventfd]";
}
