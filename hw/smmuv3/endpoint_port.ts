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
  /** CMD_PRI_RESP: a group of page requests of a substream, or of requests without one (-1), is answered. */
  respond(streamId: number, substreamId: number, group: number, response: number): void;
}

/** Answers to page requests. §4.6.1 CMD_PRI_RESP.Resp */
export const PageResponse = { Denied: 0, Invalid: 1, Success: 2 } as const;
