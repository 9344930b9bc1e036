/**
 * `vsmmu inspect`: what a recorded guest did with its SMMU, for people.
 * @module
 */
import { analysisLines } from "../trace/analysis_text.ts";
import { survey } from "../trace/survey.ts";
import { type Command, EXIT, type Io, type Values } from "./command.ts";

/** The command. */
export const inspect: Command = {
  name: "inspect",
  summary: "tells what a recorded guest did: who did DMA, what was commanded, what faulted and why",
  operand: "FILE",
  flags: {
    json: { help: "Print the analysis as one JSON object" },
  },
  run: runCommand,
};

async function runCommand(values: Values, io: Io): Promise<number> {
  const { analysis, damage } = await survey(values.operand, {
    progress: io.note,
    signal: io.signal,
  });
  if (values.on("json")) io.out(JSON.stringify(analysis, undefined, 2));
  else for (const line of analysisLines(analysis)) io.out(line);
  if (damage !== undefined) throw damage;
  return EXIT.ok;
}
