/**
 * A folder that goes with the process that made it, at the latest when the next such folder is made.
 * @module
 */
import { FileLock } from "./file_lock.ts";

const LOCK = "lock";
/** Permissions of anybody but the owner. */
const OTHERS = 0o077;

/** A folder for this process alone; it goes at the end of a `using` block. */
export class OwnFolder implements Disposable {
  /** Where it is. */
  readonly path: string;
  readonly #lock: FileLock;

  private constructor(path: string, lock: FileLock) {
    this.path = path;
    this.#lock = lock;
  }

  /** Takes the folder at `path`, which the caller has just made, empty and closed to others. */
  static take(path: string): OwnFolder {
    // The lock appears under its name when it is taken, so that nobody takes it first.
    const lock = FileLock.tryTake(`${path}/${LOCK}.new`)!;
    Deno.renameSync(`${path}/${LOCK}.new`, `${path}/${LOCK}`);
    return new OwnFolder(path, lock);
  }

  /** Removes folders beside this one whose names begin with `prefix` and whose processes were killed. */
  removeAbandoned(prefix: string): void {
    const parent = this.path.slice(0, this.path.lastIndexOf("/"));
    const { uid } = Deno.lstatSync(this.path);
    for (const { name, isDirectory } of [...Deno.readDirSync(parent)]) {
      const path = `${parent}/${name}`;
      if (!isDirectory || !name.startsWith(prefix) || path === this.path) continue;
      try {
        const found = Deno.lstatSync(path);
        if (found.uid !== uid || (found.mode ?? OTHERS) & OTHERS) continue;
        using lock = FileLock.tryTakeOld(`${path}/${LOCK}`);
        if (lock !== undefined) Deno.removeSync(path, { recursive: true });
      } catch {
        // It has gone meanwhile, or is not as we leave them: it is not ours to remove.
      }
    }
  }

  /** Removes the folder and what is in it. Safe to repeat. */
  remove(): void {
    try {
      Deno.removeSync(this.path, { recursive: true });
    } catch (error) {
      if (!(error instanceof Deno.errors.NotFound)) throw error;
    } finally {
      this.#lock.release();
    }
  }

  /** The same as `remove()`. */
  [Symbol.dispose](): void {
    this.remove();
  }
}
