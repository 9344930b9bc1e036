/**
 * Messages of vfio-user 0.0 as data. Byte offsets count from the start of the message, whose header has 16 bytes;
 * all fields are little-endian. vfio-user specification, "Protocol Specification"; linux/vfio.h.
 * @module
 */

/** The header of every message. */
export const HEADER = { id: 0, command: 2, sizeBytes: 4, flags: 8, errno: 12, end: 16 } as const;

/** Bits of `HEADER.flags`. */
export const FLAGS = { TYPE: 0xf, REQUEST: 0, REPLY: 1, NO_REPLY: 0x10, ERROR: 0x20 } as const;

/** Commands. */
export const COMMAND = {
  VERSION: 1,
  DMA_MAP: 2,
  DMA_UNMAP: 3,
  GET_INFO: 4,
  GET_REGION_INFO: 5,
  GET_IRQ_INFO: 7,
  SET_IRQS: 8,
  REGION_READ: 9,
  REGION_WRITE: 10,
  DMA_WRITE: 12,
  RESET: 13,
  WRITE_MULTI: 15,
} as const;

/** VERSION: the text is JSON that ends in NUL, or absent. */
export const VERSION = { major: 16, minor: 18, text: 20 } as const;

/** DMA_MAP, with at most one descriptor. */
export const DMA_MAP = { argsz: 16, flags: 20, offset: 24, iova: 32, size: 40, end: 48 } as const;

/** Bits of `DMA_MAP.flags`. */
export const DMA_MAP_FLAGS = { READ: 1, WRITE: 2 } as const;

/** DMA_UNMAP. */
export const DMA_UNMAP = { argsz: 16, flags: 20, iova: 24, size: 32, end: 40 } as const;

/** Bits of `DMA_UNMAP.flags`. */
export const DMA_UNMAP_FLAGS = { ALL: 2 } as const;

/** GET_INFO. */
export const INFO = { argsz: 16, flags: 20, regions: 24, irqs: 28, end: 32 } as const;

/** Bits of `INFO.flags`. */
export const INFO_FLAGS = { RESET: 1, PCI: 2 } as const;

/** GET_REGION_INFO. */
export const REGION_INFO = {
  argsz: 16,
  flags: 20,
  index: 24,
  capOffset: 28,
  size: 32,
  offset: 40,
  end: 48,
} as const;

/** Bits of `REGION_INFO.flags`. */
export const REGION_INFO_FLAGS = { READ: 1, WRITE: 2, MMAP: 4, CAPS: 8 } as const;

/** The capability behind REGION_INFO that says which parts of a region can be mapped, and one of its parts. */
export const SPARSE_MMAP = {
  id: 0,
  version: 2,
  next: 4,
  count: 8,
  areas: 16,
  ID: 1,
  VERSION: 1,
  area: { offset: 0, size: 8, end: 16 },
} as const;

/** Regions of a PCI function: six BARs, ROM, configuration space, VGA. */
export const REGION = { BARS: 6, CONFIG: 7, count: 9 } as const;

/** GET_IRQ_INFO. */
export const IRQ_INFO = { argsz: 16, flags: 20, index: 24, count: 28, end: 32 } as const;

/** Bits of `IRQ_INFO.flags`. */
export const IRQ_INFO_FLAGS = { EVENTFD: 1, MASKABLE: 2, AUTOMASKED: 4, NORESIZE: 8 } as const;

/** Interrupts of a PCI function: INTx, MSI, MSI-X, errors, requests. */
export const IRQ = { INTX: 0, REQUEST: 4, count: 5 } as const;

/** SET_IRQS, followed by one byte an interrupt (BOOL), or accompanied by descriptors (EVENTFD). */
export const SET_IRQS = {
  argsz: 16,
  flags: 20,
  index: 24,
  start: 28,
  count: 32,
  data: 36,
} as const;

/** Bits of `SET_IRQS.flags`: one kind of data, one action. */
export const SET_IRQS_FLAGS = {
  NONE: 1,
  BOOL: 2,
  EVENTFD: 4,
  MASK: 8,
  UNMASK: 0x10,
  TRIGGER: 0x20,
} as const;

/** REGION_READ, and REGION_WRITE with the data behind. */
export const ACCESS = { offset: 16, region: 24, count: 28, data: 32 } as const;

/** WRITE_MULTI: the number of writes, then the writes. */
export const WRITE_MULTI = { count: 16, writes: 24 } as const;

/** One write of WRITE_MULTI, counted from its start. */
export const MULTI = { offset: 0, region: 8, count: 12, data: 16, end: 24 } as const;

/** DMA_WRITE, with the data behind. */
export const DMA_WRITE = { address: 16, count: 24, data: 32 } as const;

/** Most bytes that one access may carry. */
export const MOST_DATA = 0x1_0000;

/** The longest message we take or send. */
export const LONGEST_MESSAGE: number = ACCESS.data + MOST_DATA;

/** Reads an unsigned 64-bit field as a number: exact up to 2^53, and never smaller than that beyond. */
export function getU64(view: DataView, offset: number): number {
  return view.getUint32(offset + 4, true) * 0x1_0000_0000 + view.getUint32(offset, true);
}

/** The name of a command, for messages to people. */
export function commandName(command: number): string {
  const found = Object.entries(COMMAND).find(([, number]) => number === command);
  return found?.[0] ?? `command ${command}`;
}
