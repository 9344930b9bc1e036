/**
 * A disk image as the storage of an emulated disk.
 * @module
 */
import type { BlockStore } from "../hw/endpoints/block_store.ts";
import { ERRNO, SystemError } from "../uapi/errno.ts";
import { HostFile, type HostFileOptions } from "../uapi/file.ts";

/** A raw image. What the host refuses is logged and becomes an I/O error of the guest. */
export class FileBlockStore implements BlockStore, Disposable {
  /** Size of the image when it was opened. */
  readonly sizeBytes: number;
  readonly #file: HostFile;
  readonly #log: (line: string) => void;

  /** Opens the image at `path`; throws `SystemError`. */
  constructor(path: string, log: (line: string) => void, options: HostFileOptions = {}) {
    this.#file = new HostFile(path, options);
    this.#log = log;
    this.sizeBytes = this.#file.sizeBytes;
  }

  /** Reads from the image. */
  read(offset: number, into: Uint8Array): boolean {
    return this.#attempt(() => this.#file.read(offset, into));
  }

  /** Writes to the image; the host may keep it in memory. */
  write(offset: number, from: Uint8Array): boolean {
    return this.#attempt(() => this.#file.write(offset, from));
  }

  /** Has the host make durable what was written. */
  flush(): boolean {
    return this.#attempt(() => this.#file.syncData());
  }

  /** A file system that cannot give storage back keeps it: what is discarded no longer matters. */
  discard(offset: number, sizeBytes: number): boolean {
    return this.#attempt(() => this.#file.punchHole(offset, sizeBytes), ERRNO.EOPNOTSUPP);
  }

  /** Closes the image. */
  [Symbol.dispose](): void {
    this.#file[Symbol.dispose]();
  }

  #attempt(action: () => void, harmless?: number): boolean {
    try {
      action();
      return true;
    } catch (error) {
      if (!(error instanceof SystemError)) throw error;
      if (error.errno === harmless) return true;
      this.#log(error.message);
      return false;
    }
  }
}
