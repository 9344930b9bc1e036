/**
 * A line-oriented connection over a Unix socket, as QMP and qtest are.
 * @module
 */
import { delay } from "@std/async/delay";
import { lines } from "./lines.ts";
import { EnvironmentError } from "../environment_error.ts";

/** How long to wait for a program that may still be starting. */
export interface ConnectOptions {
  /** For all of it: the socket to appear, the connection, the first words. */
  readonly timeoutMs: number;
  /** Ends the wait with its reason. */
  readonly signal?: AbortSignal | undefined;
}

const RETRY_MS = 10;
const MAX_LINE_LENGTH = 1 << 20;

/** A connected socket: lines in, lines out. */
export class LineSocket {
  readonly #connection: Deno.UnixConn;
  readonly #encoder = new TextEncoder();

  private constructor(connection: Deno.UnixConn) {
    this.#connection = connection;
  }

  /**
   * Connects to `path`, again and again until somebody listens there. Throws an `EnvironmentError` that names `peer` when the time is
   * over. Deno 2.9 wants `--allow-read`, `--allow-write` and `--allow-net` for a Unix socket.
   */
  static async connect(peer: string, path: string, options: ConnectOptions): Promise<LineSocket> {
    const end = performance.now() + options.timeoutMs;
    while (true) {
      options.signal?.throwIfAborted();
      try {
        return new LineSocket(await Deno.connect({ transport: "unix", path }));
      } catch (error) {
        if (!isNotThereYet(error) || performance.now() >= end) {
          throw new EnvironmentError(
            `Cannot connect to ${peer} at ${path}: ${(error as Error).message}`,
          );
        }
      }
      await delay(RETRY_MS, options.signal ? { signal: options.signal } : {});
    }
  }

  /** Sends one line. */
  async send(line: string): Promise<void> {
    const bytes = this.#encoder.encode(line + "\n");
    for (let at = 0; at < bytes.length;) at += await this.#connection.write(bytes.subarray(at));
  }

  /** The peer's lines until it closes, or until `close()`. */
  async *lines(): AsyncGenerator<string, void> {
    try {
      yield* lines(this.#connection.readable, MAX_LINE_LENGTH);
    } catch {
      // A reset connection and our own close both mean that nothing more will come.
    }
  }

  /** Closes our end; safe to repeat. */
  close(): void {
    try {
      this.#connection.close();
    } catch {
      // Closed before.
    }
  }
}

function isNotThereYet(error: unknown): boolean {
  return error instanceof Deno.errors.NotFound || error instanceof Deno.errors.ConnectionRefused;
}
