/**
 * The processor time of the calling thread. clock_gettime(2), CLOCK_THREAD_CPUTIME_ID.
 * @module
 */
import { libc } from "./libc.ts";
import { TIMESPEC } from "./timespec.ts";

const CLOCK_THREAD_CPUTIME_ID = 3;

const view = new DataView(new ArrayBuffer(TIMESPEC.size));
const bytes = new Uint8Array(view.buffer);

/** How long the calling thread has run, in microseconds. */
export function threadTimeUs(): number {
  libc().clock_gettime(CLOCK_THREAD_CPUTIME_ID, bytes);
  return view.getUint32(TIMESPEC.seconds, true) * 1e6 +
    view.getUint32(TIMESPEC.nanoseconds, true) / 1e3;
}
