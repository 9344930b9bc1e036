/**
 * Local stream sockets that carry descriptors. unix(7), cmsg(3).
 *
 * Sending and receiving never wait, never raise SIGPIPE and never throw: they return a count of bytes, or minus an
 * error number (`-ERRNO.EAGAIN` when nothing can be done now).
 * @module
 */
import { check, ERRNO, orMinusErrno } from "./errno.ts";
import { Fd } from "./fd.ts";
import { libc } from "./libc.ts";
import { cString, Pinned } from "./pinned.ts";

/** `struct msghdr`: byte offsets, and the size. */
export const MSGHDR = {
  msg_iov: 16,
  msg_iovlen: 24,
  msg_control: 32,
  msg_controllen: 40,
  msg_flags: 48,
  size: 56,
} as const;

/** `struct iovec`: byte offsets, and the size. */
export const IOVEC = { iov_base: 0, iov_len: 8, size: 16 } as const;

/** `struct cmsghdr`: byte offsets, the size, and the alignment of what follows the data. */
export const CMSGHDR = { cmsg_len: 0, cmsg_level: 8, cmsg_type: 12, size: 16, align: 8 } as const;

/** `struct sockaddr_un`: byte offsets, and the size. */
export const SOCKADDR_UN = { sun_family: 0, sun_path: 2, size: 110 } as const;

/** Most descriptors that one message may carry here. The kernel's own limit is 253. */
export const MOST_FDS = 16;

const AF_UNIX = 1;
const SOCK_STREAM = 1;
const SOCK_NONBLOCK = 0x800;
const SOCK_CLOEXEC = 0x8_0000;
const SOL_SOCKET = 1;
const SCM_RIGHTS = 1;
const MSG_CTRUNC = 0x8;
const MSG_DONTWAIT = 0x40;
const MSG_NOSIGNAL = 0x4000;
const MSG_CMSG_CLOEXEC = 0x4000_0000;
const FLAGS = SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC;
const CONTROL_SIZE = CMSGHDR.size + MOST_FDS * 4;

/** A socket address. Throws `TypeError` when `path` is too long for one. */
function address(path: string): Uint8Array<ArrayBuffer> {
  const name = cString(path);
  if (name.length > SOCKADDR_UN.size - SOCKADDR_UN.sun_path) {
    throw new TypeError(`Cannot use ${path} as a socket: the path is longer than 107 bytes`);
  }
  const bytes = new Uint8Array(SOCKADDR_UN.size);
  bytes[SOCKADDR_UN.sun_family] = AF_UNIX;
  bytes.set(name, SOCKADDR_UN.sun_path);
  return bytes;
}

function socket(): Fd {
  return new Fd(check(libc().socket(AF_UNIX, FLAGS, 0), "make a socket"));
}

/** Runs `prepare` on `fd`; closes it when that throws. */
function prepared(fd: Fd, prepare: () => void): Fd {
  try {
    prepare();
    return fd;
  } catch (error) {
    fd[Symbol.dispose]();
    throw error;
  }
}

/** A listening socket at `path`, which must be free, readable and writable by its owner only. Throws `SystemError`. */
export function listen(path: string, backlog: number): Fd {
  const to = address(path);
  const fd = socket();
  return prepared(fd, () => {
    // The file takes the socket's own mode, so there is no moment at which others can connect.
    check(libc().fchmod(fd.number, 0o600), `protect ${path}`);
    check(libc().bind(fd.number, to, to.length), `listen at ${path}`);
    check(libc().listen(fd.number, backlog), `listen at ${path}`);
  });
}

/** A socket connected to the listener at `path`. Throws `SystemError`. */
export function connect(path: string): Fd {
  const to = address(path);
  const fd = socket();
  return prepared(fd, () => {
    check(libc().connect(fd.number, to, to.length), `connect to ${path}`);
  });
}

/** Takes one waiting client of a listener; minus the error number when there is none or it cannot be taken. */
export function accept(listener: Fd): Fd | number {
  const result = orMinusErrno(
    libc().accept4(listener.number, null, null, SOCK_NONBLOCK | SOCK_CLOEXEC),
  );
  return result < 0 ? result : new Fd(result);
}

/** Two sockets connected to each other. Throws `SystemError`. */
export function socketPair(): [Fd, Fd] {
  const numbers = new Int32Array(2);
  check(libc().socketpair(AF_UNIX, FLAGS, 0, numbers), "make a socket pair");
  return [new Fd(numbers[0]), new Fd(numbers[1])];
}

/** Sends the first `length` bytes. Returns how many went, or minus an error number. */
export function send(fd: Fd, bytes: Uint8Array<ArrayBuffer>, length: number): number {
  return orMinusErrno(libc().send(fd.number, bytes, BigInt(length), MSG_DONTWAIT | MSG_NOSIGNAL));
}

/** A message header with one buffer and room for descriptors, at fixed addresses. */
class Message {
  readonly header = new Pinned(MSGHDR.size);
  readonly control = new Pinned(CONTROL_SIZE);
  readonly #vector = new Pinned(IOVEC.size);

  constructor() {
    this.header.setU64(MSGHDR.msg_iov, this.#vector.address);
    this.header.setU64(MSGHDR.msg_iovlen, 1);
    this.header.setU64(MSGHDR.msg_control, this.control.address);
  }

  /** Points at `length` bytes at `address`, with `controlSize` bytes of control data. */
  aim(address: number, length: number, controlSize: number): void {
    this.#vector.setU64(IOVEC.iov_base, address);
    this.#vector.setU64(IOVEC.iov_len, length);
    this.header.setU64(MSGHDR.msg_controllen, controlSize);
    this.header.view.setUint32(MSGHDR.msg_flags, 0, true);
  }
}

/** Receives bytes and descriptors into one buffer. recvmsg(2). */
export class Receiver {
  /** Where bytes arrive. */
  readonly buffer: Pinned;
  readonly #message = new Message();

  /** A receiver with room for `sizeBytes`. */
  constructor(sizeBytes: number) {
    this.buffer = new Pinned(sizeBytes);
  }

  /**
   * Receives at most `length` bytes to `offset` of the buffer. Returns their count, 0 at the end of the stream, or
   * minus an error number. Descriptors that came along are appended to `fds`, whose owner closes them; when more came
   * than `MOST_FDS`, all are closed and the result is `-ERRNO.ETOOMANYREFS`.
   */
  receive(fd: Fd, offset: number, length: number, fds: Fd[]): number {
    const { header } = this.#message;
    this.#message.aim(this.buffer.address + offset, length, CONTROL_SIZE);
    const flags = MSG_DONTWAIT | MSG_CMSG_CLOEXEC;
    const count = orMinusErrno(libc().recvmsg(fd.number, header.bytes, flags));
    if (count <= 0 || header.view.getUint32(MSGHDR.msg_controllen, true) === 0) return count;
    const first = fds.length;
    this.#collect(fds);
    if ((header.view.getUint32(MSGHDR.msg_flags, true) & MSG_CTRUNC) === 0) return count;
    for (const extra of fds.splice(first)) extra[Symbol.dispose]();
    return -ERRNO.ETOOMANYREFS;
  }

  #collect(fds: Fd[]): void {
    const { header, control: { view } } = this.#message;
    const end = header.view.getUint32(MSGHDR.msg_controllen, true);
    for (let at = 0; at + CMSGHDR.size <= end;) {
      const length = view.getUint32(at + CMSGHDR.cmsg_len, true);
      const isRights = view.getInt32(at + CMSGHDR.cmsg_level, true) === SOL_SOCKET &&
        view.getInt32(at + CMSGHDR.cmsg_type, true) === SCM_RIGHTS;
      for (let data = at + CMSGHDR.size; isRights && data + 4 <= at + length; data += 4) {
        fds.push(new Fd(view.getInt32(data, true)));
      }
      at += Math.max(Math.ceil(length / CMSGHDR.align) * CMSGHDR.align, CMSGHDR.size);
    }
  }
}

/** Sends bytes together with descriptors. sendmsg(2). */
export class Sender {
  readonly #message = new Message();

  /**
   * Sends the first `length` bytes of `from`, with copies of `fds` (at most `MOST_FDS`) riding on the first one. Returns how
   * many bytes went, or minus an error number; the caller still owns `fds`.
   */
  send(fd: Fd, from: Pinned, fds: readonly Fd[], length: number = from.bytes.length): number {
    if (fds.length > MOST_FDS) return -ERRNO.ETOOMANYREFS;
    const { header, control: { view } } = this.#message;
    const control = CMSGHDR.size + fds.length * 4;
    view.setUint32(CMSGHDR.cmsg_len, control, true);
    view.setInt32(CMSGHDR.cmsg_level, SOL_SOCKET, true);
    view.setInt32(CMSGHDR.cmsg_type, SCM_RIGHTS, true);
    fds.forEach(({ number }, i) => view.setInt32(CMSGHDR.size + i * 4, number, true));
    this.#message.aim(from.address, length, fds.length === 0 ? 0 : control);
    return orMinusErrno(
      libc().sendmsg(fd.number, header.bytes, MSG_DONTWAIT | MSG_NOSIGNAL),
    );
  }
}
