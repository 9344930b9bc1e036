/**
 * `vsmmu minimise`: the smallest trace that still diverges.
 * @module
 */
import { gzipSync } from "node:zlib";
import { divergenceLines } from "../trace/replay/divergence.ts";
import { minimise as minimiseTrace, traceText } from "../trace/replay/minimise.ts";
import { openTrace } from "../trace/trace_file.ts";
import { type Command, EXIT, type Io, UsageError, type Values } from "./command.ts";
import { DEVICE_FLAG, deviceOf } from "./device_flag.ts";

/** The command. */
export const minimise: Command = {
  name: "minimise",
  summary: "cuts a trace that diverges to a small one that diverges in the same way",
  operand: "FILE",
  flags: {
    out: { value: "PATH", help: "Where the small trace goes" },
    ...DEVICE_FLAG,
  },
  run: runCommand,
};

async function runCommand(values: Values, io: Io): Promise<number> {
  const out = values.text("out");
  if (out === undefined) throw new UsageError("Cannot minimise without --out PATH");
  const make = await deviceOf(values);
  const { header, operations } = await openTrace(values.operand);
  let next = performance.now() + 2000;
  const onTry = (left: number): void => {
    io.signal.throwIfAborted();
    if (performance.now() < next) return;
    next += 2000;
    io.note(`${left} operations are left`);
  };
  const small = await minimiseTrace(header, operations, { make, onTry });
  if (small === undefined) {
    io.out(`${values.operand} does not diverge: there is nothing to cut`);
    return EXIT.failed;
  }
  await Deno.writeFile(out, gzipSync([...traceText(small)].join("")));
  io.out(`${out}: ${small.operations.length} operations, after ${small.tries} tries`);
  io.out(
    small.isRecordedAnew
      ? "What is expected is what the device of this build does with them"
      : "Only the last is as it was recorded; those before it are what the device does that diverges",
  );
  io.out("");
  for (const line of divergenceLines(small.divergence, out)) io.out(line);
  return EXIT.ok;
}
