/**
 * Answers to translation requests, for people.
 * @module
 */
import { CompletionStatus } from "../../../hw/ats_port.ts";

/** An answer in words: two that differ differ in their words. */
export function answerText(
  { status, page = 0, log2size = 0, grants = "" }: {
    readonly status: number;
    readonly page?: number;
    readonly log2size?: number;
    readonly grants?: string;
  },
): string {
  if (status === CompletionStatus.UnsupportedRequest) return "Unsupported Request";
  if (status === CompletionStatus.CompleterAbort) return "Completer Abort";
  if (status !== CompletionStatus.Success) return `status ${status}`;
  const isGranted = grants.includes("r") || grants.includes("w");
  return `${isGranted ? grants : `nothing${grants === "" ? "" : ` (${grants})`}`} at 0x${
    page.toString(16)
  }, 2^${log2size} bytes`;
}
