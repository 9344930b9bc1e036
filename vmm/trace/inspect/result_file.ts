/**
 * A text file that is made piece by piece and appears when it is whole.
 * @module
 */
import { EnvironmentError } from "../../environment_error.ts";

const PIECE = 2 ** 16;

/** Text on its way to a file. Without `finish` nothing is left of it. */
export class ResultFile implements Disposable {
  readonly #path: string;
  readonly #temporary: string;
  readonly #file: Deno.FsFile;
  readonly #encoder = new TextEncoder();
  #pending = "";
  #isDone = false;

  /** Begins a file at `path`, which stays as it is until the end. Throws an `EnvironmentError` when that cannot be. */
  constructor(path: string) {
    this.#path = path;
    // A pipe or a terminal cannot be replaced by a file.
    this.#temporary = isSpecial(path) ? path : `${path}.${crypto.randomUUID().slice(0, 8)}.part`;
    this.#file = this.#attempt(() =>
      Deno.openSync(this.#temporary, { write: true, create: true, truncate: true })
    );
  }

  /** Appends text. */
  write(text: string): void {
    this.#pending += text;
    if (this.#pending.length >= PIECE) this.#flush();
  }

  /** Puts the file in its place. */
  finish(): void {
    this.#flush();
    if (this.#temporary !== this.#path) {
      this.#attempt(() => Deno.renameSync(this.#temporary, this.#path));
    }
    this.#isDone = true;
  }

  /** Closes it; removes what is not finished. */
  [Symbol.dispose](): void {
    this.#file.close();
    if (this.#isDone || this.#temporary === this.#path) return;
    try {
      Deno.removeSync(this.#temporary);
    } catch {
      // Someone else did.
    }
  }

  #flush(): void {
    const bytes = this.#encoder.encode(this.#pending);
    this.#pending = "";
    this.#attempt(() => {
      for (let at = 0; at < bytes.length;) at += this.#file.writeSync(bytes.subarray(at));
    });
  }

  #attempt<T>(action: () => T): T {
    try {
      return action();
    } catch (error) {
      throw new EnvironmentError(`Cannot write ${this.#path}: ${(error as Error).message}`);
    }
  }
}

function isSpecial(path: string): boolean {
  try {
    return !Deno.statSync(path).isFile;
  } catch {
    return false;
  }
}
