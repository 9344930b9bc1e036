/**
 * What the shell inside the Host VM is told to run.
 * @module
 */
import { shellWords } from "../qemu/shell_words.ts";

/** What the standard uses are called outside, and which task of `deno.json` each is inside, by whose SMMU it is. */
const TASKS: Readonly<Record<SmmuKind, ReadonlyMap<string, string>>> = {
  qemu: new Map([["test", "test:hostvm"], ["bench", "bench:hostvm"]]),
  ours: new Map([["test", "test:hostvm:ours"]]),
};

/** Whose SMMU a Host VM has. */
export type SmmuKind = "qemu" | "ours";

/** A script that runs a task of `deno.json` with its arguments, in an environment of more `NAME=VALUE`. */
export function taskScript(
  [task, ...rest]: readonly string[],
  environment: readonly string[],
  smmu: SmmuKind = "qemu",
): string {
  return script(["deno", "task", "-q", TASKS[smmu].get(task) ?? task, ...rest], environment);
}

/** A script that runs a command line of the shell. */
export function shellScript(words: readonly string[], environment: readonly string[]): string {
  return script(["sh", "-c", words.join(" ")], environment);
}

/** Whether `text` is `NAME=VALUE` with a name that a shell takes. */
export function isVariable(text: string): boolean {
  return /^[A-Za-z_]\w*=/.test(text);
}

function script(words: readonly string[], environment: readonly string[]): string {
  const exports = environment.map((variable) => `export ${shellWords([variable])}`);
  // Signals and the exit code are the task's own.
  return [...exports, `exec ${shellWords(words)}`, ""].join("\n");
}
