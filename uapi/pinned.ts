/**
 * Memory whose address the kernel may keep in a structure while a call runs.
 * @module
 */
import { libc } from "./libc.ts";

/**
 * A buffer at a known address. It owns its `ArrayBuffer`: a small typed array made without one may live in V8's heap,
 * where the collector moves it.
 */
export class Pinned {
  /** All the bytes. */
  readonly bytes: Uint8Array<ArrayBuffer>;
  /** The same bytes, for fields. */
  readonly view: DataView<ArrayBuffer>;
  /** Address of the first byte; user addresses of Linux fit 52 bits. */
  readonly address: number;

  /** `sizeBytes` zero bytes; more than none. */
  constructor(sizeBytes: number) {
    const buffer = new ArrayBuffer(sizeBytes);
    this.bytes = new Uint8Array(buffer);
    this.view = new DataView(buffer);
    // memcpy returns its destination: unlike Deno.UnsafePointer, it needs no FFI permission beyond the library's own.
    this.address = Number(libc().addressOf(this.bytes, this.bytes, 0n));
  }

  /** Stores an unsigned 64-bit `value` (at most 2^53) at `offset` without making a bigint. */
  setU64(offset: number, value: number): void {
    this.view.setUint32(offset, value % 0x1_0000_0000, true);
    this.view.setUint32(offset + 4, value / 0x1_0000_0000, true);
  }
}

/** The bytes of a C string. Throws `TypeError` when `text` contains a NUL. */
export function cString(text: string): Uint8Array<ArrayBuffer> {
  if (text.includes("\0")) throw new TypeError("A C string cannot contain NUL");
  return new TextEncoder().encode(text + "\0");
}
