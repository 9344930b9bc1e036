/**
 * One pass over a trace file: an analysis of it, and whatever else wants to see what happens.
 * @module
 */
import type { Analysis } from "./analysis.ts";
import { Analyst } from "./analyst.ts";
import type { TraceHeader } from "../format.ts";
import { openTrace, TraceError } from "../trace_file.ts";
import { type Happening, Witness } from "./witness.ts";

/** What goes with a survey. */
export interface SurveyOptions {
  /** Takes a line every two seconds or so. */
  readonly progress: (line: string) => void;
  /** Ends it: it throws the signal's reason. */
  readonly signal: AbortSignal;
  /** Makes something that sees each happening too. */
  readonly also?: (header: TraceHeader) => (happening: Happening) => void;
}

/** What a survey found. */
export interface Surveyed {
  readonly analysis: Analysis;
  /** What is wrong with the file; the analysis is about what precedes it. */
  readonly damage: TraceError | undefined;
}

const PROGRESS_MS = 2000;

/** Looks at a trace from its beginning to its end or its damage. Throws a `TraceError` when it does not even begin. */
export async function survey(path: string, options: SurveyOptions): Promise<Surveyed> {
  const { progress, signal, also } = options;
  const { header, operations } = await openTrace(path);
  const analyst = new Analyst(header);
  const other = also?.(header);
  const witness = new Witness(header, (happening) => {
    analyst.take(happening);
    other?.(happening);
  });
  let damage: TraceError | undefined;
  let told = performance.now();
  let count = 0;
  try {
    for await (const { number, operation } of operations) {
      witness.step(number, operation);
      if ((++count & 0x3ff) !== 0) continue;
      signal.throwIfAborted();
      const now = performance.now();
      if (now - told < PROGRESS_MS) continue;
      told = now;
      progress(`${path}: ${count.toLocaleString("en")} operations, ${operation.t.toFixed(1)} s`);
    }
  } catch (error) {
    if (!(error instanceof TraceError)) throw error;
    damage = error;
  }
  return { analysis: analyst.analysis(damage?.message ?? null), damage };
}
