/**
 * Files as memory. mmap(2).
 * @module
 */
import { lastErrno, libc } from "./libc.ts";
import { SystemError } from "./errno.ts";
import type { Fd } from "./fd.ts";

const PROT_READ = 1;
const PROT_WRITE = 2;
const MAP_SHARED = 1;
const MAP_FAILED = 0xffff_ffff_ffff_ffffn;

/** What to map. */
export interface Range {
  /** Offset in the file, a multiple of the host's page size. */
  readonly offset: number;
  /** Length in bytes. */
  readonly sizeBytes: number;
  /** Without it, a store through `buffer` kills the process. */
  readonly writable: boolean;
}

/**
 * A shared mapping of a file as an `ArrayBuffer`. Closing it detaches the buffer before the pages go, so that a later
 * access reads `undefined` and does not fault. The file's descriptor may be closed at any time.
 *
 * Needs the FFI permission without a path: Deno makes no view of foreign memory otherwise.
 */
export class Mapping implements Disposable {
  /** The mapped bytes. */
  readonly buffer: ArrayBuffer;
  readonly #address: bigint;
  readonly #sizeBytes: number;

  /** Maps a range of `fd`. Throws `SystemError`. */
  constructor(fd: Fd, { offset, sizeBytes, writable }: Range) {
    const protection = writable ? PROT_READ | PROT_WRITE : PROT_READ;
    const address = libc().mmap(
      0n,
      BigInt(sizeBytes),
      protection,
      MAP_SHARED,
      fd.number,
      BigInt(offset),
    );
    if (address === MAP_FAILED) {
      const errno = lastErrno();
      throw new SystemError(`map ${sizeBytes} bytes`, errno);
    }
    this.#address = address;
    this.#sizeBytes = sizeBytes;
    try {
      const pointer = Deno.UnsafePointer.create(address)!;
      this.buffer = Deno.UnsafePointerView.getArrayBuffer(pointer, sizeBytes);
    } catch (error) {
      libc().munmap(address, BigInt(sizeBytes));
      throw error;
    }
  }

  /** Detaches the buffer, then unmaps the pages. */
  [Symbol.dispose](): void {
    // A buffer that someone else detached lives on elsewhere: leaving the pages in place is the lesser harm. A second
    // close ends here too.
    if (this.buffer.detached) return;
    this.buffer.transfer(0);
    libc().munmap(this.#address, BigInt(this.#sizeBytes));
  }
}
