/**
 * Flags that all commands have which can record.
 * @module
 */
import type { RecordingChoice } from "../trace/recording.ts";
import { type Flag, UsageError, type Values } from "./command.ts";

/** What is recorded, and where. */
export const RECORD_FLAGS: Readonly<Record<string, Flag>> = {
  record: { value: "FILE", help: "Record what passes the SMMU's doors; see vsmmu replay" },
  payload: { help: "Record the bytes of each DMA too; what the guest reads and writes is in FILE" },
};

/** What the flags say about a recording. Throws `UsageError`. */
export function recordingOf(values: Values): RecordingChoice | undefined {
  const path = values.text("record");
  const payload = values.on("payload");
  if (path !== undefined) return { path, payload };
  if (payload) throw new UsageError("Cannot use --payload without --record");
  return undefined;
}
