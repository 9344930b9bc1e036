/**
 * A call of iommufd as a trace has it: values that JSON can hold, and none that tells of the host.
 * @module
 */
import type { IommufdCall } from "./format.ts";

/** A call for a trace; `fileOf` gives the number of a descriptor's file. */
export function iommufdCall(
  name: string,
  args: Readonly<Record<string, unknown>>,
  errno: number,
  result: unknown,
  fileOf: (fd: number) => number,
): IommufdCall {
  const told: Record<string, unknown> = {};
  for (const [key, value] of Object.entries(args)) {
    if (value === undefined) continue;
    if (key === "fd") told["file"] = fileOf(value as number);
    else if (key === "entries") told[key] = toHex(used(value as Uint8Array, args));
    else if (key !== "userVa") told[key] = plain(value);
  }
  return [name, told, errno, result === undefined ? null : plain(result)];
}

/** A buffer of entries may be longer than what is in it. */
function used(entries: Uint8Array, args: Readonly<Record<string, unknown>>): Uint8Array {
  return entries.subarray(0, Number(args["count"]) * Number(args["entryLength"]));
}

function plain(value: unknown): unknown {
  if (typeof value === "bigint") return `0x${value.toString(16)}`;
  if (value instanceof Uint8Array) return toHex(value);
  if (Array.isArray(value)) return value.map(plain);
  if (typeof value !== "object" || value === null) return value;
  return Object.fromEntries(Object.entries(value).map(([key, value]) => [key, plain(value)]));
}

function toHex(bytes: Uint8Array): string {
  return bytes.toHex();
}
