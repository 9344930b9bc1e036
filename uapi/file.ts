/**
 * Files and block devices by offset, without Deno's own file permissions: a device thread needs FFI only.
 * open(2), pread(2), pwrite(2), fallocate(2).
 * @module
 */
import { check, ERRNO, SystemError } from "./errno.ts";
import { Fd } from "./fd.ts";
import { lastErrno, libc } from "./libc.ts";
import { cString } from "./pinned.ts";

const O_RDONLY = 0;
const O_RDWR = 2;
const O_CLOEXEC = 0x8_0000;
const SEEK_END = 2;
const FALLOC_FL_KEEP_SIZE = 1;
const FALLOC_FL_PUNCH_HOLE = 2;
/** One system call moves no more; its count must fit an `i32`. */
const LONGEST_TRANSFER = 0x4000_0000;

/** Options of `HostFile`. */
export interface HostFileOptions {
  /** Open without the right to write. */
  readonly readOnly?: boolean;
}

/** An open file or block device. Every method throws `SystemError` when the kernel refuses. */
export class HostFile implements Disposable {
  /** Where it was opened. */
  readonly path: string;
  /** Whether writes are refused. */
  readonly readOnly: boolean;
  readonly #fd: Fd;

  /** Opens what exists at `path`. */
  constructor(path: string, { readOnly = false }: HostFileOptions = {}) {
    const flags = (readOnly ? O_RDONLY : O_RDWR) | O_CLOEXEC;
    this.path = path;
    this.readOnly = readOnly;
    this.#fd = new Fd(check(libc().open(cString(path), flags, 0), `open ${path}`));
  }

  /** Length in bytes, of a block device too. */
  get sizeBytes(): number {
    const size = Number(libc().lseek(this.#fd.number, 0n, SEEK_END));
    return check(size, `size ${this.path}`);
  }

  /** Fills `into` from `offset`. EIO when the file ends before. */
  read(offset: number, into: Uint8Array): void {
    this.#transfer("read", offset, into);
  }

  /** Stores all of `from` at `offset`. */
  write(offset: number, from: Uint8Array): void {
    this.#transfer("write", offset, from);
  }

  /** Waits until what was written is on stable storage, with the metadata needed to read it back. */
  syncData(): void {
    check(libc().fdatasync(this.#fd.number), `flush ${this.path}`);
  }

  /** Like `syncData`, with all metadata. */
  sync(): void {
    check(libc().fsync(this.#fd.number), `sync ${this.path}`);
  }

  /** Gives the storage of a range back; it reads as zeros afterwards. EOPNOTSUPP where the file system cannot. */
  punchHole(offset: number, sizeBytes: number): void {
    const mode = FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE;
    check(
      libc().fallocate(this.#fd.number, mode, BigInt(offset), BigInt(sizeBytes)),
      `punch a hole into ${this.path}`,
    );
  }

  /** Closes the file. */
  [Symbol.dispose](): void {
    this.#fd[Symbol.dispose]();
  }

  #transfer(direction: "read" | "write", offset: number, bytes: Uint8Array): void {
    for (let done = 0; done < bytes.length;) {
      const rest = done === 0 ? bytes : bytes.subarray(done);
      const length = BigInt(Math.min(rest.length, LONGEST_TRANSFER));
      const position = BigInt(offset + done);
      const count = direction === "read"
        ? libc().pread(this.#fd.number, rest, length, position)
        : libc().pwrite(this.#fd.number, rest, length, position);
      const errno = count < 0 ? lastErrno() : count === 0 ? ERRNO.EIO : 0;
      if (errno === ERRNO.EINTR) continue;
      if (errno !== 0) throw new SystemError(`${direction} ${this.path}`, errno);
      done += count;
    }
  }
}
