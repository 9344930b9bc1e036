/**
 * The corpus of recorded guests in `tests/traces/`, and how a test replays a part of it.
 * @module
 */
import { assert } from "@std/assert";
import { type Behaviour, behaviourOf } from "../../vmm/trace/corpus/behaviour.ts";
import type { TraceHeader } from "../../vmm/trace/format.ts";
import { openTrace } from "../../vmm/trace/trace_file.ts";

/** A file of the corpus. */
export interface CorpusFile {
  /** Without `.jsonl.gz`. */
  readonly name: string;
  readonly path: string;
  readonly sizeBytes: number;
}

/** The traces in a folder, by name; fails when there is none. */
export function corpusFiles(folder: string): CorpusFile[] {
  const files = [...Deno.readDirSync(folder)].filter(({ name }) => name.endsWith(".jsonl.gz"))
    .map(({ name }) => {
      const path = `${folder}/${name}`;
      return { name: name.slice(0, -9), path, sizeBytes: Deno.statSync(path).size };
    });
  assert(files.length > 0, `No trace in ${folder}: deno task traces:record makes them`);
  return files.sort((a, b) => (a.name < b.name ? -1 : 1));
}

/** Replays a whole trace; what is damaged, cut or diverges throws an error that names the line. */
export async function replayTrace(
  path: string,
): Promise<{ header: TraceHeader; behaviour: Behaviour }> {
  const { header, operations } = await openTrace(path);
  return { header, behaviour: await behaviourOf(header, operations) };
}
