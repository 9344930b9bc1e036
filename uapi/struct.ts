/**
 * C structures as data: where each field is and what it is, and little-endian access to them.
 *
 * Linux's structures for user space have one layout on every 64-bit machine, because their 64-bit fields are aligned.
 * @module
 */

/** What a field holds. A le64 is a `u64` here. */
export type Kind = "u8" | "u16" | "u32" | "s32" | "u64";

/** One field. */
export interface Field<K extends Kind = Kind> {
  /** What it holds. */
  readonly kind: K;
  /** Bytes from the structure's beginning. */
  readonly offset: number;
  /** How many there are: 1, more for an array, 0 for an array that ends the structure and has any length. */
  readonly count: number;
}

/** Fields by their C names. */
export type Fields = Readonly<Record<string, Field>>;

/** A structure. */
export interface Struct<F extends Fields = Fields> {
  /** Its C size in bytes. */
  readonly size: number;
  /** Its fields. */
  readonly fields: F;
}

/** What a field is for TypeScript. */
export type Value<T extends Field> = T["kind"] extends "u64" ? bigint : number;

/** Values of some fields. */
export type Values<F extends Fields> = { readonly [N in keyof F]?: Value<F[N]> | undefined };

const BYTES: Readonly<Record<Kind, number>> = { u8: 1, u16: 2, u32: 4, s32: 4, u64: 8 };

/** Unsigned bytes at `offset`. */
export const u8 = (offset: number, count = 1): Field<"u8"> => ({ kind: "u8", offset, count });
/** Unsigned 16 bits at `offset`. */
export const u16 = (offset: number, count = 1): Field<"u16"> => ({ kind: "u16", offset, count });
/** Unsigned 32 bits at `offset`. */
export const u32 = (offset: number, count = 1): Field<"u32"> => ({ kind: "u32", offset, count });
/** Signed 32 bits at `offset`, most often a descriptor. */
export const s32 = (offset: number, count = 1): Field<"s32"> => ({ kind: "s32", offset, count });
/** Unsigned 64 bits at `offset`. */
export const u64 = (offset: number, count = 1): Field<"u64"> => ({ kind: "u64", offset, count });

/** Declares a structure of `size` bytes. Throws `RangeError` when a field is misaligned or does not fit. */
export function struct<F extends Fields>(size: number, fields: F): Struct<F> {
  for (const [name, field] of Object.entries(fields)) {
    if (field.offset % BYTES[field.kind] !== 0) throw new RangeError(`${name} is misaligned`);
    if (field.offset + sizeOf(field) > size) throw new RangeError(`${name} crosses the end`);
  }
  return { size, fields };
}

/** Bytes of a field; 0 for an array of any length. */
export function sizeOf(field: Field): number {
  return BYTES[field.kind] * field.count;
}

/** Reads element `index` of a field of the structure at `at`. */
export function getField<T extends Field>(view: DataView, field: T, index = 0, at = 0): Value<T> {
  const offset = at + field.offset + index * BYTES[field.kind];
  const kind: Kind = field.kind;
  switch (kind) {
    case "u8":
      return view.getUint8(offset) as Value<T>;
    case "u16":
      return view.getUint16(offset, true) as Value<T>;
    case "u32":
      return view.getUint32(offset, true) as Value<T>;
    case "s32":
      return view.getInt32(offset, true) as Value<T>;
    case "u64":
      return view.getBigUint64(offset, true) as Value<T>;
  }
}

/** Stores element `index` of a field of the structure at `at`; what does not fit is cut off, as in C. */
export function setField<T extends Field>(
  view: DataView,
  field: T,
  value: Value<T>,
  index = 0,
  at = 0,
): void {
  const offset = at + field.offset + index * BYTES[field.kind];
  if (typeof value === "bigint") return view.setBigUint64(offset, value, true);
  switch (BYTES[field.kind]) {
    case 1:
      return view.setUint8(offset, value);
    case 2:
      return view.setUint16(offset, value, true);
    case 4:
      return view.setUint32(offset, value, true);
  }
}

/**
 * One structure in memory, for instance the argument of an ioctl.
 *
 * ```ts
 * import { struct, StructBuffer, u32 } from "./struct.ts";
 * const point = new StructBuffer(struct(8, { x: u32(0), y: u32(4) }));
 * point.fill({ y: 7 });
 * console.assert(point.get("y") === 7 && point.bytes[4] === 7);
 * ```
 */
export class StructBuffer<F extends Fields> {
  /** All the bytes. They have a buffer of their own, which does not move. */
  readonly bytes: Uint8Array<ArrayBuffer>;
  /** The same bytes. */
  readonly view: DataView<ArrayBuffer>;
  /** What it is. */
  readonly struct: Struct<F>;

  /** A structure of zeros, with `tailBytes` behind it. */
  constructor(struct: Struct<F>, tailBytes = 0) {
    const buffer = new ArrayBuffer(struct.size + tailBytes);
    this.bytes = new Uint8Array(buffer);
    this.view = new DataView(buffer);
    this.struct = struct;
  }

  /** Zeros everything, then stores `values`. */
  fill(values: Values<F>): this {
    this.bytes.fill(0);
    for (const name in values) {
      const value = values[name];
      if (value !== undefined) this.set(name, value);
    }
    return this;
  }

  /** Reads a field. */
  get<N extends keyof F>(name: N, index = 0): Value<F[N]> {
    return getField(this.view, this.struct.fields[name], index);
  }

  /** Stores a field. */
  set<N extends keyof F>(name: N, value: Value<F[N]>, index = 0): void {
    setField(this.view, this.struct.fields[name], value, index);
  }
}
