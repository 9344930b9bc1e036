/**
 * A virtio device of some type, as its transport sees it. Virtio 1.2 §2, §5.
 * @module
 */
import type { FeatureWords } from "./virtio_spec.ts";
import type { ChainHandler } from "./virtqueue.ts";

/** What makes a device a disk, a network card, and so on. */
export interface VirtioDevice extends ChainHandler {
  /** Short name, such as `virtio-blk`. */
  readonly name: string;
  /** Device type number. §5. */
  readonly deviceType: number;
  /** PCI class code: 24 bits. */
  readonly classCode: number;
  /** Number of queues. */
  readonly queueCount: number;
  /** Largest size of each queue, in descriptors: a power of two, at most 1024. */
  readonly queueSize: number;
  /** Features of the device type that are offered. */
  readonly features: FeatureWords;
  /** Device configuration; drivers cannot change it. */
  readonly config: Uint8Array;
  /** The driver accepted these features and will now set up its queues. */
  start(features: FeatureWords): void;
}
