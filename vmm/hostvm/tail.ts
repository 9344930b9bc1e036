/**
 * A file that someone else writes, as it grows.
 * @module
 */
import { delay } from "@std/async/delay";

const INTERVAL_MS = 100;
const PIECE = 1 << 16;

/** Follows a file; disposing it delivers the rest first. */
export class Tail implements AsyncDisposable {
  readonly #path: string;
  readonly #take: (bytes: Uint8Array<ArrayBuffer>) => void;
  readonly #stop = new AbortController();
  readonly #done: Promise<void>;
  #offset = 0;

  private constructor(path: string, take: (bytes: Uint8Array<ArrayBuffer>) => void) {
    this.#path = path;
    this.#take = take;
    this.#done = this.#run();
  }

  /** Gives `take` what is in the file and what comes; a file that is not there yet is waited for. */
  static follow(path: string, take: (bytes: Uint8Array<ArrayBuffer>) => void): Tail {
    return new Tail(path, take);
  }

  /** Delivers what is left, and ends. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.#stop.abort();
    await this.#done;
  }

  async #run(): Promise<void> {
    const { signal } = this.#stop;
    while (!signal.aborted) {
      await this.#deliver();
      await delay(INTERVAL_MS, { signal }).catch(() => {});
    }
    await this.#deliver();
  }

  async #deliver(): Promise<void> {
    let file: Deno.FsFile;
    try {
      file = await Deno.open(this.#path);
    } catch (error) {
      if (error instanceof Deno.errors.NotFound) return;
      throw error;
    }
    using open = file;
    await open.seek(this.#offset, Deno.SeekMode.Start);
    const piece = new Uint8Array(new ArrayBuffer(PIECE));
    for (let count; (count = await open.read(piece)) !== null;) {
      this.#offset += count;
      this.#take(piece.slice(0, count));
    }
  }
}
