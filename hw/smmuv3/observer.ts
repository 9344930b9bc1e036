/**
 * What can be watched while the device works.
 * @module
 */
import type { Requester } from "../device.ts";

/** How a translation came about. */
export const Translation = { Bypass: 0, TlbHit: 1, Walk: 2, Fault: 3 } as const;

/** Watches the device. Arrays belong to the device and are valid only during the call. */
export interface Observer {
  /** A command was consumed, or refused with the given CERROR code. */
  command(words: Uint32Array, error: number): void;
  /** One page of a transaction was translated; `how` is one of `Translation`. */
  translation(requester: Requester, how: number): void;
  /** A transaction moved `sizeBytes` to (`write`) or from memory. */
  transfer(requester: Requester, write: boolean, sizeBytes: number): void;
  /** An event record was written to the queue, or dropped because it was full or disabled. */
  event(words: Uint32Array, recorded: boolean): void;
  /** An interrupt was raised: `eventq`, `gerror` or `cmd_sync`; by message when `gpa` is not negative. */
  interrupt(source: string, gpa: number): void;
}
