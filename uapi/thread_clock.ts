/**
 * Processor time: clock_gettime(2), CLOCK_PROCESS_CPUTIME_ID and CLOCK_THREAD_CPUTIME_ID; and the want of it: Linux
 * `Documentation/scheduler/sched-stats.rst`, "/proc/<pid>/schedstat".
 * @module
 */
import { SystemError } from "./errno.ts";
import { readWhole } from "./kernel_files.ts";
import { libc } from "./libc.ts";
import { TIMESPEC } from "./timespec.ts";

const CLOCK_PROCESS_CPUTIME_ID = 2;
const CLOCK_THREAD_CPUTIME_ID = 3;

const SCHEDSTAT = "/proc/thread-self/schedstat";
const SCHEDSTAT_BYTES = 128;

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

/**
 * How long the calling thread could have run and had no processor, in microseconds; always 0 where the kernel does
 * not say. Costs some 10 µs.
 */
export function threadWaitedUs(): number {
  try {
    const [, waitedNs] = new TextDecoder().decode(readWhole(SCHEDSTAT, SCHEDSTAT_BYTES)).split(" ");
    return Number(waitedNs) / 1e3;
  } catch (error) {
    if (error instanceof SystemError) return 0;
    throw error;
  }
}

function timeUs(clock: number): number {
  libc().clock_gettime(clock, bytes);
  return view.getUint32(TIMESPEC.seconds, true) * 1e6 +
    view.getUint32(TIMESPEC.nanoseconds, true) / 1e3;
}
