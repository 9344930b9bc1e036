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
import { assigned } from "./commands/assigned.ts";
import { bench } from "./commands/bench.ts";
import { compare } from "./commands/compare.ts";
import { fuzz } from "./commands/fuzz.ts";
import { differential } from "./commands/differential.ts";
import { hostvm } from "./commands/hostvm.ts";
import { inspect } from "./commands/inspect.ts";
import { microvm } from "./commands/microvm.ts";
import { minimise } from "./commands/minimise.ts";
import { passthrough } from "./commands/passthrough.ts";
import { probe } from "./commands/probe.ts";
import { replay } from "./commands/replay.ts";
import { serve } from "./commands/serve.ts";
import { EnvironmentError } from "./environment_error.ts";

const COMMANDS: readonly Command[] = [
  microvm,
  serve,
  replay,
  minimise,
  inspect,
  compare,
  probe,
  bench,
  fuzz,
  differential,
  hostvm,
  passthrough,
  assigned,
];

/** Runs a command line and returns its exit code. */
export async function main(args: readonly string[], io: Io): Promise<number> {
  const [name, ...rest] = args;
  if (name === undefined || name === "help" || asksForHelp(name)) {
    for (const line of overview()) io.out(line);
    return name === undefined ? EXIT.usage : EXIT.ok;
  }
  const command = COMMANDS.find((command) => command.name === name);
  if (command === undefined) {
    io.note(`Cannot run ${name}: the commands are ${COMMANDS.map(({ name }) => name).join(", ")}`);
    return EXIT.usage;
  }
  if (rest.some(asksForHelp)) {
    for (const line of helpLines(command)) io.out(line);
    return EXIT.ok;
  }
  try {
    return await command.run(parseFlags(command, rest), io);
  } catch (error) {
    return explain(error, io);
  }
}

function asksForHelp(argument: string): boolean {
  return argument === "--help" || argument === "-h";
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
  if (error instanceof Error && isOfTheHost(error)) io.note(error.message);
  else io.note(`A mistake of ours: ${error instanceof Error ? error.stack : String(error)}`);
  if (error instanceof EnvironmentError) {
    for (const line of error.toolLines) {
      io.note(`  ${line}`);
    }
  }
  return EXIT.environment;
}

/** Whether the reason lies outside our code. Deno gives what a system call refuses a code, such as `ENOSPC`. */
function isOfTheHost(error: Error): boolean {
  const kinds = [EnvironmentError, SystemError, Deno.errors.NotCapable];
  return kinds.some((kind) => error instanceof kind) ||
    ("code" in error && typeof error.code === "string");
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

/** Writes lines; tells `onFailure` why one could not be written. */
function lineWriter(
  stream: { writeSync(bytes: Uint8Array): number },
  onFailure: (error: unknown) => void,
): (line: string) => void {
  const encoder = new TextEncoder();
  return (line: string): void => {
    try {
      const bytes = encoder.encode(`${line}\n`);
      for (let at = 0; at < bytes.length;) at += stream.writeSync(bytes.subarray(at));
    } catch (error) {
      onFailure(error);
    }
  };
}

/** Whether a write failed because nobody is there to read: a closed pipe, or a terminal that is gone. */
function isUnread(error: unknown): boolean {
  return error instanceof Deno.errors.BrokenPipe ||
    (error instanceof Error && "code" in error && error.code === "EIO");
}

if (import.meta.main) {
  const abort = new AbortController();
  const stop = (): void => abort.abort();
  for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"] as const) {
    Deno.addSignalListener(signal, stop);
  }
  const io: Io = {
    out: lineWriter(Deno.stdout, (error) => {
      if (!isUnread(error)) throw error;
      stop();
    }),
    // There is nowhere left to say why.
    note: lineWriter(Deno.stderr, stop),
    signal: abort.signal,
  };
  Deno.exit(await main(Deno.args, io));
}
