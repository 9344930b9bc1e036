/**
 * What a file is. statx(2), whose layout, unlike `struct stat`, is the same on every architecture.
 * @module
 */
import { check, orMinusErrno } from "./errno.ts";
import type { Fd } from "./fd.ts";
import { libc } from "./libc.ts";
import { cString, Pinned } from "./pinned.ts";

/** `struct statx`: byte offsets, and the size. linux/stat.h. */
export const STATX = {
  stx_uid: 20,
  stx_mode: 28,
  stx_ino: 32,
  stx_size: 40,
  stx_dev_major: 136,
  stx_dev_minor: 140,
  size: 256,
} as const;

/** File types in `FileStatus.type`. */
export const S_IF = { SOCK: 0o140000, REG: 0o100000, DIR: 0o040000 } as const;

const S_IFMT = 0o170000;
const AT_FDCWD = -100;
const AT_SYMLINK_NOFOLLOW = 0x100;
const AT_EMPTY_PATH = 0x1000;
const STATX_BASIC_STATS = 0x7ff;

/** A file's identity, kind and size at one moment. */
export interface FileStatus {
  /** Device and inode number: equal for two descriptors of one file, and only then. */
  readonly identity: string;
  /** One of `S_IF`, or another type. */
  readonly type: number;
  /** Permission bits. */
  readonly mode: number;
  /** Owner. */
  readonly uid: number;
  /** Length in bytes; zero for a device. */
  readonly sizeBytes: number;
}

/** The status of an open file. Throws `SystemError`. */
export function statusOf(fd: Pick<Fd, "number">): FileStatus {
  const into = new Pinned(STATX.size);
  const result = libc().statx(fd.number, cString(""), AT_EMPTY_PATH, STATX_BASIC_STATS, into.bytes);
  check(result, "stat a descriptor");
  return decode(into.view);
}

/** The status of what is at `path`, not following a last symbolic link; minus the error number when that fails. */
export function statusAt(path: string): FileStatus | number {
  const into = new Pinned(STATX.size);
  const result = orMinusErrno(
    libc().statx(AT_FDCWD, cString(path), AT_SYMLINK_NOFOLLOW, STATX_BASIC_STATS, into.bytes),
  );
  return result < 0 ? result : decode(into.view);
}

function decode(view: DataView): FileStatus {
  const major = view.getUint32(STATX.stx_dev_major, true);
  const minor = view.getUint32(STATX.stx_dev_minor, true);
  const mode = view.getUint16(STATX.stx_mode, true);
  return {
    identity: `${major}:${minor}:${view.getBigUint64(STATX.stx_ino, true)}`,
    type: mode & S_IFMT,
    mode: mode & ~S_IFMT,
    uid: view.getUint32(STATX.stx_uid, true),
    sizeBytes: Number(view.getBigUint64(STATX.stx_size, true)),
  };
}
