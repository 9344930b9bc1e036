/**
 * What a command of the command line is made of: its flags as data, from which parsing and help follow.
 * @module
 */

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
  /**
   * What it takes besides flags: `FILE` one, `A B` two, `FILE…` one or more, `TASK …` one and all that follows it, flags
   * too; nothing when absent.
   */
  readonly operand?: string;
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
  /** What is given besides flags, in order. */
  readonly operands: readonly string[];
  readonly #values: ReadonlyMap<string, string>;

  /** Values of the flags that are given, by name; an on-off flag has an empty one. */
  constructor(values: ReadonlyMap<string, string>, operands: readonly string[] = []) {
    this.#values = values;
    this.operands = operands;
  }

  /** The first of what is given besides flags; empty when the command takes nothing. */
  get operand(): string {
    return this.operands[0] ?? "";
  }

  /** Whether a flag is given. */
  on(name: string): boolean {
    return this.#values.has(name);
  }

  /** The value of a flag, if it is given. */
  text(name: string): string | undefined {
    return this.#values.get(name);
  }

  /** The value of a flag as a whole number, a multiple of `step`. Throws `UsageError` when it is none, or out of range. */
  integer(name: string, otherwise: number, low: number, high: number, step: number = 1): number {
    const text = this.text(name);
    if (text === undefined) return otherwise;
    const value = Number(text);
    const isInRange = value >= low && value <= high && value % step === 0;
    if (/^\d+$/.test(text) && isInRange) return value;
    const kind = step === 1 ? "a whole number" : `a multiple of ${step}`;
    throw new UsageError(`Cannot use --${name} ${text}: it is ${kind} from ${low} to ${high}`);
  }

  /** The value of a flag, whole numbers from `low` to `high` with commas between. Throws `UsageError` for anything else. */
  integers(
    name: string,
    otherwise: readonly number[],
    low: number,
    high: number,
  ): readonly number[] {
    const text = this.text(name);
    if (text === undefined) return otherwise;
    const values = text.split(",").map((one) => /^\d+$/.test(one) ? Number(one) : -1);
    if (values.every((value) => value >= low && value <= high)) return values;
    throw new UsageError(
      `Cannot use --${name} ${text}: it is whole numbers from ${low} to ${high} with commas between`,
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

/**
 * Parses the arguments after a command's name: `--flag`, `--flag VALUE` or `--flag=VALUE`, and operands where there are any.
 * Throws `UsageError` naming the first that is wrong.
 */
export function parseFlags(command: Command, args: readonly string[]): Values {
  const { flags, operand } = command;
  const wrong = (what: string): never => {
    throw new UsageError(`Cannot use ${what}; vsmmu ${command.name} --help lists the flags`);
  };
  const values = new Map<string, string>();
  const given: string[] = [];
  const passesOn = operand?.endsWith(" …") ?? false;
  const words = operand?.replace(/ …$/, "").split(" ") ?? [];
  const most = operand?.endsWith("…") ? Infinity : words.length;
  for (let i = 0; i < args.length; i++) {
    if (passesOn && given.length > 0) {
      given.push(args[i]);
      continue;
    }
    const [, name, joined] = /^--([^=]+)(?:=(.*))?$/s.exec(args[i]) ?? [];
    if (name === undefined) {
      if (given.length >= most || /^-|^$/.test(args[i])) wrong(`"${args[i]}"`);
      given.push(args[i]);
      continue;
    }
    if (!Object.hasOwn(flags, name)) wrong(`--${name}: no such flag`);
    if (values.has(name)) wrong(`--${name} more than once`);
    const { value } = flags[name];
    if (value === undefined) {
      if (joined !== undefined) wrong(`--${name} with a value: it has none`);
      values.set(name, "");
    } else {
      // What looks like a flag is one: a value that begins so is joined by "=".
      const isNext = joined === undefined && !args[i + 1]?.startsWith("--");
      const text = isNext ? args[++i] : joined;
      values.set(name, text || wrong(`--${name}: it needs a value, ${value}`));
    }
  }
  if (given.length < words.length) {
    wrong(`${given.length === 0 ? "nothing" : `"${given.join(" ")}" alone`}: it needs ${operand}`);
  }
  return new Values(values, given);
}

/** The help text of a command. */
export function helpLines({ name, summary, flags, operand }: Command): string[] {
  const rows = Object.entries(flags).map(([flag, { value, help }]) =>
    [`--${flag}${value === undefined ? "" : ` ${value}`}`, help] as const
  );
  const width = Math.max(...rows.map(([flag]) => flag.length), "--help".length);
  return [
    `vsmmu ${name}${operand === undefined ? "" : ` ${operand}`}: ${summary}`,
    "",
    ...rows.map(([flag, help]) => `  ${flag.padEnd(width)}  ${help}`),
    `  ${"--help".padEnd(width)}  This text`,
    "",
    "Exit codes: 0 everything held, 1 something did not, 2 wrong flags, 3 something needed is not there, 130 Ctrl-C",
  ];
}
