/**
 * The place where a device does otherwise than recorded, told for people and as data.
 * @module
 */
import type { Features } from "../../../hw/smmuv3/features.ts";
import { type Cause, causeOf } from "./divergence_cause.ts";
import { type Evidence, evidenceOf, hashOf } from "./divergence_evidence.ts";
import { alignOutputs, describeOutput } from "./divergence_outputs.ts";
import {
  commandFieldsOf,
  fieldLine,
  type Fields,
  operationText,
  registerFields,
} from "./explain.ts";
import { stepLine } from "./explain_path.ts";
import type { Operation } from "../format.ts";
import { commandName, hex, registerName } from "../inspect/naming.ts";
import type { Difference, Replayer } from "./replayer.ts";

/** A value that is not as recorded. */
export interface FieldDifference {
  /** Such as `GERROR` or `event record`. */
  readonly where: string;
  /** The manual's name of the field; empty for the whole. */
  readonly field: string;
  readonly expected: string;
  readonly got: string;
}

/** A command before it. */
export interface CommandBefore {
  readonly line: number;
  readonly name: string;
  readonly fields: Fields;
  /** CERROR code with which it was refused, or 0. */
  readonly error: number;
}

/** A divergence. */
export interface Divergence {
  /** Line of the trace; the header is line 1. */
  readonly line: number;
  /** Seconds since the recording began. */
  readonly seconds: number;
  /** The operation in words. */
  readonly what: string;
  readonly operation: Operation;
  readonly fields: readonly FieldDifference[];
  /** The last commands, the latest last. */
  readonly commands: readonly CommandBefore[];
  /** STE, CD and descriptors of a transaction, a line each. */
  readonly path: readonly string[];
  /** A word for the cause, by which divergences are counted. */
  readonly kind: string;
  /** What most likely is wrong. */
  readonly cause: string;
}

/** How many commands are told. */
const COMMANDS_BEFORE = 8;

/** A divergence with what a replay that goes on needs. */
export interface Found {
  readonly divergence: Divergence;
  readonly evidence: Evidence;
  readonly cause: Cause;
}

/** Explains what `replayer` has just found in an operation. */
export function divergenceOf(
  replayer: Replayer,
  operation: Operation,
  differences: readonly Difference[],
  features: Features,
): Found {
  const evidence = evidenceOf(replayer, operation, differences, features);
  const cause = causeOf(evidence);
  const divergence = {
    line: replayer.line,
    seconds: operation.t,
    what: operationText(operation),
    operation,
    fields: fieldDifferences(evidence),
    commands: commandsBefore(replayer),
    path: evidence.path?.steps.map(stepLine) ?? [],
    kind: cause.kind,
    cause: cause.text,
  };
  return { divergence, evidence, cause };
}

function commandsBefore({ history }: Replayer): CommandBefore[] {
  return [...history.latest().take(COMMANDS_BEFORE)].reverse().map(({ line, error, words }) => ({
    line,
    name: commandName(words),
    fields: commandFieldsOf(words),
    error,
  }));
}

function fieldDifferences(evidence: Evidence): FieldDifference[] {
  const { operation, differences, outcome } = evidence;
  const result: FieldDifference[] = [];
  const result1 = differences.find(({ what }) => what === "result");
  if (result1 !== undefined && operation.op === "read") {
    const fields = registerFields(operation.at, operation.bytes);
    const got = registerFields(operation.at, String(outcome.result));
    result.push(...between(registerName(operation.at), fields, got));
  } else if (result1 !== undefined) {
    const said = (ok: unknown): string =>
      typeof ok === "string" ? ok : ok === true ? "done" : "aborted";
    result.push({
      where: operation.op === "translation-request" ? "answer" : "transaction",
      field: "",
      expected: said(result1.expected),
      got: said(result1.got),
    });
  }
  for (const [expected, got] of alignOutputs(operation.out ?? [], outcome.out)) {
    const [a, b] = [expected, got].map((output) => output && describeOutput(evidence, output));
    if (a !== undefined && b !== undefined && a.name === b.name) {
      result.push(...between(a.name, a.fields, b.fields));
      continue;
    }
    const text = (d: typeof a): string => d ? `${d.name} ${fieldLine(d.fields)}`.trim() : "nothing";
    result.push({ where: (a ?? b)!.name, field: "", expected: text(a), got: text(b) });
  }
  result.push(...fetchDifferences(evidence));
  return result;
}

/** The records that were fetched; of the recording only their number is known. */
function fetchDifferences({ operation, outcome, expectedFetches }: Evidence): FieldDifference[] {
  const expected = operation.fetches ?? 0;
  const { fetches, unknown } = outcome;
  const where = "fetched records";
  const result: FieldDifference[] = [];
  if (fetches.length !== expected) {
    const got = String(fetches.length);
    result.push({ where, field: "number", expected: String(expected), got });
  }
  if (expectedFetches !== undefined && isElsewhere(operation, fetches)) {
    const expected = expectedFetches.map(({ what, gpa }) => `${what} ${hex(gpa!)}`);
    result.push({
      where,
      field: "addresses",
      expected: expected.join(", ") || "none",
      got: fetches.map(hex).join(", ") || "none",
    });
  } else if (unknown !== undefined) {
    result.push({
      where,
      field: "address",
      expected: "one that the recording fetched",
      got: hex(unknown),
    });
  } else if (
    fetches.length === expected && result.length === 0 && isElsewhere(operation, fetches)
  ) {
    const got = fetches.map(hex).join(" ");
    result.push({ where, field: "addresses", expected: `others (hash ${operation.path})`, got });
  }
  return result;
}

function isElsewhere(operation: Operation, fetches: readonly number[]): boolean {
  return (operation.path ?? 0) !== hashOf(fetches);
}

/** The fields that differ. */
export function between(where: string, expected: Fields, got: Fields): FieldDifference[] {
  const names = new Set([...Object.keys(expected), ...Object.keys(got)]);
  return [...names].filter((name) => expected[name] !== got[name]).map((field) => ({
    where,
    field,
    expected: expected[field] ?? "nothing",
    got: got[field] ?? "nothing",
  }));
}

/** A divergence for people; `file` goes into the command that shows it again. */
export function divergenceLines(divergence: Divergence, file: string): string[] {
  const { line, seconds, what, fields, commands, path, cause } = divergence;
  return [
    `Line ${line}, ${seconds.toFixed(6)} s: ${what}`,
    "",
    ...table(fields),
    "",
    `Most likely: ${cause}`,
    ...(path.length === 0 ? [] : ["", "The way of the transaction, as the trace has memory:"]),
    ...path.map((step) => `  ${step}`),
    ...(commands.length === 0 ? [] : ["", "The last commands before it:"]),
    ...commands.map(({ line, name, fields, error }) =>
      `  line ${line}: ${name} ${fieldLine(fields)}`.trimEnd() +
      (error === 0 ? "" : `, refused with CERROR ${error}`)
    ),
    "",
    `To see it again: vsmmu replay ${file} --seek ${line}`,
  ];
}

function table(fields: readonly FieldDifference[]): string[] {
  const rows = fields.map(({ where, field, expected, got }) => [
    `  ${where}${field === "" ? "" : `.${field}`}`,
    `expected ${expected}`,
    `got ${got}`,
  ]);
  const widths = [0, 1].map((i) => Math.min(Math.max(0, ...rows.map((row) => row[i].length)), 60));
  return rows.map(([where, expected, got]) =>
    `${where.padEnd(widths[0])}  ${expected.padEnd(widths[1])}  ${got}`
  );
}
