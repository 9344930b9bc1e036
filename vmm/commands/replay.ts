/**
 * `vsmmu replay`: a recorded guest against a fresh device.
 * @module
 */
import type { Operation } from "../trace/format.ts";
import { type Difference, Replayer } from "../trace/replayer.ts";
import { openTrace } from "../trace/trace_file.ts";
import { type Command, EXIT, type Io, type Values } from "./command.ts";

/** The command. */
export const replay: Command = {
  name: "replay",
  summary: "feeds a recorded guest to a fresh device and stops at the first difference",
  operand: "FILE",
  flags: { json: { help: "Print the result as one JSON object" } },
  run: runCommand,
};

/** Where a device did something else than was recorded. */
interface Divergence {
  /** Line of the trace, from 1. */
  readonly line: number;
  readonly operation: Operation;
  readonly differences: readonly Difference[];
}

async function runCommand(values: Values, io: Io): Promise<number> {
  const path = values.operand;
  const began = performance.now();
  const { header, operations } = await openTrace(path);
  const replayer = new Replayer(header);
  let count = 0;
  let divergence: Divergence | null = null;
  for await (const { number, operation } of operations) {
    io.signal.throwIfAborted();
    const differences = replayer.step(operation);
    count++;
    if (differences.length === 0) continue;
    divergence = { line: number, operation, differences };
    break;
  }
  const seconds = (performance.now() - began) / 1000;
  const ok = divergence === null;
  if (values.on("json")) {
    io.out(JSON.stringify({ ok, operations: count, seconds, divergence }, undefined, 2));
  } else if (divergence !== null) {
    for (const line of divergenceLines(divergence)) io.out(line);
  } else {
    io.out(`${path}: ${count} operations, identical, ${Math.round(count / seconds)} a second`);
  }
  return ok ? EXIT.ok : EXIT.failed;
}

function divergenceLines({ line, operation, differences }: Divergence): string[] {
  return [
    `Line ${line}: ${JSON.stringify(operation)}`,
    ...differences.map(({ what, expected, got }) =>
      `  ${what}: expected ${JSON.stringify(expected)}, got ${JSON.stringify(got)}`
    ),
  ];
}
