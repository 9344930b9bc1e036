/**
 * A recording as the main thread sees it: a file that fills while the device thread works.
 * @module
 */
import { EnvironmentError } from "../environment_error.ts";
import type { RecordingConfiguration } from "../machine.ts";
import { TextRing } from "./ring.ts";
import { writeTrace } from "./trace_file.ts";

/** A trace that is being written. */
export class Recording implements Disposable {
  /** For the device thread. */
  readonly configuration: RecordingConfiguration;
  readonly #ring = new TextRing();
  readonly #writing: Promise<Error | undefined>;

  /** Writes to `path`; `guest` goes into the header. Throws an `EnvironmentError` when it cannot be opened. */
  constructor(path: string, guest: Readonly<Record<string, string>>) {
    this.configuration = { ring: this.#ring.buffer, guest };
    this.#writing = writeTrace(open(path), this.#ring).then(() => undefined, (error) => error);
  }

  /** Waits until everything is on disk; the device thread has ended. Throws what the disk refused. */
  async finish(): Promise<void> {
    this.#ring.close();
    const error = await this.#writing;
    if (error !== undefined) throw error;
  }

  [Symbol.dispose](): void {
    this.#ring.close();
  }
}

function open(path: string): Deno.FsFile {
  try {
    return Deno.openSync(path, { write: true, create: true, truncate: true, mode: 0o600 });
  } catch (error) {
    throw new EnvironmentError(`Cannot record to ${path}: ${(error as Error).message}`);
  }
}
