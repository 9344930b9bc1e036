/**
 * A PCI function as its carrier (a vfio-user server, an embedder's bus) sees it.
 * @module
 */
import type { MmioDevice } from "../device.ts";

/** A memory BAR. */
export interface Bar {
  /** 0 to 5; a 64-bit BAR takes this one and the next. */
  readonly index: number;
  /** A power of two. */
  readonly sizeBytes: number;
  /** What answers there. */
  readonly device: MmioDevice;
}

/** A PCI function: configuration space, BARs, reset. */
export interface PciFunction {
  /** Short name for messages, such as `virtio-blk`. */
  readonly name: string;
  /** The 4096 bytes of configuration space. */
  readonly config: MmioDevice;
  /** Memory BARs, at most one for each index. */
  readonly bars: readonly Bar[];
  /** Function reset: registers and configuration return to their initial state, interrupts go quiet. */
  reset(): void;
  /** Cold reset: what outlives a function reset goes too, because another VMM comes. Absent where nothing does. */
  coldReset?(): void;
}
