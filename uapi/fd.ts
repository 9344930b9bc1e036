/**
 * File descriptors with an owner.
 * @module
 */
import { check } from "./errno.ts";
import { libc } from "./libc.ts";

const F_GETFL = 3;
const F_SETFL = 4;
const O_NONBLOCK = 0x800;

/**
 * An owned descriptor: whoever holds the object closes it, once.
 *
 * ```ts
 * import { Fd } from "./fd.ts";
 * using none = new Fd(-1);
 * console.assert(!none.isOpen);
 * ```
 */
export class Fd implements Disposable {
  #number: number;

  /** Takes ownership of descriptor `number`. */
  constructor(number: number) {
    this.#number = number;
  }

  /** The descriptor's number, or -1 after it was closed or taken: the kernel answers EBADF to that. */
  get number(): number {
    return this.#number;
  }

  /** Whether this still owns a descriptor. */
  get isOpen(): boolean {
    return this.#number >= 0;
  }

  /** Gives the number away; the taker closes it. */
  take(): number {
    const number = this.#number;
    this.#number = -1;
    return number;
  }

  /** Makes every user of the same open file nonblocking. Throws `SystemError`. */
  setNonblocking(): void {
    const flags = check(libc().fcntl(this.#number, F_GETFL, 0), "read the flags of a descriptor");
    check(libc().fcntl(this.#number, F_SETFL, flags | O_NONBLOCK), "make a descriptor nonblocking");
  }

  /** Closes the descriptor if it is still owned. Linux releases it whatever close(2) returns. */
  [Symbol.dispose](): void {
    const number = this.take();
    if (number >= 0) libc().close(number);
  }
}
