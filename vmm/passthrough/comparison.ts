/**
 * The same transfers twice, side by side.
 * @module
 */
import type { Transfer } from "../transfers.ts";

/** One of them. */
export interface ComparedTransfer {
  /** `receive` or `send`. */
  readonly direction: string;
  /** MiB a second, with our SMMU and with the peer's. */
  readonly ours: number;
  readonly peers: number;
  /** Ours against the peer's: more is better. */
  readonly ratio: number;
}

/** Compares transfers of the same direction and size. */
export function compareTransfers(
  ours: readonly Transfer[],
  peers: readonly Transfer[],
): ComparedTransfer[] {
  return ours.flatMap(({ direction, bytes, seconds }) => {
    const other = peers.find((peer) => peer.direction === direction && peer.bytes === bytes);
    if (other === undefined) return [];
    const rate = (time: number): number => bytes / 2 ** 20 / time;
    return [{
      direction,
      ours: rate(seconds),
      peers: rate(other.seconds),
      ratio: other.seconds / seconds,
    }];
  });
}

/** A line for each. */
export function comparisonLines(compared: readonly ComparedTransfer[]): string[] {
  return compared.map(({ direction, ours, peers, ratio }) =>
    `Guest ${direction.padEnd(8)} ${ours.toFixed(2)} MiB/s, ${peers.toFixed(2)} with QEMU's own ` +
    `accelerated SMMUv3: ${ratio.toFixed(2)}`
  );
}
