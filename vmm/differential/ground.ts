/**
 * Where things are for both sides: the same addresses, so that the same tables serve both.
 * @module
 */

/** RAM of the machine, in bytes; nothing but unassigned addresses follows it for a long way. */
export const RAM = { base: 0x4000_0000, sizeBytes: 0x400_0000 } as const;

/** The part of RAM that programs use, and that is compared at their end. */
export const WINDOW = { base: 0x4100_0000, sizeBytes: 0x80_0000 } as const;

/** Places in the window. */
export const PLACE = {
  commands: 0x4100_0000,
  events: 0x4101_0000,
  streamTable: 0x4102_0000,
  leafTables: 0x4104_0000,
  contexts: 0x410e_0000,
  tables: 0x4110_0000,
  tablesEnd: 0x4160_0000,
  data: 0x4160_0000,
  /** Where what was read is put at the end of a program. */
  copies: 0x417f_0000,
} as const;

/** An address where nothing is, also for QEMU. */
export const NOWHERE = 0xc100_0000;

/** The functions that make DMA, by what they can do. Their StreamID is their bus, slot and function. */
export const WRITERS: readonly number[] = [0x08, 0x48];
export const READERS: readonly number[] = [0x10, 0x50];
/** All of them. */
export const STREAMS: readonly number[] = [...WRITERS, ...READERS];

/** What a reader holds, in bytes; each read of a program has its own part. */
export const COPY = { bufferBytes: 4096, slotBytes: 64 } as const;
