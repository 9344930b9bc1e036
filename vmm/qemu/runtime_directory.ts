/**
 * A private directory for the sockets of one machine.
 * @module
 */
import { EnvironmentError } from "../environment_error.ts";
import { OwnFolder } from "../own_folder.ts";

/** `sun_path` of `struct sockaddr_un` holds 108 bytes with the final zero. Linux `include/uapi/linux/un.h`. */
const SOCKET_PATH_MAX = 107;
const LONGEST_NAME = 24;
const PREFIX = "vsmmu-";

/** A directory that only its owner may enter, removed by `remove()` or at the end of a `using` block. */
export class RuntimeDirectory implements Disposable {
  /** Its absolute path. */
  readonly path: string;

  readonly #folder: OwnFolder;

  private constructor(folder: OwnFolder) {
    this.path = folder.path;
    this.#folder = folder;
  }

  /**
   * Makes one under `parent`, or under `$XDG_RUNTIME_DIR`, or where temporary files live. A parent whose path is too long
   * for the address of a Unix socket, or that does not exist, is passed over. Directories there that killed processes of
   * this user have left behind are removed. Throws an `EnvironmentError` when none is left.
   */
  static async make(parent?: string): Promise<RuntimeDirectory> {
    const candidates = parent ? [parent] : [Deno.env.get("XDG_RUNTIME_DIR"), undefined, "/tmp"];
    let problem = "";
    for (const candidate of candidates) {
      if (candidate === "") continue;
      try {
        const path = await Deno.makeTempDir({
          prefix: PREFIX,
          ...(candidate && { dir: candidate }),
        });
        if (path.length + 1 + LONGEST_NAME <= SOCKET_PATH_MAX) {
          const folder = OwnFolder.take(path);
          folder.removeAbandoned(PREFIX);
          return new RuntimeDirectory(folder);
        }
        await Deno.remove(path);
        problem = `${path} is too long for the address of a socket`;
      } catch (error) {
        problem = `${candidate ?? "the folder of temporary files"}: ${(error as Error).message}`;
      }
    }
    throw new EnvironmentError(`Cannot make a runtime directory: ${problem}`);
  }

  /** The path of the file or socket `name`, of at most 24 characters. */
  file(name: string): string {
    if (name.length > LONGEST_NAME) {
      throw new EnvironmentError(`Cannot name a socket ${name}: it is too long`);
    }
    return `${this.path}/${name}`;
  }

  /** Removes the directory and what is in it. Safe to repeat. */
  remove(): void {
    this.#folder.remove();
  }

  [Symbol.dispose](): void {
    this.remove();
  }
}
