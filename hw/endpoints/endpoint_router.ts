/**
 * Brings what the SMMU tells endpoints to the one that is meant, by its StreamID of just then.
 * @module
 */
import type { Requester } from "../device.ts";
import type { EndpointPort } from "../smmuv3/endpoint_port.ts";

/** An endpoint that translates for itself; see `EndpointPort`. */
export interface TranslatingEndpoint {
  /** CMD_ATC_INV. */
  invalidate(
    substreamId: number,
    everySubstream: boolean,
    lo: number,
    hi: number,
    log2pages: number,
  ): void;
  /** CMD_PRI_RESP, or an answer of the SMMU itself. */
  respond(substreamId: number, group: number, response: number): void;
}

/** Endpoints by StreamID. */
export class EndpointRouter implements EndpointPort {
  readonly #endpoints: (readonly [Requester, TranslatingEndpoint])[] = [];

  /** One more endpoint, which is where its requester is. */
  add(requester: Requester, endpoint: TranslatingEndpoint): void {
    this.#endpoints.push([requester, endpoint]);
  }

  /** Where nobody is the answer is an Unsupported Request, with which the command is complete. §3.9.1.5 */
  invalidate(
    streamId: number,
    substreamId: number,
    everySubstream: boolean,
    lo: number,
    hi: number,
    log2pages: number,
  ): boolean {
    this.#find(streamId)?.invalidate(substreamId, everySubstream, lo, hi, log2pages);
    return true;
  }

  /** Where nobody is nobody waits for an answer. */
  respond(streamId: number, substreamId: number, group: number, response: number): void {
    this.#find(streamId)?.respond(substreamId, group, response);
  }

  #find(streamId: number): TranslatingEndpoint | undefined {
    for (const [requester, endpoint] of this.#endpoints) {
      if (requester.streamId === streamId) return endpoint;
    }
    return undefined;
  }
}
