/**
 * Interrupts of the event queue that fall due late, where registers are memory. IHI 0070 §3.5.2, §3.18.2.
 *
 * Software that empties the queue stores EVENTQ_CONS and then reads EVENTQ_PROD. A record that arrives in between,
 * before the device has looked, finds a queue that seems not to be empty: it makes no interrupt, and software may have
 * read EVENTQ_PROD too early to see it. When the device then finds EVENTQ_CONS at such a record, the queue was empty
 * when it came, and the interrupt is due now.
 * @module
 */
import { indexMask } from "./queues/queue.ts";

/** Remembers since when records came without an interrupt. */
export class EventReminder {
  /** Index of the first record that software cannot be expected to know. */
  since = 0;

  /** An interrupt was made for everything up to `prod`. */
  told(prod: number): void {
    this.since = prod;
  }

  /** Whether an interrupt is due now that EVENTQ_CONS is seen to be `cons`; a record before it was read. */
  isDue(prod: number, cons: number, log2size: number): boolean {
    const mask = indexMask(log2size);
    const isUntold = ((cons - this.since) & mask) < ((prod - this.since) & mask);
    // Who stored this index reads EVENTQ_PROD after it, and so sees all that came up to now.
    this.since = prod;
    return isUntold;
  }
}
