/**
 * Our SMMUv3 and its functions over vfio-user, in a thread of their own.
 * @module
 */
import { EventFd } from "../../uapi/eventfd.ts";
import { EnvironmentError } from "../environment_error.ts";
import type { RuntimeDirectory } from "../qemu/runtime_directory.ts";
import { READERS, WRITERS } from "./ground.ts";
import type { OwnSockets } from "./peer.ts";

/** What the thread is told. */
export interface OwnStart {
  readonly sockets: OwnSockets;
  /** Number of an eventfd; when it is signalled, the thread ends. */
  readonly stopFd: number;
}

/** What it tells. */
export type OwnMessage =
  | { readonly kind: "ready" }
  | { readonly kind: "log"; readonly line: string }
  | { readonly kind: "ended"; readonly failure?: string };

/** The thread; it serves until it is disposed. */
export class OwnThread implements AsyncDisposable {
  readonly sockets: OwnSockets;
  readonly #stop = EventFd.create();
  readonly #ready = Promise.withResolvers<void>();
  readonly #ended = Promise.withResolvers<string | undefined>();

  private constructor(sockets: OwnSockets, log: (line: string) => void) {
    this.sockets = sockets;
    const worker = new Worker(new URL("./own_worker.ts", import.meta.url), { type: "module" });
    worker.onmessage = ({ data }: MessageEvent<OwnMessage>): void => {
      if (data.kind === "ready") this.#ready.resolve();
      else if (data.kind === "log") log(data.line);
      else this.#ended.resolve(data.failure);
    };
    worker.onerror = (event: ErrorEvent): void => {
      event.preventDefault();
      this.#ended.resolve(`The device thread failed: ${event.message}`);
    };
    this.#ended.promise.then(() => worker.terminate());
    const start: OwnStart = { sockets, stopFd: this.#stop.fd.number };
    worker.postMessage(start);
  }

  /** Starts it, with sockets in `directory`. Throws an `EnvironmentError`. */
  static async start(directory: RuntimeDirectory, log: (line: string) => void): Promise<OwnThread> {
    const functions = [...WRITERS, ...READERS].map((stream) =>
      [stream, directory.file(`${stream.toString(16)}.sock`)] as const
    );
    const sockets = { smmu: directory.file("smmu.sock"), functions: new Map(functions) };
    const thread = new OwnThread(sockets, log);
    const failure = await Promise.race([thread.#ready.promise, thread.#ended.promise]);
    if (typeof failure !== "string") return thread;
    thread.#stop[Symbol.dispose]();
    throw new EnvironmentError(failure);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#stop.signal();
    await this.#ended.promise;
    this.#stop[Symbol.dispose]();
  }
}
