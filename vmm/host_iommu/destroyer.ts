/**
 * Objects of iommufd that are to go. One that the kernel does not let go is tried again, before anything that it needs.
 * @module
 */
import { ERRNO, SystemError } from "../../uapi/errno.ts";
import type { Iommufd } from "../iommufd/iommufd.ts";

/** Destroys objects. */
export class Destroyer implements Disposable {
  readonly #iommufd: Iommufd;
  readonly #log: (line: string) => void;
  #left: readonly number[] = [];

  /** Objects of `iommufd`; `log` takes one line for each that does not go at once. */
  constructor(iommufd: Iommufd, log: (line: string) => void) {
    this.#iommufd = iommufd;
    this.#log = log;
  }

  /** Destroys an object, now or later. */
  destroy(id: number): void {
    this.retry();
    const error = this.#try(id);
    if (error === undefined) return;
    this.#log(error.message);
    // What is not there must not be tried again: its id may be another's by then.
    if (error.errno !== ERRNO.ENOENT) this.#left = [...this.#left, id];
  }

  /** Destroys what did not go before. */
  retry(): void {
    this.#left = this.#left.filter((id) => {
      const error = this.#try(id);
      return error !== undefined && error.errno !== ERRNO.ENOENT;
    });
  }

  /** The last attempt. What is left then goes when the iommufd is closed. */
  [Symbol.dispose](): void {
    this.retry();
  }

  #try(id: number): SystemError | undefined {
    try {
      this.#iommufd.destroy(id);
      return undefined;
    } catch (error) {
      if (error instanceof SystemError) return error;
      throw error;
    }
  }
}
