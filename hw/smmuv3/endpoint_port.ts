/**
 * What the device tells endpoints that translate for themselves: a message of PCI Express each. IHI 0070 §3.9.
 * @module
 */

/** Endpoints with an ATC or with page requests. */
export interface EndpointPort {
  /**
   * CMD_ATC_INV: the endpoint forgets what it keeps of [hi:lo, hi:lo + 4096 * 2^log2pages), of a substream, of requests
   * without one (-1), or with `everySubstream` of all. Returns false when it does not answer in time.
   */
  invalidate(
    streamId: number,
    substreamId: number,
    everySubstream: boolean,
    lo: number,
    hi: number,
    log2pages: number,
  ): boolean;
  /**
   * CMD_PRI_RESP, or an answer of the SMMU itself: a group of page requests of a substream, or of requests without one
   * (-1), is answered.
   */
  respond(streamId: number, substreamId: number, group: number, response: number): void;
}

/** What a page request asks for. PCI Express 10.4.1 Page Request Message. */
export interface PageRequestKind {
  /** To read. */
  readonly read: boolean;
  /** To write. */
  readonly write: boolean;
  /** To execute; only with a substream. */
  readonly execute: boolean;
  /** In privileged mode; only with a substream. */
  readonly privileged: boolean;
  /** The last of its group. With a substream, and neither to read nor to write: the Stop Marker. */
  readonly last: boolean;
}

/** Answers to page requests. §4.6.1 CMD_PRI_RESP.Resp */
export const PageResponse = { Denied: 0, Invalid: 1, Success: 2 } as const;
