/**
 * Our SMMUv3 and its functions over vfio-user, in a thread of their own.
 * @module
 */
import type { RuntimeDirectory } from "../qemu/runtime_directory.ts";
import type { RegisterKind } from "../register_page.ts";
import { ServingThread } from "../serving_thread.ts";
import { READERS, WRITERS } from "./ground.ts";
import type { OwnSockets } from "./peer.ts";

/** What the thread is told. */
export interface OwnStart {
  readonly sockets: OwnSockets;
  /** Where registers are memory: memory of 4 bytes, in which looks at them are counted. */
  readonly looks: SharedArrayBuffer | undefined;
}

/** The thread; it serves until it is disposed. */
export class OwnThread implements AsyncDisposable {
  readonly sockets: OwnSockets;
  readonly #thread: ServingThread;

  /** Counts looks at the registers, where they are memory. */
  readonly looks: Int32Array<SharedArrayBuffer> | undefined;

  private constructor(sockets: OwnSockets, registers: RegisterKind, log: (line: string) => void) {
    this.sockets = sockets;
    this.looks = registers === "mapped" ? new Int32Array(new SharedArrayBuffer(4)) : undefined;
    this.#thread = ServingThread.run<OwnStart>({
      module: new URL("./own_worker.ts", import.meta.url),
      start: { sockets, looks: this.looks?.buffer },
      log,
    });
  }

  /** Starts it, with sockets in `directory`. Throws an `EnvironmentError`. */
  static async start(
    directory: RuntimeDirectory,
    registers: RegisterKind,
    log: (line: string) => void,
  ): Promise<OwnThread> {
    const functions = [...WRITERS, ...READERS].map((stream) =>
      [stream, directory.file(`${stream.toString(16)}.sock`)] as const
    );
    const sockets = { smmu: directory.file("smmu.sock"), functions: new Map(functions) };
    const own = new OwnThread(sockets, registers, log);
    await own.#thread.ready();
    return own;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#thread.stop();
  }
}
