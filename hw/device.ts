/**
 * The doors between a device and the machine around it: registers, interrupts, messages, DMA.
 * @module
 */

/** Something with registers. Accesses are little-endian bytes, as a bus carries them. */
export interface MmioDevice {
  /** Reads `into.length` bytes at `offset`; what is not there reads as zero. */
  read(offset: number, into: Uint8Array): void;
  /** Writes bytes at `offset`; what is not there, or not writable, is ignored. */
  write(offset: number, from: Uint8Array): void;
}

/** A wired interrupt. */
export interface IrqLine {
  /** Level: stays until it is taken away. */
  set(asserted: boolean): void;
  /** Edge: once. */
  pulse(): void;
}

/** Carries a message-signalled interrupt to where no RAM is. */
export interface MsiPort {
  /** Writes 32-bit `data` at `gpa`; false when nothing is there. */
  send(gpa: number, data: number): boolean;
}

/** Who makes a transaction. */
export interface Requester {
  /** StreamID: the requester ID of a PCI function. */
  readonly streamId: number;
  /** SubstreamID (PASID), or -1 for a transaction without one. */
  readonly substreamId: number;
}

/**
 * An endpoint's way to memory. Addresses are IOVAs as two unsigned 32-bit words. A transaction is translated page by
 * page; false means that some page of it was terminated with an abort, and pages before it may have been done.
 */
export interface DmaPort {
  /** Reads `into.length` bytes. */
  read(requester: Requester, lo: number, hi: number, into: Uint8Array): boolean;
  /** Writes `from.length` bytes. */
  write(requester: Requester, lo: number, hi: number, from: Uint8Array): boolean;
  /** Writes one 32-bit message, to RAM or to an interrupt controller's doorbell. */
  message(requester: Requester, lo: number, hi: number, data: number): boolean;
}

/**
 * The way to memory of an endpoint that can wait: where software has a faulting transaction stalled, its answer comes when
 * software has mended what was wrong, or given up. `done` is told once, before the call returns or later: true when it
 * was done, false when it was terminated with an abort, and pages before may have been done. The bytes are in use until then.
 */
export interface StallableDmaPort {
  /** Reads `into.length` bytes. */
  read(
    requester: Requester,
    lo: number,
    hi: number,
    into: Uint8Array,
    done: (ok: boolean) => void,
  ): void;
  /** Writes `from.length` bytes. */
  write(
    requester: Requester,
    lo: number,
    hi: number,
    from: Uint8Array,
    done: (ok: boolean) => void,
  ): void;
}

/** A transaction that was stalled when a snapshot was taken, as the device knows it. */
export interface StalledTransaction {
  /** Its place in the order in which transactions came to wait. */
  readonly number: number;
  /** StreamID. */
  readonly streamId: number;
  /** SubstreamID, or -1. */
  readonly substreamId: number;
  /** Low word of the IOVA that it begins at. */
  readonly lo: number;
  /** High word. */
  readonly hi: number;
  /** Whether it writes. */
  readonly isWrite: boolean;
  /** Its length in bytes. */
  readonly sizeBytes: number;
  /** How many of them are done. */
  readonly doneBytes: number;
}

/** The endpoint's side of a transaction that waits: its bytes, of which those that are done are as they were, and whom to tell. */
export interface WaitingSide {
  /** As long as the transaction; in use until the end. */
  readonly bytes: Uint8Array;
  /** Told once, as by `StallableDmaPort`. */
  readonly done: (ok: boolean) => void;
}

/**
 * Gives the endpoint's side of a transaction of a snapshot; undefined when nobody waits for it any more. It is asked in the
 * order of their numbers, so that an endpoint with several that look alike has them in the order in which they came to wait.
 */
export type FindWaiting = (transaction: StalledTransaction) => WaitingSide | undefined;
