/**
 * Text on its way from the device thread to the thread that writes it down: a ring in shared memory, so that memory is
 * bounded, the device thread waits when the disk is too slow, and a killed process loses little.
 * @module
 */

const HEAD = 0;
const TAIL = 1;
const CLOSED = 2;
const ABANDONED = 3;
const CONTROL_BYTES = 16;

/** A ring of bytes between one writer and one reader. */
export class TextRing {
  /** The shared memory, for the other thread. */
  readonly buffer: SharedArrayBuffer;
  readonly #control: Int32Array;
  readonly #bytes: Uint8Array<ArrayBuffer>;
  readonly #encoder = new TextEncoder();

  /** A ring in new memory of 2^log2size bytes, or in that of the other thread. */
  constructor(memory: number | SharedArrayBuffer = 24) {
    this.buffer = typeof memory === "number"
      ? new SharedArrayBuffer(CONTROL_BYTES + 2 ** memory)
      : memory;
    this.#control = new Int32Array(this.buffer, 0, CONTROL_BYTES / 4);
    // An encoder writes into shared memory as into any other; its type says otherwise.
    this.#bytes = new Uint8Array(this.buffer, CONTROL_BYTES) as Uint8Array as Uint8Array<
      ArrayBuffer
    >;
  }

  /** How many bytes fit. */
  get sizeBytes(): number {
    return this.#bytes.length;
  }

  /** Appends ASCII text; waits while there is no room. Does nothing when nobody reads any more. */
  write(text: string): void {
    const size = this.#bytes.length;
    for (let done = 0; done < text.length;) {
      const head = Atomics.load(this.#control, HEAD);
      const room = this.#room(head, Math.min(text.length - done, size));
      if (room === 0) return;
      const at = head & (size - 1);
      const count = Math.min(text.length - done, room, size - at);
      const part = count === text.length ? text : text.slice(done, done + count);
      this.#encoder.encodeInto(part, this.#bytes.subarray(at, at + count));
      Atomics.store(this.#control, HEAD, (head + count) | 0);
      done += count;
    }
  }

  /** Waits until `wanted` bytes are free; returns how many are, and 0 when nobody reads any more. */
  #room(head: number, wanted: number): number {
    for (;;) {
      const tail = Atomics.load(this.#control, TAIL);
      if (Atomics.load(this.#control, ABANDONED) === 1) return 0;
      const room = this.#bytes.length - ((head - tail) | 0);
      if (room >= wanted) return room;
      Atomics.wait(this.#control, TAIL, tail, 1000);
    }
  }

  /** Nothing more will be written. */
  close(): void {
    Atomics.store(this.#control, CLOSED, 1);
  }

  /** Nothing more will be read: whatever is written from now on is lost, and nobody waits for it. */
  abandon(): void {
    Atomics.store(this.#control, ABANDONED, 1);
    Atomics.notify(this.#control, TAIL);
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
