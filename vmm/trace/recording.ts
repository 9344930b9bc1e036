/**
 * A recording as the main thread sees it: a file that fills while the device thread works.
 * @module
 */
import type { RecordingConfiguration } from "../machine.ts";
import { TextRing } from "./ring.ts";
import { writeTrace } from "./trace_file.ts";

/** A trace that is being written. */
export class Recording implements Disposable {
  /** For the device thread. */
  readonly configuration: RecordingConfiguration;
  readonly #ring = new TextRing();
  readonly #writing: Promise<Error | undefined>;

  /** Writes to `path`; `guest` goes into the header. */
  constructor(path: string, guest: Readonly<Record<string, string>>) {
    this.configuration = { ring: this.#ring.buffer, guest };
    this.#writing = writeTrace(path, this.#ring).then(() => undefined, (error) => error);
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
