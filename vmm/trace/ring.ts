/**
 * Text on its way from the device thread to the thread that writes it down: a ring in shared memory, so that memory is
 * bounded, the device thread waits when the disk is too slow, and a killed process loses little.
 * @module
 */

const HEAD = 0;
const TAIL = 1;
const CLOSED = 2;
const CONTROL_BYTES = 16;

/** A ring of bytes between one writer and one reader. */
export class TextRing {
  /** The shared memory, for the other thread. */
  readonly buffer: SharedArrayBuffer;
  readonly #control: Int32Array;
  readonly #bytes: Uint8Array;
  readonly #encoder = new TextEncoder();

  /** A ring in new memory of 2^log2size bytes, or in that of the other thread. */
  constructor(memory: number | SharedArrayBuffer = 24) {
    this.buffer = typeof memory === "number"
      ? new SharedArrayBuffer(CONTROL_BYTES + 2 ** memory)
      : memory;
    this.#control = new Int32Array(this.buffer, 0, CONTROL_BYTES / 4);
    this.#bytes = new Uint8Array(this.buffer, CONTROL_BYTES);
  }

  /** Appends text; waits while there is no room. Longer than the ring is a mistake of ours. */
  write(text: string): void {
    const bytes = this.#encoder.encode(text);
    const size = this.#bytes.length;
    if (bytes.length > size) throw new RangeError(`A line of ${bytes.length} bytes is too long`);
    const head = Atomics.load(this.#control, HEAD);
    for (;;) {
      const tail = Atomics.load(this.#control, TAIL);
      if (((head - tail) | 0) + bytes.length <= size) break;
      Atomics.wait(this.#control, TAIL, tail, 1000);
    }
    const at = head & (size - 1);
    const first = Math.min(bytes.length, size - at);
    this.#bytes.set(bytes.subarray(0, first), at);
    this.#bytes.set(bytes.subarray(first), 0);
    Atomics.store(this.#control, HEAD, (head + bytes.length) | 0);
  }

  /** Nothing more will be written. */
  close(): void {
    Atomics.store(this.#control, CLOSED, 1);
  }

  /** Whether everything was written, and read. */
  get isDone(): boolean {
    return Atomics.load(this.#control, CLOSED) === 1 &&
      Atomics.load(this.#control, HEAD) === Atomics.load(this.#control, TAIL);
  }

  /** Takes what is there; empty when nothing is. */
  read(): Uint8Array<ArrayBuffer> {
    const tail = Atomics.load(this.#control, TAIL);
    const count = (Atomics.load(this.#control, HEAD) - tail) | 0;
    const size = this.#bytes.length;
    const at = tail & (size - 1);
    const first = Math.min(count, size - at);
    const taken = new Uint8Array(count);
    taken.set(this.#bytes.subarray(at, at + first));
    taken.set(this.#bytes.subarray(0, count - first), first);
    Atomics.store(this.#control, TAIL, (tail + count) | 0);
    Atomics.notify(this.#control, TAIL);
    return taken;
  }
}
