/**
 * What a command of the command line is made of: its flags as data, from which parsing and help follow.
 * @module
 */
import { parseArgs } from "@std/cli/parse-args";

/** A flag. */
export interface Flag {
  /** What the value is, such as `PATH`; a flag without it is on or off. */
  readonly value?: string;
  readonly help: string;
}

/** Where a command writes, and what ends it. */
export interface Io {
  /** One line of result, to standard output. */
  readonly out: (line: string) => void;
  /** One line about what is going on, to standard error. */
  readonly note: (line: string) => void;
  /** Aborted by Ctrl-C. */
  readonly signal: AbortSignal;
}

/** A command. */
export interface Command {
  readonly name: string;
  /** One sentence. */
  readonly summary: string;
  readonly flags: Readonly<Record<string, Flag>>;
  /** What it takes besides flags, such as `FILE…`; nothing when absent. */
  readonly operands?: string;
  /** Runs it; returns one of `EXIT`. */
  run(values: Values, io: Io): Promise<number>;
}

/** Exit codes. */
export const EXIT = {
  /** Everything held. */
  ok: 0,
  /** It ran, and something that should hold did not. */
  failed: 1,
  /** The command line is wrong. */
  usage: 2,
  /** Something that is needed is not there. */
  environment: 3,
  /** Ctrl-C. */
  interrupted: 130,
} as const;

/** A mistake on the command line; its message is one line for people. */
export class UsageError extends Error {
  override name = "UsageError";
}

/** The flags of one invocation. */
export class Values {
  /** What was given besides flags. */
  readonly operands: readonly string[];
  readonly #values: Readonly<Record<string, string | boolean | undefined>>;

  /** Parsed flags by name, and the operands. */
  constructor(
    values: Readonly<Record<string, string | boolean | undefined>>,
    operands: readonly string[] = [],
  ) {
    this.#values = values;
    this.operands = operands;
  }

  /** Whether an on-off flag is given. */
  on(name: string): boolean {
    return this.#values[name] === true;
  }

  /** The value of a flag, if it is given. */
  text(name: string): string | undefined {
    const value = this.#values[name];
    return typeof value === "string" ? value : undefined;
  }

  /** The value of a flag as a whole number. Throws `UsageError` when it is none, or out of range. */
  integer(name: string, otherwise: number, low: number, high: number): number {
    const text = this.text(name);
    if (text === undefined) return otherwise;
    const value = Number(text);
    if (/^\d+$/.test(text) && value >= low && value <= high) return value;
    throw new UsageError(
      `Cannot use --${name} ${text}: it is a whole number from ${low} to ${high}`,
    );
  }

  /** The value of a flag, one of a few. Throws `UsageError` when it is another. */
  choice<T extends string>(name: string, otherwise: T, choices: readonly T[]): T {
    const text = this.text(name);
    if (text === undefined) return otherwise;
    const found = choices.find((choice) => choice === text);
    if (found !== undefined) return found;
    throw new UsageError(`Cannot use --${name} ${text}: it is ${choices.join(" or ")}`);
  }
}

/** Parses the arguments after a command's name. Throws `UsageError` naming the first that is wrong. */
export function parseFlags(command: Command, args: readonly string[]): Values {
  const names = Object.keys(command.flags);
  const valued = names.filter((name) => command.flags[name].value !== undefined);
  const wrong = (what: string): never => {
    throw new UsageError(`${what}; vsmmu ${command.name} --help lists the flags`);
  };
  const parsed = parseArgs([...args], {
    string: valued,
    boolean: [...names.filter((name) => !valued.includes(name)), "help"],
    unknown: (argument: string, key?: string): boolean =>
      (key === undefined && command.operands !== undefined) ||
      wrong(`Cannot use ${argument}: no such flag`),
  });
  for (const name of valued) {
    if (Array.isArray(parsed[name])) wrong(`Cannot use --${name} more than once`);
    if (parsed[name] === "" && !args.includes(`--${name}=`)) {
      wrong(`Cannot use --${name}: it needs a value, ${command.flags[name].value}`);
    }
  }
  const operands: string[] = parsed._.map(String);
  if (command.operands !== undefined && operands.length === 0) {
    wrong(`Cannot ${command.name} nothing: it needs ${command.operands}`);
  }
  return new Values(parsed, operands);
}

/** The help text of a command. */
export function helpLines({ name, summary, flags }: Command): string[] {
  const rows = Object.entries(flags).map(([flag, { value, help }]) =>
    [`--${flag}${value === undefined ? "" : ` ${value}`}`, help] as const
  );
  const width = Math.max(...rows.map(([flag]) => flag.length), "--help".length);
  return [
    `vsmmu ${name}: ${summary}`,
    "",
    ...rows.map(([flag, help]) => `  ${flag.padEnd(width)}  ${help}`),
    `  ${"--help".padEnd(width)}  This text`,
    "",
    "Exit codes: 0 everything held, 1 something did not, 2 wrong flags, 3 something needed is not there, 130 Ctrl-C",
  ];
}
