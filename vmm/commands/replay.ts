/**
 * `vsmmu replay`: a recorded guest against a fresh device.
 * @module
 */
import { Replayer } from "../trace/replayer.ts";
import { openTrace } from "../trace/trace_file.ts";
import { type Command, EXIT, type Io, type Values } from "./command.ts";

/** The command. */
export const replay: Command = {
  name: "replay",
  summary: "feeds a recorded guest to a fresh device and stops at the first difference",
  operands: "FILE",
  flags: { json: { help: "Print the result as one JSON object" } },
  run: runCommand,
};

async function runCommand(values: Values, io: Io): Promise<number> {
  const path = values.operands[0];
  const began = performance.now();
  const { header, operations } = await openTrace(path);
  const replayer = new Replayer(header);
  let count = 0;
  for await (const { number, operation } of operations) {
    const differences = replayer.step(operation);
    count++;
    if (differences.length > 0) {
      io.out(`Line ${number}: ${JSON.stringify(operation)}`);
      for (const { what, expected, got } of differences) {
        io.out(`  ${what}: expected ${JSON.stringify(expected)}, got ${JSON.stringify(got)}`);
      }
      return EXIT.failed;
    }
  }
  const seconds = (performance.now() - began) / 1000;
  io.out(`${path}: ${count} operations, identical, ${Math.round(count / seconds)} a second`);
  return EXIT.ok;
}
