/**
 * Configuration spaces drawn from a few numbers: identity, capabilities in the order of their lists, and registers that
 * no capability owns.
 * @module
 */

/** An extended capability: where, which, its version, and those of its registers that are not zero, by offset. */
export type ExtendedSketch = readonly [
  offset: number,
  id: number,
  version: number,
  registers?: Readonly<Record<number, number>>,
];

/** A function's configuration space. */
export interface ConfigSketch {
  /** What it shows. */
  readonly name: string;
  /** Where the layout was published; absent for an invented one. */
  readonly source?: string;
  /** 16 bits; 0xffff as in a virtual function. */
  readonly vendorId?: number;
  /** 16 bits; 0xffff as in a virtual function. */
  readonly deviceId?: number;
  /** 0 or 1. */
  readonly headerType?: number;
  /** Capabilities of the first 256 bytes, in order: where, which, its registers by offset. */
  readonly standard?: readonly (readonly [
    offset: number,
    id: number,
    registers?: Readonly<Record<number, number>>,
  ])[];
  /** Extended capabilities, in order; the first is at 0x100. */
  readonly extended?: readonly ExtendedSketch[];
  /** Words outside all capabilities. */
  readonly hidden?: Readonly<Record<number, number>>;
  /** Runs of words outside all capabilities that do not read as zero: `700-713 8a8-8af`, in hexadecimal. */
  readonly runs?: string;
  /** 256 or 4096 bytes; 4096 when absent. */
  readonly sizeBytes?: number;
}

/** The registers of a PCI Express capability: its version, port type, lanes and Device Capabilities 2. */
export function expressRegisters(
  { version = 2, type = 0, lanes = 4, deviceCapabilities2 = 0 } = {},
): Record<number, number> {
  return { 0: (version | type << 4) << 16, 0x0c: lanes << 4 | 1, 0x24: deviceCapabilities2 };
}

/** The bytes of a sketch. */
export function draw(sketch: ConfigSketch): Uint8Array {
  const space = new Uint8Array(sketch.sizeBytes ?? 4096);
  const view = new DataView(space.buffer);
  const put = (offset: number, registers: Readonly<Record<number, number>> = {}): void => {
    for (const [at, value] of Object.entries(registers)) {
      const where = offset + Number(at);
      view.setUint32(where, (view.getUint32(where, true) | value) >>> 0, true);
    }
  };
  view.setUint16(0, sketch.vendorId ?? 0x8086, true);
  view.setUint16(2, sketch.deviceId ?? 0x10ca, true);
  view.setUint8(0x0e, sketch.headerType ?? 0);
  const standard = sketch.standard ?? [[0x60, 0x10, expressRegisters()]];
  if (standard.length > 0) {
    view.setUint16(0x06, 0x10, true);
    view.setUint8(0x34, standard[0][0]);
  }
  for (const [i, [offset, id, registers]] of standard.entries()) {
    view.setUint16(offset, id | (standard[i + 1]?.[0] ?? 0) << 8, true);
    put(offset, registers);
  }
  const extended = sketch.extended ?? [];
  for (const [i, [offset, id, version, registers]] of extended.entries()) {
    const next = extended[i + 1]?.[0] ?? 0;
    view.setUint32(offset, (id | version << 16 | next << 20) >>> 0, true);
    put(offset, registers);
  }
  put(0, sketch.hidden);
  for (const [, first, last] of (sketch.runs ?? "").matchAll(/([0-9a-f]+)-([0-9a-f]+)/g)) {
    const end = parseInt(last, 16);
    // No kind of capability has such an ID and version.
    for (let at = parseInt(first, 16); at < end; at += 4) {
      view.setUint32(at, 0xa5a5_0000 | at, true);
    }
  }
  return space;
}

/** Extended capabilities that vfio of Linux 7.3 shows; its `pci_ext_cap_length` has a length for no other. */
const SHOWN = [
  ...[0x01, 0x02, 0x03, 0x04, 0x08, 0x09, 0x0b, 0x0d, 0x0e, 0x0f, 0x10, 0x12, 0x13, 0x15, 0x16],
  ...[0x17, 0x18, 0x23],
];

/**
 * A function's space as vfio shows it: capabilities that it does not know are out of the list, their registers still answer,
 * and where the first one was, a Null capability leads on.
 */
export function asVfioShows(sketch: ConfigSketch): Uint8Array {
  const space = draw(sketch);
  const view = new DataView(space.buffer);
  const extended = sketch.extended ?? [];
  const shown = extended.filter(([, id], i) => i === 0 || SHOWN.includes(id));
  for (const [i, [offset, id]] of shown.entries()) {
    const next = shown[i + 1]?.[0] ?? 0;
    const kept = SHOWN.includes(id) ? view.getUint32(offset, true) & 0xf_ffff : 0;
    view.setUint32(offset, (kept | next << 20) >>> 0, true);
  }
  return space;
}
