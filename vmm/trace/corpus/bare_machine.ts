/**
 * A machine without a guest: QEMU, our devices over vfio-user, and programs that reach both by the qtest socket, recorded.
 * @module
 */
import type { Features } from "../../../hw/smmuv3/features.ts";
import type { Subject } from "../../differential/subject.ts";
import { Peer } from "../../differential/peer.ts";
import { DeviceThread } from "../../device_thread.ts";
import { EnvironmentError } from "../../environment_error.ts";
import { provisionQemu } from "../../provision/provision.ts";
import { RuntimeDirectory } from "../../qemu/runtime_directory.ts";
import { Recording } from "../recording.ts";

/** A DMA test device of it. */
export interface BareEndpoint {
  readonly streamId: number;
  /** Bits of its PASIDs. */
  readonly pasidWidth?: number;
  /** Whether it translates for itself, and asks for pages. */
  readonly ats?: boolean;
}

/** A program for such a machine. */
export interface BareProgram {
  /** What it is called in the trace. */
  readonly name: string;
  readonly features: Partial<Features>;
  readonly endpoints: readonly BareEndpoint[];
  /** Does it; throws an `EnvironmentError` when something is not as it has to be. */
  readonly run: (subject: Subject) => Promise<void>;
}

/** How it is recorded. */
export interface BareOptions {
  /** The trace. */
  readonly path: string;
  readonly progress: (line: string) => void;
  readonly signal: AbortSignal;
}

/** Records a program. Throws an `EnvironmentError`, or the signal's reason. */
export async function recordBare(
  { name, features, endpoints, run }: BareProgram,
  { path, progress, signal }: BareOptions,
): Promise<void> {
  const qemu = await provisionQemu({ progress, signal });
  using directory = await RuntimeDirectory.make();
  await using recording = new Recording({ path }, { kernel: name, qemu: qemu.version }, progress);
  const functions = endpoints.map(({ streamId }) =>
    [streamId, directory.file(`${streamId.toString(16)}.sock`)] as const
  );
  const smmu = directory.file("smmu.sock");
  const sockets = new Map(functions);
  await using thread = await DeviceThread.start({
    smmuSocketPath: smmu,
    features,
    iommufd: "none",
    recording: recording.configuration,
    endpoints: endpoints.map((endpoint) => ({
      ...endpoint,
      kind: "dma-test" as const,
      socketPath: sockets.get(endpoint.streamId)!,
    })),
  }, () => {});
  {
    await using peer = await Peer.start({
      qemu: qemu.tool,
      directory,
      own: { smmu, functions: sockets },
      signal,
    });
    await peer.ours!.reset();
    await run(peer.ours!);
  }
  await thread.stop();
  const failure = await recording.finish();
  if (failure !== undefined) throw new EnvironmentError(failure);
}
