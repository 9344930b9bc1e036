/**
 * A guest under a QEMU that has all its devices itself: nothing is served and nothing programmed.
 * @module
 */
import { GuestConsole, type GuestEvent } from "../provision/guest_console.ts";
import type { Tool } from "../tool.ts";
import { describeEnd, QemuProcess } from "./qemu_process.ts";

/** How it runs. */
export interface GuestRunOptions {
  readonly timeoutSeconds: number;
  readonly signal: AbortSignal;
  /** Resolves when a guest with `vsmmu.turns=1` may measure again; it has ended its turn. */
  readonly turn?: () => Promise<void>;
  /** Takes the guest's console, line by line. */
  readonly console?: (line: string) => void;
}

/** Runs it to its end, its time limit, or the signal, whose reason is thrown; returns what it said and how QEMU ended. */
export async function runGuest(
  qemu: Tool,
  args: readonly string[],
  { timeoutSeconds, signal, turn, console = () => {} }: GuestRunOptions,
): Promise<{ events: GuestEvent[]; end: string }> {
  const process = QemuProcess.start(qemu, args);
  const stop = (): void => process.kill("SIGKILL");
  const timer = setTimeout(stop, timeoutSeconds * 1000);
  signal.addEventListener("abort", stop);
  const events: GuestEvent[] = [];
  try {
    const parser = new GuestConsole();
    for await (const line of process.console) {
      console(line);
      const event = parser.push(line);
      if (event !== undefined) events.push(event);
      if (event?.kind === "turn") turn?.().then(() => process.type(""));
    }
    const status = await process.exited;
    signal.throwIfAborted();
    return { events, end: describeEnd(process, status) };
  } finally {
    clearTimeout(timer);
    signal.removeEventListener("abort", stop);
  }
}
