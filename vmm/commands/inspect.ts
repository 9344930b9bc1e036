/**
 * `vsmmu inspect`: what a recorded guest did with its SMMU, for people.
 * @module
 */
import { analysisLines } from "../trace/inspect/analysis_text.ts";
import { page } from "../trace/inspect/page.ts";
import { PerfettoWriter } from "../trace/inspect/perfetto.ts";
import { ResultFile } from "../trace/inspect/result_file.ts";
import { survey } from "../trace/inspect/survey.ts";
import { sentences } from "../trace/inspect/wording.ts";
import { type Command, EXIT, type Io, type Values } from "./command.ts";

/** The command. */
export const inspect: Command = {
  name: "inspect",
  summary: "tells what a recorded guest did: who did DMA, what was commanded, what faulted and why",
  operand: "FILE",
  flags: {
    json: {
      help: "Print the analysis as one JSON object; vmm/trace/analysis.ts says what its names mean",
    },
    html: { value: "OUT", help: "Write the analysis as one page that needs nothing else" },
    perfetto: { value: "OUT", help: "Write what happens as a file for ui.perfetto.dev" },
  },
  run: runCommand,
};

async function runCommand(values: Values, io: Io): Promise<number> {
  const htmlPath = values.text("html");
  const perfettoPath = values.text("perfetto");
  using htmlFile = htmlPath === undefined ? undefined : new ResultFile(htmlPath);
  using perfettoFile = perfettoPath === undefined ? undefined : new ResultFile(perfettoPath);
  let perfetto: PerfettoWriter | undefined;
  const { analysis, damage } = await survey(values.operand, {
    progress: io.note,
    signal: io.signal,
    also: (header) => {
      if (perfettoFile === undefined) return () => {};
      const writer = perfetto = new PerfettoWriter(header, (text) => perfettoFile.write(text));
      return (happening) => writer.take(happening);
    },
  });
  perfetto?.end();
  perfettoFile?.finish();
  htmlFile?.write(page(analysis));
  htmlFile?.finish();
  if (values.on("json")) io.out(JSON.stringify(analysis, undefined, 2));
  else if (htmlPath === undefined && perfettoPath === undefined) {
    for (const line of analysisLines(analysis)) io.out(line);
  } else io.out(sentences(analysis).join(" "));
  for (const path of [htmlPath, perfettoPath]) {
    if (path !== undefined) io.note(`Wrote ${path}`);
  }
  if (damage !== undefined) throw damage;
  return EXIT.ok;
}
