/**
 * How often what size came: buckets by powers of two, whatever the range.
 * @module
 */

/** One bucket, ready for JSON. */
export interface Bucket {
  /** Values from here on. */
  readonly from: number;
  /** Values below this. */
  readonly below: number;
  /** How many there were. */
  readonly count: number;
}

/** A histogram, ready for JSON. */
export interface HistogramSummary {
  /** How many values there were. */
  readonly count: number;
  /** Of all values; 0 without any, as are the next two. */
  readonly mean: number;
  /** The smallest. */
  readonly min: number;
  /** The largest. */
  readonly max: number;
  /** Without empty ones at both ends. A value of 0 is in the first, from 0 below 1. */
  readonly buckets: readonly Bucket[];
}

const BUCKETS = 54;

/** Counts values that are not negative in buckets 0, 1, 2 to 3, 4 to 7 and so on. */
export class Histogram {
  readonly #counts = new Float64Array(BUCKETS);
  #count = 0;
  #sum = 0;
  #min = Infinity;
  #max = 0;

  /** Counts one value. */
  add(value: number): void {
    const bucket = value < 1 ? 0 : Math.min(Math.floor(Math.log2(value)) + 1, BUCKETS - 1);
    this.#counts[bucket]++;
    this.#count++;
    this.#sum += value;
    this.#min = Math.min(this.#min, value);
    this.#max = Math.max(this.#max, value);
  }

  /** The counts of now. */
  summary(): HistogramSummary {
    const used = [...this.#counts.keys()].filter((bucket) => this.#counts[bucket] > 0);
    const first = used[0] ?? 0;
    const last = used.at(-1) ?? -1;
    const buckets = Array.from({ length: last - first + 1 }, (_, i): Bucket => {
      const bucket = first + i;
      return {
        from: bucket === 0 ? 0 : 2 ** (bucket - 1),
        below: 2 ** bucket,
        count: this.#counts[bucket],
      };
    });
    const count = this.#count;
    return {
      count,
      mean: count === 0 ? 0 : this.#sum / count,
      min: count === 0 ? 0 : this.#min,
      max: this.#max,
      buckets,
    };
  }
}
