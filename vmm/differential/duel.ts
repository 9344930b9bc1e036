/**
 * Both sides, started and ended together.
 * @module
 */
import { EnvironmentError } from "../environment_error.ts";
import { type ProvisionOptions, provisionQemu } from "../provision/provision.ts";
import type { RegisterKind } from "../register_page.ts";
import type { RuntimeDirectory } from "../qemu/runtime_directory.ts";
import type { Sides } from "./campaign.ts";
import { type DeviceMaker, OwnSubject } from "./own_subject.ts";
import { OwnThread } from "./own_thread.ts";
import { Peer } from "./peer.ts";

/** What a duel is started with. */
export interface DuelOptions {
  /** For the sockets. It stays; its maker removes it. */
  readonly directory: RuntimeDirectory;
  /** Our SMMUv3 is in the same QEMU over vfio-user, or in this process over memory of its own. */
  readonly where: "qemu" | "process";
  /** How software gets at our registers; each access traps by default. */
  readonly registers?: RegisterKind | undefined;
  /** Where QEMU comes from. */
  readonly parts: ProvisionOptions;
  /** Another device in place of ours; in this process. */
  readonly make?: DeviceMaker | undefined;
  /** Takes lines about what is being done. */
  readonly progress: (line: string) => void;
  readonly signal: AbortSignal;
}

/** QEMU with its SMMUv3, and ours. */
export class Duel implements AsyncDisposable {
  readonly sides: Sides;
  readonly #peer: Peer;
  readonly #stack: AsyncDisposableStack;

  private constructor(sides: Sides, peer: Peer, stack: AsyncDisposableStack) {
    this.sides = sides;
    this.#peer = peer;
    this.#stack = stack;
  }

  /** Starts both. Throws an `EnvironmentError`, or the signal's reason. */
  static async start(options: DuelOptions): Promise<Duel> {
    const { directory, where, registers = "trapped", parts, make, progress, signal } = options;
    const qemu = await provisionQemu({ ...parts, progress, signal });
    await using stack = new AsyncDisposableStack();
    // The server says of every client that it came and went; only what follows a mistake is of interest.
    const own = where === "qemu"
      ? stack.use(await OwnThread.start(directory, registers, ignoreClients(progress)))
      : undefined;
    progress(`Starting QEMU ${qemu.version} without a guest`);
    const peer = stack.use(
      await Peer.start({
        qemu: qemu.tool,
        directory,
        own: own && { ...own.sockets, looks: own.looks },
        signal,
      }),
    );
    const ours = peer.ours ?? new OwnSubject(make, registers);
    return new Duel({ theirs: peer.theirs, ours }, peer, stack.move());
  }

  /** Waits for what the two are made to do; an `EnvironmentError` says how QEMU ended, if it did meanwhile. */
  async watch<T>(work: Promise<T>): Promise<T> {
    try {
      return await work;
    } catch (error) {
      const end = error instanceof EnvironmentError ? await this.#peer.end() : undefined;
      if (end === undefined) throw error;
      throw new EnvironmentError(`QEMU ended: ${end}; ${(error as Error).message}`);
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#stack.disposeAsync();
  }
}

function ignoreClients(progress: (line: string) => void): (line: string) => void {
  return (line) => {
    if (!/A client connected|The client is gone/.test(line)) progress(line);
  };
}
