/**
 * A shell for what Deno shows only to those who may do everything, such as /proc.
 * @module
 */

/** Lines that a POSIX shell prints for `script`, in which `$0`, `$1` are the arguments. Throws when it fails. */
export function shell(script: string, ...args: readonly string[]): string[] {
  const command = new Deno.Command("sh", { args: ["-c", script, ...args], stdin: "null" });
  const { success, stdout, stderr } = command.outputSync();
  if (!success) throw new Error(new TextDecoder().decode(stderr));
  return new TextDecoder().decode(stdout).split("\n").filter((line) => line !== "");
}
