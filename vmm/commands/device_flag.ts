/**
 * The flag for another device than this build's: a module of whoever works on one.
 * @module
 */
import { EnvironmentError } from "../environment_error.ts";
import type { DeviceMaker } from "../trace/replay/replayer.ts";
import type { Flag, Values } from "./command.ts";

/** The flag, for a command's table. */
export const DEVICE_FLAG: { readonly device: Flag } = {
  device: {
    value: "MODULE",
    help: "Use the device that this module's default export makes of SmmuV3Options",
  },
};

/** What makes the device; undefined for this build's own. Throws an `EnvironmentError` when the module makes none. */
export async function deviceOf(values: Values): Promise<DeviceMaker | undefined> {
  const path = values.text("device");
  if (path === undefined) return undefined;
  let made: { default?: unknown };
  try {
    made = await import(`file://${await Deno.realPath(path)}`);
  } catch (error) {
    throw new EnvironmentError(`Cannot load ${path}: ${(error as Error).message}`);
  }
  if (typeof made.default === "function") return made.default as DeviceMaker;
  throw new EnvironmentError(`Cannot use ${path}: its default export is no function`);
}
