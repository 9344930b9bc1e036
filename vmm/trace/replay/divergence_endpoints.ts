/**
 * Patterns of causes in what endpoints are answered and told: translations, invalidations, ends of what waited.
 * @module
 */
import type { Cause } from "./divergence_cause.ts";
import type { Evidence } from "./divergence_evidence.ts";
import { alignOutputs, describeOutput } from "./divergence_outputs.ts";
import { fieldLine } from "./explain.ts";

/** What endpoints are told, by the names of outputs. */
const TOLD: readonly string[] = ["invalidate", "respond", "end", "asked"];

/** An answer to a translation request that is another, or something that endpoints are told otherwise. */
export function endpointCause(evidence: Evidence): Cause | undefined {
  return answerCause(evidence) ?? toldCause(evidence);
}

function answerCause({ operation, differences, path }: Evidence): Cause | undefined {
  const result = differences.find(({ what }) => what === "result");
  if (operation.op !== "translation-request" || result === undefined) return undefined;
  const last = path?.steps.at(-1);
  return {
    kind: "answer to a translation request",
    text: `the device answers ${result.got} where the recording has ${result.expected}` +
      (last?.fields === undefined ? "" : ` (${last.what}: ${fieldLine(last.fields)})`),
  };
}

function toldCause(evidence: Evidence): Cause | undefined {
  const { operation, outcome } = evidence;
  const pair = alignOutputs(operation.out ?? [], outcome.out).find((pair) =>
    pair.some((output) => output !== undefined && TOLD.includes(output[0]))
  );
  if (pair === undefined) return undefined;
  const [expected, got] = pair.map((output) => output && describeOutput(evidence, output));
  const { name } = (expected ?? got)!;
  if (expected === undefined || got === undefined) {
    return {
      kind: `${name}, ${got === undefined ? "missing" : "too much"}`,
      text: got === undefined
        ? `an endpoint is not told what it was told: ${name} (${fieldLine(expected!.fields)})`
        : `an endpoint is told what it was not: ${name} (${fieldLine(got.fields)})`,
    };
  }
  return {
    kind: name,
    text: `what endpoints are told is not as recorded: ${got.name} (${fieldLine(got.fields)}) ` +
      `instead of ${name} (${fieldLine(expected.fields)})`,
  };
}
