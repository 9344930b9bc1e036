/**
 * Sums over time in a fixed number of slots that grow wider as the trace grows longer.
 * @module
 */

/** A timeline, ready for JSON. */
export interface TimelineSummary {
  /** Seconds that each slot spans; the first begins at 0. */
  readonly slotSeconds: number;
  /** Values by slot, by the name of what is counted; all of the same length. */
  readonly sums: Readonly<Record<string, readonly number[]>>;
  /** The largest value in each slot; a slot without one repeats the last value before it. */
  readonly levels: Readonly<Record<string, readonly number[]>>;
}

const SLOTS = 1024;
const FIRST_SLOT_S = 2 ** -10;
/** More rows than this are not kept: a trace must not make us grow. */
const MOST_ROWS = 256;

/** Collects sums and levels. */
export class Timeline {
  #slotSeconds = FIRST_SLOT_S;
  #last = 0;
  readonly #sums = new Map<string, Float64Array>();
  readonly #levels = new Map<string, { peaks: Float64Array; last: Float64Array }>();

  /** Adds to what happened at a time. */
  add(seconds: number, name: string, value: number): void {
    const slot = this.#slot(seconds);
    const row = this.#sums.get(name) ?? this.#newRow(name);
    if (row !== undefined) row[slot] += value;
  }

  /** Says how much there was of something from a time on. */
  level(seconds: number, name: string, value: number): void {
    const slot = this.#slot(seconds);
    let row = this.#levels.get(name);
    if (row === undefined) {
      row = {
        peaks: new Float64Array(SLOTS).fill(NaN),
        last: new Float64Array(SLOTS).fill(NaN),
      };
      this.#levels.set(name, row);
    }
    row.peaks[slot] = Number.isNaN(row.peaks[slot]) ? value : Math.max(row.peaks[slot], value);
    row.last[slot] = value;
  }

  /** What was collected. */
  summary(): TimelineSummary {
    const count = this.#last + 1;
    const sums = [...this.#sums].map(([name, row]) => [name, [...row.subarray(0, count)]]);
    const levels = [...this.#levels].map(([name, { peaks, last }]) => {
      let before = 0;
      const values = Array.from({ length: count }, (_, i) => {
        const value = Number.isNaN(peaks[i]) ? before : peaks[i];
        if (!Number.isNaN(last[i])) before = last[i];
        return value;
      });
      return [name, values];
    });
    return {
      slotSeconds: this.#slotSeconds,
      sums: Object.fromEntries(sums),
      levels: Object.fromEntries(levels),
    };
  }

  #newRow(name: string): Float64Array | undefined {
    if (this.#sums.size >= MOST_ROWS) return undefined;
    const row = new Float64Array(SLOTS);
    this.#sums.set(name, row);
    return row;
  }

  #slot(seconds: number): number {
    while (seconds >= this.#slotSeconds * SLOTS) this.#widen();
    const slot = Math.max(Math.floor(seconds / this.#slotSeconds), 0);
    this.#last = Math.max(this.#last, slot);
    return slot;
  }

  /** Makes two slots one. */
  #widen(): void {
    this.#slotSeconds *= 2;
    this.#last >>>= 1;
    for (const row of this.#sums.values()) fold(row, 0, (a, b) => a + b);
    for (const { peaks, last } of this.#levels.values()) {
      fold(peaks, NaN, (a, b) => Number.isNaN(a) ? b : Number.isNaN(b) ? a : Math.max(a, b));
      fold(last, NaN, (a, b) => Number.isNaN(b) ? a : b);
    }
  }
}

function fold(row: Float64Array, empty: number, join: (a: number, b: number) => number): void {
  for (let i = 0; i < SLOTS / 2; i++) row[i] = join(row[2 * i], row[2 * i + 1]);
  row.fill(empty, SLOTS / 2);
}
