/**
 * A recording as the main thread sees it: a file that fills while the device thread works.
 * @module
 */
import { EnvironmentError } from "../environment_error.ts";
import type { RecordingConfiguration } from "../device_configuration.ts";
import { TextRing } from "./ring.ts";
import { reasonOf, writeTrace } from "./trace_file.ts";

/** What is to be recorded, and where. */
export interface RecordingChoice {
  /** The trace; what was there is replaced. */
  readonly path: string;
  /** Payload too, not only its checksums. */
  readonly payload?: boolean;
}

/** A trace that is being written. */
export class Recording implements AsyncDisposable {
  /** For the device thread. */
  readonly configuration: RecordingConfiguration;
  readonly #ring = new TextRing();
  readonly #written: Promise<string | undefined>;

  /**
   * Opens the file; `guest` goes into the header. When the disk refuses something later, the recording ends there: `note` takes
   * one line that says so, and the guest goes on. Throws an `EnvironmentError` when the file cannot be opened.
   */
  constructor(
    { path, payload = false }: RecordingChoice,
    guest: Readonly<Record<string, string>>,
    note: (line: string) => void,
  ) {
    this.configuration = { ring: this.#ring.buffer, guest, payload };
    this.#written = writeTrace(open(path), this.#ring).then(() => undefined, (error) => {
      this.#ring.abandon();
      const failure = `Cannot record to ${path}: ${reasonOf(error)}`;
      note(`${failure}; the guest goes on, and the trace ends here`);
      return failure;
    });
  }

  /** Waits until everything is on disk; the device thread has ended. Resolves to what the disk refused, if it did. */
  finish(): Promise<string | undefined> {
    this.#ring.close();
    return this.#written;
  }

  /** The same as `finish()`. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.finish();
  }
}

/** Opens a file for its owner alone. */
function open(path: string): Deno.FsFile {
  try {
    const file = Deno.openSync(path, { write: true, create: true, truncate: true, mode: 0o600 });
    try {
      // A mode is for new files only; pipes and devices keep theirs.
      if (file.statSync().isFile) Deno.chmodSync(path, 0o600);
    } catch (error) {
      file.close();
      throw error;
    }
    return file;
  } catch (error) {
    throw new EnvironmentError(`Cannot record to ${path}: ${reasonOf(error)}`);
  }
}
