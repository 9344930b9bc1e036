/**
 * How the Host VM tells how its task ended, and what its kernel says when it does not come to that.
 * @module
 */

const PANIC = /Kernel panic - not syncing: (.*)/;
const CONSOLE_LINES = 12;
const LINES_BEFORE = 4;

/** The exit code in what came through the control port; `undefined` when the machine ended before its task. */
export function exitCodeOf(control: string): number | undefined {
  const code = /^exit (\d+)$/m.exec(control)?.[1];
  return code === undefined ? undefined : Number(code);
}

/** Whether the control port says that the task has begun. */
export function hasStarted(control: string): boolean {
  return /^start$/m.test(control);
}

/** Why a machine ended before its task: the kernel's panic when there is one, else `end`, how QEMU ended. */
export function reasonOf(console: string, end: string): string {
  const panic = PANIC.exec(console)?.[1];
  return panic === undefined ? end : `its kernel panicked: ${panic.trimEnd()}`;
}

/** The kernel's last messages, from a panic on when there is one. */
export function lastMessages(console: string): string[] {
  const lines = console.split(/\r*\n/).filter((line) => line !== "");
  const panic = lines.findIndex((line) => PANIC.test(line));
  if (panic < 0) return lines.slice(-CONSOLE_LINES);
  // What led to it stands before it.
  const first = Math.max(0, panic - LINES_BEFORE);
  return lines.slice(first, first + CONSOLE_LINES);
}
