/**
 * `vsmmu fuzz`: a hostile guest against the device core.
 * @module
 */
import { COMMANDS } from "../../hw/smmuv3/queues/commands.ts";
import { EVENT } from "../../hw/smmuv3/spec/events.ts";
import { fuzz as play, type FuzzResult } from "../fuzz/fuzz.ts";
import { playCase } from "../fuzz/play_case.ts";
import type { FuzzCase } from "../fuzz/step.ts";
import { EnvironmentError } from "../environment_error.ts";
import { type Command, EXIT, type Io, UsageError, type Values } from "./command.ts";

const DEFAULT_STEPS = 100_000;
const MOST_SEED = 0xffff_ffff;
const NOTE_MS = 5000;

/** The command. */
export const fuzz: Command = {
  name: "fuzz",
  summary: "plays a hostile guest against the device core, with all features on",
  flags: {
    seed: { value: "N", help: "Which guests; another each time by default, and printed" },
    steps: { value: "N", help: `How many steps; ${DEFAULT_STEPS.toLocaleString("en")} by default` },
    case: { value: "FILE", help: "Plays this case instead, a line that a failure printed" },
    json: { help: "Print the result as one JSON object" },
  },
  run: runCommand,
};

async function runCommand(values: Values, io: Io): Promise<number> {
  const random = crypto.getRandomValues(new Uint32Array(1))[0];
  const seed = values.integer("seed", random, 0, MOST_SEED);
  const steps = values.integer("steps", DEFAULT_STEPS, 1, 1e12);
  const path = values.text("case");
  if (path !== undefined) return await replay(path, values, io);
  const started = performance.now();
  let next = started + NOTE_MS;
  const onRun = (done: number): void => {
    if (performance.now() < next) return;
    next += NOTE_MS;
    io.note(`${done.toLocaleString("en")} of ${steps.toLocaleString("en")} steps, seed ${seed}`);
  };
  const result = await play({ seed, steps, signal: io.signal, onRun });
  const seconds = (performance.now() - started) / 1000;
  if (values.on("json")) io.out(JSON.stringify({ ...result, seconds }, undefined, 2));
  else for (const line of describe(result, seconds)) io.out(line);
  return result.failure === undefined ? EXIT.ok : EXIT.failed;
}

async function replay(path: string, values: Values, io: Io): Promise<number> {
  if (values.on("seed") || values.on("steps")) {
    throw new UsageError("Cannot use --case with --seed or --steps: it has its own steps");
  }
  const fuzzCase = parse(path, await Deno.readTextFile(path));
  const message = playCase(fuzzCase);
  const steps = fuzzCase.steps.length;
  if (values.on("json")) io.out(JSON.stringify({ steps, message: message ?? null }));
  else io.out(message ?? `Everything held: ${steps} steps`);
  return message === undefined ? EXIT.ok : EXIT.failed;
}

function parse(path: string, text: string): FuzzCase {
  try {
    const { features, log2tlbSets, hardware, steps } = JSON.parse(text) as FuzzCase;
    if (Array.isArray(steps) && typeof features === "object" && typeof log2tlbSets === "number") {
      return { features, log2tlbSets, hardware, steps };
    }
  } catch (error) {
    if (!(error instanceof SyntaxError)) throw error;
  }
  throw new EnvironmentError(`Cannot read ${path}: it is no case of vsmmu fuzz`);
}

function describe(result: FuzzResult, seconds: number): string[] {
  const { seed, steps, runs, dearest, heapGrowthBytes, reach, failure } = result;
  const number = (value: number): string => value.toLocaleString("en");
  const [bypassed, hits, walks, faults] = reach.translations.map(number);
  const commands = reach.commands.map((count, opcode) => [COMMANDS[opcode]?.name ?? "", count]);
  const events = Object.entries(EVENT).map(([name, id]) => [name, reach.events[id]]);
  const list = (rows: (string | number)[][]): string =>
    rows.filter(([, count]) => Number(count) > 0)
      .map(([name, count]) => `${name} ${number(Number(count))}`).join(", ");
  return [
    `Commands      ${list(commands)}; ${number(reach.refused)} refused`,
    `Events        ${list(events)}; ${number(reach.stalls)} of them stalls`,
    `Translations  ${hits} TLB hits, ${walks} walks, ${bypassed} bypassed, ${faults} faults`,
    `Dearest step  ${number(dearest.accesses)} accesses to memory, of at most ${
      number(dearest.most)
    }`,
    `Heap          ${
      heapGrowthBytes === undefined
        ? "too few runs to say"
        : `grew by ${number(heapGrowthBytes)} bytes`
    }`,
    ...(failure === undefined ? [] : [`Case          ${JSON.stringify(failure.case)}`]),
    failure === undefined
      ? `Everything held: seed ${seed}, ${number(steps)} steps in ${number(runs)} runs, ${
        seconds.toFixed(1)
      } s`
      : `${failure.message}: seed ${seed}, run ${failure.run}, ${failure.case.steps.length} steps are enough`,
  ];
}
