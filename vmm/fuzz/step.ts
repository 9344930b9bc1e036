/**
 * What a hostile guest and its endpoints do, as data: a failing run is a list of these.
 * @module
 */
import type { Features } from "../../hw/smmuv3/features.ts";

/** Where things are in the guest's memory; the last two are pieces of their own. */
export const PLACE = {
  ram: 0x4000_0000,
  commands: 0x4001_0000,
  events: 0x4002_0000,
  streams: 0x4003_0000,
  contexts: 0x4004_0000,
  tables: 0x4005_0000,
  data: 0x400c_0000,
  /** Nothing is there. */
  nowhere: 0x4010_0000,
  /** Memory that the device can only read. */
  rom: 0x5000_0000,
  /** Memory beyond 32 bits. */
  high: 0x80_0000_0000,
  doorbell: 0x0802_0040,
} as const;

/** Sizes of the pieces of memory in bytes. */
export const RAM_SIZE = 0x10_0000;
/** Size of the others. */
export const PIECE_SIZE = 0x1_0000;

/** Longest transaction in bytes, and longest one that can be stalled. */
export const MOST_BYTES = 0x4000;
/** Longest transaction that can be stalled. */
export const MOST_STALLED_BYTES = 0x2000;

/** A quad of memory: its address, and its value in hexadecimal. */
export type Store = readonly [gpa: number, value: string];

/** What an endpoint does: transactions, or what it asks for one page. */
export type HowTransferred =
  | "read"
  | "write"
  | "message"
  | "stallable read"
  | "stallable write"
  | "translated read"
  | "translated write"
  | "translation request"
  | "page request";

/** One thing that happens. */
export type Step =
  /** A register is written, 4 or 8 bytes. */
  | { readonly do: "write"; readonly offset: number; readonly words: readonly number[] }
  /** Memory is written. */
  | { readonly do: "store"; readonly stores: readonly Store[] }
  /** An endpoint makes a transaction; while it is under way the guest may store, at the nth access of the device. */
  | {
    readonly do: "transfer";
    readonly how: HowTransferred;
    readonly streamId: number;
    readonly substreamId: number;
    readonly lo: number;
    readonly hi: number;
    readonly sizeBytes: number;
    readonly race?: { readonly after: number; readonly stores: readonly Store[] };
  }
  /** The machine is reset, or saved and restored. */
  | { readonly do: "reset" | "restore" };

/** A run: a device, and what is done to it. */
export interface FuzzCase {
  readonly features: Partial<Features>;
  /** log2 of the sets of the TLB. */
  readonly log2tlbSets: number;
  /** Whether hardware is behind some streams, which refuses now and then. */
  readonly hardware: boolean;
  readonly steps: readonly Step[];
}
