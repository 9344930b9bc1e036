/**
 * A time as the kernel has it. `struct timespec` of 64-bit systems.
 * @module
 */

/** Byte offsets, and the size. */
export const TIMESPEC = { seconds: 0, nanoseconds: 8, size: 16 } as const;
