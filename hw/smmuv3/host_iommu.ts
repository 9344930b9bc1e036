/**
 * What the device asks of the hardware behind it, for streams whose transactions the hardware translates itself.
 * @module
 */

/** What hardware does with a stream. */
export const StreamUse = { Abort: 0, Bypass: 1, Nested: 2 } as const;

/** The hardware behind the streams of assigned devices. No method throws, whatever a guest does. */
export interface HostIommu {
  /** StreamIDs that have hardware behind them, ascending; all other streams are translated by the device. */
  readonly streamIds: readonly number[];
  /**
   * Makes hardware treat a stream as `use`, one of `StreamUse`; `ste` holds the 16 words of the guest's STE when that
   * is `Nested`. Done when it returns. When it cannot be done the stream aborts.
   */
  setStream(streamId: number, use: number, ste: Uint32Array): void;
  /**
   * Carries out `count` commands of four words each, in order; only CMD_CFGI_CD, CMD_CFGI_CD_ALL, CMD_ATC_INV and
   * CMD_TLBI_* are passed. Returns how many are done when it returns; fewer than `count` when the hardware refused
   * the one after them.
   */
  invalidate(commands: Uint32Array, count: number): number;
}
