/**
 * A lock that lives as long as its owner.
 *
 * It is the kernel's own file lock, so the lock of a process that was killed is free at once and nobody has to guess
 * whether its owner still lives. The file holds the owner's process id for whoever waits.
 *
 * @module
 */

import { delay } from "@std/async/delay";

const POLL_MS = 100;

/** An exclusive lock on a file; freed by `release`, by `using`, or by the end of the process. */
export class FileLock implements Disposable {
  readonly #file: Deno.FsFile;
  #isReleased = false;

  private constructor(file: Deno.FsFile) {
    this.#file = file;
  }

  /** Takes the lock, or returns `undefined` when another owner has it. The file is made when missing. */
  static tryTake(path: string): FileLock | undefined {
    return FileLock.#lock(
      Deno.openSync(path, { read: true, write: true, create: true, mode: 0o600 }),
    );
  }

  /** The same for a file that must be there. */
  static tryTakeOld(path: string): FileLock | undefined {
    return FileLock.#lock(Deno.openSync(path, { read: true, write: true }));
  }

  static #lock(file: Deno.FsFile): FileLock | undefined {
    if (!file.tryLockSync(true)) {
      file.close();
      return undefined;
    }
    file.truncateSync(0);
    file.writeSync(new TextEncoder().encode(`${Deno.pid}\n`));
    return new FileLock(file);
  }

  /**
   * Waits for the lock. `onWait` is called once, with the owner's process id as the file tells it, when it is not free
   * at once. Throws the signal's reason when aborted.
   */
  static async take(
    path: string,
    options: { onWait?: (owner: string) => void; signal?: AbortSignal | undefined } = {},
  ): Promise<FileLock> {
    for (let attempt = 0;; attempt++) {
      options.signal?.throwIfAborted();
      const lock = FileLock.tryTake(path);
      if (lock !== undefined) return lock;
      if (attempt === 0) options.onWait?.(Deno.readTextFileSync(path).trim());
      await delay(POLL_MS, options.signal === undefined ? {} : { signal: options.signal });
    }
  }

  /** Frees the lock; the file stays. Safe to repeat. */
  release(): void {
    if (this.#isReleased) return;
    this.#isReleased = true;
    this.#file.close();
  }

  /** Frees the lock at the end of a `using` block. */
  [Symbol.dispose](): void {
    this.release();
  }
}
