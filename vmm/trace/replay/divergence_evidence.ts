/**
 * What is known of an operation that came out differently: the material of which its cause is inferred.
 * @module
 */
import type { Features } from "../../../hw/smmuv3/features.ts";
import type { SmmuV3, SmmuV3Snapshot } from "../../../hw/smmuv3/smmuv3.ts";
import { isEventRecord, isTranslated } from "./explain.ts";
import { type Path, pathOf, type PathStep } from "./explain_path.ts";
import { hashAddress, type Operation, type Output } from "../format.ts";
import type { Difference, Outcome, Replayer } from "./replayer.ts";
import type { CommandHistory } from "./replayer_history.ts";

/** An input address with who uses it, and how much of it. */
export interface Target {
  readonly streamId: number;
  readonly substreamId: number;
  readonly lo: number;
  readonly hi: number;
  readonly sizeBytes: number;
}

/** The material. */
export interface Evidence {
  readonly line: number;
  readonly operation: Operation;
  readonly differences: readonly Difference[];
  readonly outcome: Outcome;
  /** Event records, as hexadecimal bytes. */
  readonly events: { readonly expected: readonly string[]; readonly got: readonly string[] };
  /** CMDQ_CONS, EVENTQ_PROD and GERROR before it. */
  readonly before: readonly [cmdqCons: number, eventqProd: number, gerror: number];
  readonly device: SmmuV3;
  readonly history: CommandHistory;
  /** For DMA. */
  readonly target: Target | undefined;
  readonly path: Path | undefined;
  /** The path of another address of the same requester. */
  readonly pathAt: (lo: number, hi: number) => Path | undefined;
  /** The steps of the path that the recorded device fetched, where the hash of their addresses proves it. */
  readonly expectedFetches: readonly PathStep[] | undefined;
  /** Whether the operation comes out as recorded when the device's state before it is changed. */
  readonly wouldBeSame: (change: (snapshot: SmmuV3Snapshot) => SmmuV3Snapshot) => boolean;
}

/** Gathers it of the operation that `replayer` has just done. */
export function evidenceOf(
  replayer: Replayer,
  operation: Operation,
  differences: readonly Difference[],
  features: Features,
): Evidence {
  const target = targetOf(operation);
  const { device } = replayer;
  const source = {
    register: (offset: number): number => device.read32(offset),
    memory: (gpa: number, sizeBytes: number) => replayer.recall(gpa, sizeBytes),
    oas: features.oas,
    cachedCd: (streamId: number, substreamId: number) => cachedCd(device, streamId, substreamId),
  };
  const outcome = replayer.outcome;
  const pathAt = (lo: number, hi: number): Path | undefined =>
    target && pathOf(source, target.streamId, target.substreamId, lo, hi);
  const path = target && pathAt(target.lo, target.hi);
  return {
    line: replayer.line,
    operation,
    differences,
    outcome,
    events: { expected: eventsOf(operation.out ?? []), got: eventsOf(outcome.out) },
    before: replayer.before,
    device,
    history: replayer.history,
    target,
    path,
    pathAt,
    expectedFetches: path && provenFetches(path, operation),
    wouldBeSame: (change) => replayer.again(operation, change).length === 0,
  };
}

/** The CD that the device has decoded for a requester. */
function cachedCd(
  { translator }: SmmuV3,
  streamId: number,
  substreamId: number,
): Uint32Array | undefined {
  const { contexts } = translator.contexts.snapshot();
  const found = contexts.find((c) => c.streamId === streamId && c.substreamId === substreamId);
  return found?.cd ? Uint32Array.from(found.cd) : undefined;
}

/** A cache may save the first steps, never later ones. */
function provenFetches({ steps }: Path, operation: Operation): PathStep[] | undefined {
  const count = operation.fetches ?? 0;
  const inMemory = steps.filter(({ gpa }) => gpa !== undefined);
  for (let first = 0; first + count <= inMemory.length; first++) {
    const part = inMemory.slice(first, first + count);
    if (hashOf(part.map(({ gpa }) => gpa!)) === (operation.path ?? 0)) return part;
  }
  return undefined;
}

function eventsOf(outputs: readonly Output[]): string[] {
  return outputs.flatMap((output) =>
    output[0] === "store" && isEventRecord(output[2]) ? [output[2]] : []
  );
}

function targetOf(operation: Operation): Target | undefined {
  if (!isTranslated(operation)) return undefined;
  const digits = operation.iova.slice(2).padStart(16, "0");
  return {
    streamId: operation.stream,
    substreamId: operation.substream ?? -1,
    lo: parseInt(digits.slice(8), 16),
    hi: parseInt(digits.slice(0, 8), 16),
    sizeBytes: "size" in operation ? operation.size : "data" in operation ? 4 : 1,
  };
}

/** The hash of addresses as a recorder makes it. */
export function hashOf(addresses: readonly number[]): number {
  return addresses.reduce(hashAddress, 0);
}
