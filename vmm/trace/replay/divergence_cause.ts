/**
 * What most likely is wrong with a device that does otherwise than recorded: a list of patterns, the first that fits.
 * @module
 */
import type { SmmuV3Snapshot } from "../../../hw/smmuv3/smmuv3.ts";
import { dmaCause } from "./divergence_dma.ts";
import type { Evidence } from "./divergence_evidence.ts";
import { endpointCause } from "./divergence_endpoints.ts";
import { interruptCause } from "./divergence_interrupts.ts";
import { registerCause } from "./divergence_registers.ts";

/** A cause. */
export interface Cause {
  /** A word for it, the same for each divergence of the same cause, such as `stale translation`. */
  readonly kind: string;
  /** A sentence, without its period. */
  readonly text: string;
  /** Where it is known: what brings the device's state before the operation to where the recorded one was. */
  readonly repair?: (snapshot: SmmuV3Snapshot) => SmmuV3Snapshot;
}

/** The most likely cause. */
export function causeOf(evidence: Evidence): Cause {
  return (evidence.target ? dmaCause(evidence) : registerCause(evidence)) ??
    endpointCause(evidence) ?? interruptCause(evidence) ?? unexplained(evidence);
}

function unexplained({ differences }: Evidence): Cause {
  const what = differences.map(({ what }) => what).join(", ");
  return {
    kind: `unknown: ${what}`,
    text: `no pattern that is known here; what differs is the ${what}`,
  };
}
