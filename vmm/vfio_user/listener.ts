/**
 * A socket in a private directory, for one function.
 * @module
 */
import { ERRNO, SystemError } from "../../uapi/errno.ts";
import { Fd } from "../../uapi/fd.ts";
import { libc } from "../../uapi/libc.ts";
import { cString } from "../../uapi/pinned.ts";
import { accept, connect, listen } from "../../uapi/socket.ts";
import { S_IF, statusAt } from "../../uapi/stat.ts";

const BACKLOG = 8;

/** Listens at a path until it is closed; the file goes then, unless someone else has replaced it. */
export class Listener implements Disposable {
  /** The listening socket, for a poller. */
  readonly fd: Fd;
  readonly #path: string;
  readonly #identity: string;
  /** Kept open so that a client can still be turned away when no descriptor is left. */
  #spare: Fd;

  /**
   * Listens at `path`, whose directory must belong to this user and be closed to others; a socket that nobody listens
   * at any more is replaced. Throws `SystemError`.
   */
  constructor(path: string) {
    requirePrivate(directoryOf(path));
    removeStale(path);
    this.#path = path;
    this.fd = listen(path, BACKLOG);
    this.#identity = identityAt(path);
    this.#spare = spare();
  }

  /** The next client that waits; undefined when none does, an error number when it had to be turned away. */
  accept(): Fd | number | undefined {
    const client = accept(this.fd);
    if (typeof client === "object") return client;
    const errno = -client;
    if (errno === ERRNO.EAGAIN) return undefined;
    if (errno === ERRNO.EMFILE || errno === ERRNO.ENFILE) {
      this.#spare[Symbol.dispose]();
      const unwanted = accept(this.fd);
      if (typeof unwanted === "object") unwanted[Symbol.dispose]();
      this.#spare = spare();
    }
    return errno;
  }

  /** Stops listening and removes the socket file. */
  [Symbol.dispose](): void {
    if (!this.fd.isOpen) return;
    this.fd[Symbol.dispose]();
    this.#spare[Symbol.dispose]();
    if (identityAt(this.#path) === this.#identity) libc().unlink(cString(this.#path));
  }
}

/** A descriptor of no use; closed from the beginning when there is none to be had. */
function spare(): Fd {
  return new Fd(libc().eventfd(0, 0x8_0000));
}

function directoryOf(path: string): string {
  const slash = path.lastIndexOf("/");
  return slash > 0 ? path.slice(0, slash) : slash === 0 ? "/" : ".";
}

/** The directory decides who can connect, and who can replace the socket. */
function requirePrivate(directory: string): void {
  const status = statusAt(directory);
  if (typeof status === "number") throw new SystemError(`listen in ${directory}`, -status);
  if (status.type !== S_IF.DIR) throw new SystemError(`listen in ${directory}`, ERRNO.ENOTDIR);
  if (status.uid !== libc().geteuid() || (status.mode & 0o077) !== 0) {
    const mode = status.mode.toString(8);
    const call =
      `listen in ${directory} of mode ${mode} and user ${status.uid}, which is not private`;
    throw new SystemError(call, ERRNO.EPERM);
  }
}

/** Removes a socket that refuses connections. What is no socket, or answers, stays, and bind(2) says so. */
function removeStale(path: string): void {
  const status = statusAt(path);
  if (typeof status === "number" || status.type !== S_IF.SOCK) return;
  try {
    connect(path)[Symbol.dispose]();
  } catch (error) {
    if (!(error instanceof SystemError) || error.errno !== ERRNO.ECONNREFUSED) return;
    libc().unlink(cString(path));
  }
}

function identityAt(path: string): string {
  const status = statusAt(path);
  return typeof status === "number" ? "" : status.identity;
}
