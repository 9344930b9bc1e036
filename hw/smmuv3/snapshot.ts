/**
 * The state of an SMMUv3 between two operations, as a plain value.
 * @module
 */
import type { ContextCacheSnapshot } from "./configuration/context_cache.ts";
import type { MappedSnapshot } from "./mapped_registers.ts";
import type { EventQueueSnapshot } from "./queues/event_queue.ts";
import type { StallsSnapshot } from "./stalls.ts";
import type { TlbSnapshot } from "./translation/tlb_snapshot.ts";

/** The version that is made and restored. */
export const SNAPSHOT_VERSION = 4;

/** The state of a device as a plain value; see `SmmuV3.snapshot`. */
export interface SmmuV3Snapshot {
  /** Version of this structure. */
  readonly version: number;
  /** Words of the register space that are not zero. */
  readonly registers: readonly (readonly [offset: number, value: number])[];
  /** Cached translations. */
  readonly tlb: TlbSnapshot;
  /** Cached configuration. */
  readonly contexts: ContextCacheSnapshot;
  /** The record that the next event may be merged with. */
  readonly events: EventQueueSnapshot;
  /** Whether the next CMD_SYNC is to say that an endpoint did not answer. */
  readonly unanswered: boolean;
  /** Transactions that wait for software. */
  readonly stalls: StallsSnapshot;
  /** Where registers are memory: what is there. */
  readonly mapped?: MappedSnapshot;
  /** Where registers are memory: since which index software was not told of events. */
  readonly untold?: number;
}

/** Throws a RangeError for a snapshot of another version. */
export function checkVersion({ version }: SmmuV3Snapshot): void {
  if (version === SNAPSHOT_VERSION) return;
  throw new RangeError(
    `Cannot restore a snapshot of version ${version}: this is version ${SNAPSHOT_VERSION}`,
  );
}
