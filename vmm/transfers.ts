/**
 * Transfers that a guest measured.
 * @module
 */
import type { GuestEvent } from "./provision/guest_console.ts";

/** A direction of a disk or network, how much went, and how long it took. */
export interface Transfer {
  /** `read`, `write`, `receive` or `send`. */
  readonly direction: string;
  /** How much went. */
  readonly bytes: number;
  /** How long it took. */
  readonly seconds: number;
}

/** The transfers in what a guest said. */
export function transfersOf(events: readonly GuestEvent[]): Transfer[] {
  return events.flatMap((event) =>
    event.kind === "bench"
      ? [{ direction: event.direction, bytes: event.bytes, seconds: event.seconds }]
      : []
  );
}
