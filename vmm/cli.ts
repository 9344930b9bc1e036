/**
 * The command line `vsmmu`.
 * @module
 */
import { SystemError } from "../uapi/errno.ts";
import {
  type Command,
  EXIT,
  helpLines,
  type Io,
  parseFlags,
  UsageError,
} from "./commands/command.ts";
import { bench } from "./commands/bench.ts";
import { microvm } from "./commands/microvm.ts";
import { replay } from "./commands/replay.ts";
import { serve } from "./commands/serve.ts";
import { EnvironmentError } from "./environment_error.ts";

const COMMANDS: readonly Command[] = [microvm, serve, replay, bench];

/** Runs a command line and returns its exit code. */
export async function main(args: readonly string[], io: Io): Promise<number> {
  const [name, ...rest] = args;
  if (name === undefined || name === "--help" || name === "help") {
    for (const line of overview()) io.out(line);
    return name === undefined ? EXIT.usage : EXIT.ok;
  }
  const command = COMMANDS.find((command) => command.name === name);
  if (command === undefined) {
    io.note(`Cannot run ${name}: the commands are ${COMMANDS.map(({ name }) => name).join(", ")}`);
    return EXIT.usage;
  }
  if (rest.includes("--help")) {
    for (const line of helpLines(command)) io.out(line);
    return EXIT.ok;
  }
  try {
    return await command.run(parseFlags(command, rest), io);
  } catch (error) {
    return explain(error, io);
  }
}

/** One line for what people can do something about; the whole story for a mistake of ours. */
function explain(error: unknown, io: Io): number {
  if (io.signal.aborted) {
    io.note("Interrupted; everything that was started is gone");
    return EXIT.interrupted;
  }
  if (error instanceof UsageError) {
    io.note(error.message);
    return EXIT.usage;
  }
  const expected = [EnvironmentError, SystemError, Deno.errors.NotCapable];
  if (expected.some((kind) => error instanceof kind)) io.note((error as Error).message);
  else io.note(`A mistake of ours: ${error instanceof Error ? error.stack : String(error)}`);
  if (error instanceof EnvironmentError) {
    for (const line of error.toolLines) {
      io.note(`  ${line}`);
    }
  }
  return EXIT.environment;
}

function overview(): string[] {
  const width = Math.max(...COMMANDS.map(({ name }) => name.length));
  return [
    "vsmmu: an Arm SMMUv3 for virtual machines",
    "",
    ...COMMANDS.map(({ name, summary }) => `  vsmmu ${name.padEnd(width)}  ${summary}`),
    "",
    "vsmmu COMMAND --help lists the flags of a command",
  ];
}

if (import.meta.main) {
  const abort = new AbortController();
  for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"] as const) {
    Deno.addSignalListener(signal, () => abort.abort());
  }
  const encoder = new TextEncoder();
  const io: Io = {
    out: (line) => void Deno.stdout.writeSync(encoder.encode(`${line}\n`)),
    note: (line) => void Deno.stderr.writeSync(encoder.encode(`${line}\n`)),
    signal: abort.signal,
  };
  Deno.exit(await main(Deno.args, io));
}
