/**
 * `vsmmu differential`: our SMMUv3 against QEMU's own.
 * @module
 */
import { campaign, type CampaignResult, LONG_RUN, stale } from "../differential/campaign.ts";
import { differenceLines } from "../differential/difference.ts";
import { Duel } from "../differential/duel.ts";
import { DEVIATIONS } from "../differential/deviations.ts";
import { type Minimised, parseRanges, rangesText } from "../differential/minimise.ts";
import { stepText } from "../differential/program.ts";
import { REWRITES } from "../differential/rewrites.ts";
import { RuntimeDirectory } from "../qemu/runtime_directory.ts";
import { type Command, EXIT, type Io, UsageError, type Values } from "./command.ts";

const LAST_SEED = 0xffff_ffff;
const MOST_PROGRAMS = 10_000_000;
const MOST_DIFFERENCES = 10;
const PROGRESS_MS = 2000;

/** The command. */
export const differential: Command = {
  name: "differential",
  summary: "gives QEMU's own SMMUv3 and ours the same random programs, and compares what they do",
  flags: {
    seed: { value: "N", help: "Seed of the first program; 1 by default" },
    count: { value: "N", help: "How many programs, each of the next seed; 200 by default" },
    only: { value: "STEPS", help: "Only these steps of the program of --seed, such as 0-3,7" },
    ours: {
      value: "WHERE",
      help:
        "Where our SMMUv3 is: qemu, over vfio-user in the same QEMU (default), or process, which is faster",
    },
    registers: {
      value: "MODE",
      help: "How software reaches our registers: trapped (default), or mapped for memory",
    },
    json: { help: "Print the result as one JSON object" },
    qemu: { value: "PATH", help: "Your own qemu-system-aarch64 instead of Debian's" },
    cache: { value: "DIR", help: "Where parts are kept; $XDG_CACHE_HOME/vsmmu by default" },
  },
  run: runCommand,
};

async function runCommand(values: Values, io: Io): Promise<number> {
  const seed = values.integer("seed", 1, 0, LAST_SEED);
  const only = onlyOf(values);
  const count = only === undefined ? values.integer("count", 200, 1, MOST_PROGRAMS) : 1;
  const where = values.choice("ours", "qemu", ["qemu", "process"]);
  const registers = values.choice("registers", "trapped", ["trapped", "mapped"]);
  using directory = await RuntimeDirectory.make();
  await using duel = await Duel.start({
    directory,
    where,
    registers,
    parts: { qemu: values.text("qemu"), cacheDir: values.text("cache") },
    progress: io.note,
    signal: io.signal,
  });
  let next = performance.now() + PROGRESS_MS;
  const onProgram = (done: number): void => {
    io.signal.throwIfAborted();
    if (performance.now() < next) return;
    next += PROGRESS_MS;
    io.note(`${done} of ${count} programs`);
  };
  const began = performance.now();
  const most = MOST_DIFFERENCES;
  const result = await duel.watch(
    campaign({ sides: duel.sides, seed, count, only, most, onProgram }),
  );
  io.signal.throwIfAborted();
  const seconds = (performance.now() - began) / 1000;
  const missing = result.programs < LONG_RUN ? [] : stale(result);
  const all = { ...result, seconds, missing };
  if (values.on("json")) io.out(JSON.stringify(jsonOf(all, { where, registers }), undefined, 2));
  else for (const line of resultLines(all, { where, registers })) io.out(line);
  return result.differences.length === 0 ? EXIT.ok : EXIT.failed;
}

function onlyOf(values: Values): number[] | undefined {
  const text = values.text("only");
  if (text === undefined) return undefined;
  if (values.on("count")) throw new UsageError("Cannot use --only with --count: it is for one");
  const numbers = parseRanges(text);
  if (numbers !== undefined) return numbers;
  throw new UsageError(`Cannot use --only ${text}: it is numbers of steps, such as 0-3,7`);
}

type Result = CampaignResult & { readonly seconds: number; readonly missing: readonly string[] };

/** Where our device is, and how software reaches it. */
interface Ours {
  readonly where: string;
  readonly registers: string;
}

/** The command line that shows a difference again. */
function commandOf({ program, kept }: Minimised, { where, registers }: Ours): string {
  const ours = `--ours ${where}${registers === "mapped" ? " --registers mapped" : ""}`;
  return `deno task differential ${ours} --seed ${program.seed} --only ${rangesText(kept)}`;
}

function resultLines(result: Result, ours: Ours): string[] {
  const lines: string[] = [];
  for (const found of result.differences) {
    lines.push(`Seed ${found.program.seed}:`);
    for (const [i, step] of found.program.steps.entries()) lines.push(`  ${i}  ${stepText(step)}`);
    lines.push("They differ:", ...differenceLines(found.difference), commandOf(found, ours), "");
  }
  for (const { name, reason, section } of [...REWRITES, ...DEVIATIONS]) {
    const times = result.deviations.get(name) ?? 0;
    if (times > 0) lines.push(`${String(times).padStart(7)}  ${name}: ${reason} (${section})`);
  }
  for (const name of result.missing) {
    lines.push(`Never met: ${name}; it is rare, or QEMU does it right by now`);
  }
  const { programs, steps, compared, differences, seconds } = result;
  const share = steps === 0 ? 0 : Math.floor(100 * compared / steps);
  const count = differences.length === 1 ? "1 difference" : `${differences.length} differences`;
  lines.push(
    `${programs} programs, ${share} % of ${steps} steps compared, ${count}, ${
      seconds.toFixed(1)
    } s`,
  );
  return lines;
}

function jsonOf(result: Result, ours: Ours): unknown {
  const { programs, steps, compared, deviations, differences, missing, seconds } = result;
  return {
    ok: differences.length === 0,
    programs,
    steps,
    compared,
    seconds,
    deviations: Object.fromEntries(deviations),
    missing,
    differences: differences.map((found) => ({
      seed: found.program.seed,
      steps: found.program.steps.map(stepText),
      lines: differenceLines(found.difference),
      command: commandOf(found, ours),
    })),
  };
}
