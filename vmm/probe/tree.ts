/**
 * What the kernel shows as files, below a root. What is not there is `undefined` or empty; what cannot be read counts
 * as absent and is noted.
 * @module
 */
import { ERRNO, SystemError } from "../../uapi/errno.ts";
import { linkTarget, listDirectory, readWhole, readWriteAccess } from "../../uapi/kernel_files.ts";
import { statusAt } from "../../uapi/stat.ts";

/** Whether a device node can be opened by this process. */
export type NodeState = "usable" | "forbidden" | "absent";

/** Attributes of sysfs answer ENODEV or ENXIO when what they are about is gone. */
const ABSENT: readonly number[] = [ERRNO.ENOENT, ERRNO.ENOTDIR, ERRNO.ENODEV, ERRNO.ENXIO];

/** Files below a root. */
export class Tree {
  readonly #root: string;
  readonly #unread: string[] = [];

  /** Files of this machine, or of a copy below `root`. */
  constructor(root: string = "") {
    this.#root = root;
  }

  /** What could not be read and why, as lines. */
  get unread(): readonly string[] {
    return this.#unread;
  }

  /** The text of a file, without white space at its ends. */
  text(path: string): string | undefined {
    const bytes = this.bytes(path);
    return bytes && new TextDecoder().decode(bytes).trim();
  }

  /** The number in a file, decimal or with `0x`. */
  number(path: string): number | undefined {
    const text = this.text(path);
    return text === undefined || text === "" ? undefined : Number(text);
  }

  /** The bytes of a file. */
  bytes(path: string): Uint8Array<ArrayBuffer> | undefined {
    return this.#try(() => readWhole(this.#root + path));
  }

  /** The names in a directory, sorted. */
  names(path: string): string[] {
    return this.#try(() => listDirectory(this.#root + path)) ?? [];
  }

  /** The target of a symbolic link. */
  link(path: string): string | undefined {
    return this.#try(() => linkTarget(this.#root + path));
  }

  /** The last name in the target of a symbolic link: the driver, the group, the parent. */
  target(path: string): string | undefined {
    return this.link(path)?.split("/").at(-1);
  }

  /** The same files with notes of its own. */
  apart(): Tree {
    return new Tree(this.#root);
  }

  /** Whether something is there. */
  has(path: string): boolean {
    return typeof statusAt(this.#root + path) !== "number";
  }

  /** Whether a device node can be opened for reading and writing. It is not opened. */
  node(path: string): NodeState {
    const errno = readWriteAccess(this.#root + path);
    if (errno === 0) return "usable";
    return ABSENT.includes(errno) ? "absent" : "forbidden";
  }

  #try<T>(read: () => T): T | undefined {
    try {
      return read();
    } catch (error) {
      if (!(error instanceof SystemError)) throw error;
      if (!ABSENT.includes(error.errno)) this.#unread.push(error.message);
      return undefined;
    }
  }
}
