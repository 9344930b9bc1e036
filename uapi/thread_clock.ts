/**
 * Processor time. clock_gettime(2), CLOCK_PROCESS_CPUTIME_ID and CLOCK_THREAD_CPUTIME_ID.
 * @module
 */
import { libc } from "./libc.ts";
import { TIMESPEC } from "./timespec.ts";

const CLOCK_PROCESS_CPUTIME_ID = 2;
const CLOCK_THREAD_CPUTIME_ID = 3;

const view = new DataView(new ArrayBuffer(TIMESPEC.size));
const bytes = new Uint8Array(view.buffer);

/** How long the calling thread has run, in microseconds. */
export function threadTimeUs(): number {
  return timeUs(CLOCK_THREAD_CPUTIME_ID);
}

/** How long all threads of the process have run, in microseconds. */
export function processTimeUs(): number {
  return timeUs(CLOCK_PROCESS_CPUTIME_ID);
}

function timeUs(clock: number): number {
  libc().clock_gettime(clock, bytes);
  return view.getUint32(TIMESPEC.seconds, true) * 1e6 +
    view.getUint32(TIMESPEC.nanoseconds, true) / 1e3;
}
