/**
 * Patterns of causes in interrupts and messages: one that is missing, one too many.
 * @module
 */
import type { Cause } from "./divergence_cause.ts";
import type { Evidence } from "./divergence_evidence.ts";
import { alignOutputs, sourceOf } from "./divergence_outputs.ts";
import { hex } from "../inspect/naming.ts";

/** An interrupt or a message too many, or one that is missing. */
export function interruptCause(evidence: Evidence): Cause | undefined {
  for (const [expected, got] of alignOutputs(evidence.operation.out ?? [], evidence.outcome.out)) {
    const output = expected ?? got!;
    if (expected !== undefined && got !== undefined) continue;
    if (output[0] !== "irq" && output[0] !== "store32" && output[0] !== "msi") continue;
    const source = output[0] === "irq" ? output[1].toUpperCase() : sourceOf(evidence, output[1]);
    return expected === undefined ? extra(evidence, source) : missing(source, expected);
  }
  return undefined;
}

function missing(source: string, [kind, gpa, data]: readonly unknown[]): Cause {
  if (source === "CMD_SYNC") {
    return {
      kind: "CMD_SYNC message missing",
      text: `CMD_SYNC was consumed and its completion message was not written: MSIData ${
        hex(data as number)
      } belongs at MSIAddress ${hex(gpa as number)}`,
    };
  }
  const how = kind === "irq" ? "the wire was not pulsed" : `no message went to ${gpa}`;
  const why = source === "GERROR"
    ? "a global error that becomes active (GERROR toggled) raises an interrupt"
    : "an event queue that becomes non-empty raises an interrupt";
  return {
    kind: `${source} interrupt missing`,
    text: `an interrupt was lost, ${how}: ${why} (${source})`,
  };
}

function extra({ before: [, prod], device }: Evidence, source: string): Cause {
  if (source !== "EVENTQ") {
    return { kind: `${source} interrupt too many`, text: `${source} raised an interrupt too many` };
  }
  const cons = device.read32(0x1_00ac);
  return {
    kind: "EVENTQ interrupt too many",
    text: "an interrupt for each event instead of one when the queue becomes non-empty: before " +
      `this event it held others already (EVENTQ_PROD ${hex(prod)}, EVENTQ_CONS ${hex(cons)})`,
  };
}
