/**
 * How late the kernel may wake a thread. prctl(2), PR_SET_TIMERSLACK.
 * @module
 */
import { check } from "./errno.ts";
import { libc } from "./libc.ts";

const PR_SET_TIMERSLACK = 29;
const PR_GET_TIMERSLACK = 30;

/** Has the kernel wake the calling thread at most `ns` nanoseconds, at least 1, after a timeout. Throws `SystemError`. */
export function setTimerSlack(ns: number): void {
  check(libc().prctl(PR_SET_TIMERSLACK, BigInt(ns), 0n, 0n, 0n), "set the timer slack");
}

/** How late the kernel may wake the calling thread, in nanoseconds. */
export function timerSlack(): number {
  return libc().prctl(PR_GET_TIMERSLACK, 0n, 0n, 0n, 0n);
}
