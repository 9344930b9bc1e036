/**
 * Our SMMUv3 and its functions over vfio-user, in a thread of their own.
 * @module
 */
import type { RuntimeDirectory } from "../qemu/runtime_directory.ts";
import { ServingThread } from "../serving_thread.ts";
import { READERS, WRITERS } from "./ground.ts";
import type { OwnSockets } from "./peer.ts";

/** What the thread is told. */
export interface OwnStart {
  readonly sockets: OwnSockets;
}

/** The thread; it serves until it is disposed. */
export class OwnThread implements AsyncDisposable {
  readonly sockets: OwnSockets;
  readonly #thread: ServingThread;

  private constructor(sockets: OwnSockets, log: (line: string) => void) {
    this.sockets = sockets;
    this.#thread = ServingThread.run<OwnStart>({
      module: new URL("./own_worker.ts", import.meta.url),
      start: { sockets },
      log,
    });
  }

  /** Starts it, with sockets in `directory`. Throws an `EnvironmentError`. */
  static async start(directory: RuntimeDirectory, log: (line: string) => void): Promise<OwnThread> {
    const functions = [...WRITERS, ...READERS].map((stream) =>
      [stream, directory.file(`${stream.toString(16)}.sock`)] as const
    );
    const sockets = { smmu: directory.file("smmu.sock"), functions: new Map(functions) };
    const own = new OwnThread(sockets, log);
    await own.#thread.ready();
    return own;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#thread.stop();
  }
}
