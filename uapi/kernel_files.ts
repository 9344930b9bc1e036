/**
 * Files that the kernel makes up, such as those of `/sys`, `/proc` and `/dev`: read whole, through the C library alone,
 * because Deno opens them only to programs that may do everything. open(2), getdents64(2), readlink(2), access(2).
 * @module
 */
import { check, ERRNO, orMinusErrno, SystemError } from "./errno.ts";
import { Fd } from "./fd.ts";
import { lastErrno, libc } from "./libc.ts";
import { cString } from "./pinned.ts";

const O_RDONLY = 0;
const O_NONBLOCK = 0x800;
const O_CLOEXEC = 0x8_0000;
const R_OK = 4;
const W_OK = 2;
const LONGEST_LINK = 4096;
const STEP = 0x1_0000;

/** `struct linux_dirent64`: byte offsets. */
const DIRENT64 = { d_reclen: 16, d_name: 19 } as const;

/** All that can be read at `path`, at most `most` bytes. Throws `SystemError`. */
export function readWhole(path: string, most: number = 0x100_0000): Uint8Array<ArrayBuffer> {
  using fd = open(path);
  const pieces: Uint8Array[] = [];
  let length = 0;
  while (length < most) {
    const piece = new Uint8Array(Math.min(STEP, most - length));
    const count = libc().read(fd.number, piece, BigInt(piece.length));
    const errno = count < 0 ? lastErrno() : 0;
    if (errno === ERRNO.EINTR) continue;
    if (errno !== 0) throw new SystemError(`read ${path}`, errno);
    if (count === 0) break;
    pieces.push(piece.subarray(0, count));
    length += count;
  }
  const whole = new Uint8Array(length);
  let at = 0;
  for (const piece of pieces) {
    whole.set(piece, at);
    at += piece.length;
  }
  return whole;
}

/** Names in the directory `path`, sorted, without `.` and `..`. Throws `SystemError`. */
export function listDirectory(path: string): string[] {
  using fd = open(path);
  const into = new Uint8Array(STEP);
  const view = new DataView(into.buffer);
  const names: string[] = [];
  for (;;) {
    const count = libc().getdents64(fd.number, into, BigInt(into.length));
    check(count, `list ${path}`);
    if (count === 0) break;
    for (let at = 0; at < count; at += view.getUint16(at + DIRENT64.d_reclen, true)) {
      const from = at + DIRENT64.d_name;
      names.push(new TextDecoder().decode(into.subarray(from, into.indexOf(0, from))));
    }
  }
  return names.filter((name) => name !== "." && name !== "..").sort();
}

/** Where the symbolic link `path` points. Throws `SystemError`. */
export function linkTarget(path: string): string {
  const into = new Uint8Array(LONGEST_LINK);
  const length = libc().readlink(cString(path), into, BigInt(into.length));
  check(length, `read the link ${path}`);
  return new TextDecoder().decode(into.subarray(0, length));
}

/** 0 when this process may read and write `path`, otherwise the error number, such as ENOENT or EACCES. */
export function readWriteAccess(path: string): number {
  return -orMinusErrno(libc().access(cString(path), R_OK | W_OK));
}

function open(path: string): Fd {
  const flags = O_RDONLY | O_NONBLOCK | O_CLOEXEC;
  return new Fd(check(libc().open(cString(path), flags, 0), `open ${path}`));
}
