/**
 * ioctl(2).
 * @module
 */
import { check, ERRNO, SystemError } from "./errno.ts";
import { lastErrno, libc } from "./libc.ts";

/** The request number of an ioctl that C declares with `_IO`: without direction and size. */
export function io(type: number, number: number): bigint {
  return BigInt((type << 8) | number);
}

/** The refusal of an ioctl that this kernel does not have, because it is older or was built without it. */
export class MissingIoctlError extends SystemError {
  /** The refusal of the ioctl named `call`. */
  constructor(call: string) {
    super(call, ERRNO.ENOTTY);
    this.message += ", this kernel has no such ioctl";
  }
}

/**
 * Does an ioctl on `argument`, which the kernel reads and may write. Returns its result, throws `SystemError` with the
 * name in `call`: a `MissingIoctlError` for ENOTTY, which is never about the argument.
 */
export function ioctl(
  fd: number,
  request: bigint,
  argument: Uint8Array<ArrayBuffer>,
  call: string,
): number {
  let result = libc().ioctl(fd, request, argument);
  if (result >= 0) return result;
  let errno = lastErrno();
  if (errno === ERRNO.EAGAIN) {
    // The engine may wait for a lock between our two calls, and leave this behind: the kernel is asked once more.
    result = libc().ioctl(fd, request, argument);
    if (result >= 0) return result;
    errno = lastErrno();
  }
  throw errno === ERRNO.ENOTTY ? new MissingIoctlError(call) : new SystemError(call, errno);
}

/** As `ioctl`, where ENOTTY has a meaning of its own. */
export function plainIoctl(
  fd: number,
  request: bigint,
  argument: Uint8Array<ArrayBuffer>,
  call: string,
): number {
  return check(libc().ioctl(fd, request, argument), call);
}

/**
 * Where the bytes are, for a field that is a pointer. The caller keeps the array until the kernel is done with it; its
 * buffer does not move.
 */
export function addressOf(bytes: Uint8Array): bigint {
  // A small array lives in V8's heap, where it moves, until someone asks for its buffer.
  return bytes.buffer.byteLength === 0 ? 0n : libc().addressOf(bytes as BufferSource, bytes, 0n);
}
