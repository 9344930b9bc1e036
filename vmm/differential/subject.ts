/**
 * A device under comparison, as programs see it.
 * @module
 */

/** One access to a subject; the steps of a program are made of these. */
export type Operation =
  | { readonly kind: "read"; readonly offset: number }
  | {
    readonly kind: "write";
    readonly offset: number;
    readonly value: bigint;
    readonly bytes: 4 | 8;
  }
  | {
    readonly kind: "dma-write";
    readonly stream: number;
    readonly iova: bigint;
    readonly bytes: number;
    readonly gpa: number;
  }
  | {
    readonly kind: "dma-read";
    readonly stream: number;
    readonly iova: bigint;
    readonly bytes: number;
    readonly slot: number;
  }
  /** The reader fills all that it holds from there. */
  | { readonly kind: "dma-load"; readonly stream: number; readonly iova: bigint }
  /** The reader writes all that it holds. */
  | { readonly kind: "dma-dump"; readonly stream: number; readonly iova: bigint }
  /** 32 bits of a function's registers or of its configuration space are written, or read. */
  | {
    readonly kind: "poke";
    readonly stream: number;
    readonly space: FunctionSpace;
    readonly offset: number;
    readonly value: number;
  }
  | {
    readonly kind: "peek";
    readonly stream: number;
    readonly space: FunctionSpace;
    readonly offset: number;
  };

/** What of a function software reaches. */
export type FunctionSpace = "registers" | "config";

/** An SMMUv3 with its functions and memory. */
export interface Subject {
  /** Who it is, for people. */
  readonly name: string;
  /** The bytes of `WINDOW`. */
  readonly window: Uint8Array<ArrayBuffer>;
  /** Everything as after power-on, and the window zeroed. */
  reset(): Promise<void>;
  /** Does these in order; returns a number for each: what was read, or the test device's result. */
  perform(operations: readonly Operation[]): Promise<number[]>;
}
