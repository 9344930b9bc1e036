/**
 * `vsmmu compare`: two recorded guests side by side.
 * @module
 */
import { compare as compareAnalyses } from "../trace/inspect/comparison.ts";
import { comparisonLines } from "../trace/inspect/comparison_text.ts";
import { survey } from "../trace/inspect/survey.ts";
import { guestName } from "../trace/inspect/wording.ts";
import { type Command, EXIT, type Io, type Values } from "./command.ts";

/** The command. */
export const compare: Command = {
  name: "compare",
  summary: "puts two recorded guests side by side: features, commands, cost, faults",
  operand: "A B",
  flags: {
    json: {
      help:
        "Print the comparison as one JSON object; vmm/trace/comparison.ts says what its names mean",
    },
  },
  run: runCommand,
};

async function runCommand(values: Values, io: Io): Promise<number> {
  const [pathA, pathB] = values.operands;
  const options = { progress: io.note, signal: io.signal };
  const a = await survey(pathA, options);
  const b = await survey(pathB, options);
  const comparison = compareAnalyses(a.analysis, b.analysis);
  if (values.on("json")) io.out(JSON.stringify(comparison, undefined, 2));
  else {
    const name = (path: string, { analysis }: typeof a): string =>
      `${path}: ${guestName(analysis)}, ${analysis.guest["commandLine"] ?? "no command line"}`;
    for (const line of comparisonLines(comparison, name(pathA, a), name(pathB, b))) io.out(line);
  }
  // One line is enough to fail; the other damage is named in the note before it.
  if (a.damage !== undefined && b.damage !== undefined) io.note(a.damage.message);
  const damage = b.damage ?? a.damage;
  if (damage !== undefined) throw damage;
  return EXIT.ok;
}
