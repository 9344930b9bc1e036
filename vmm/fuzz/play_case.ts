/**
 * A case again: what a hostile guest once did.
 * @module
 */
import { FuzzedDevice, type MakeDevice, ours } from "./fuzzed_device.ts";
import type { FuzzCase } from "./step.ts";
import { WatchedMemory } from "./watched_memory.ts";

/** Plays a case from its beginning; why it fails, if it does. */
export function playCase(
  fuzzCase: FuzzCase,
  memory: WatchedMemory = new WatchedMemory(),
  make: MakeDevice = ours,
): string | undefined {
  memory.clear();
  try {
    const device = new FuzzedDevice(fuzzCase, memory, make);
    for (const step of fuzzCase.steps) device.play(step);
    device.inspect();
    return undefined;
  } catch (error) {
    return messageOf(error);
  }
}

/** What an exception says. */
export function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
