/**
 * What becomes of a page request: queued and told, or answered by the SMMU itself. IHI 0070 §8.1, §8.2.
 * @module
 */
import type { Requester } from "../device.ts";
import { type EndpointPort, type PageRequestKind, PageResponse } from "./endpoint_port.ts";
import type { GlobalErrors } from "./global_errors.ts";
import type { Interrupts } from "./interrupts.ts";
import { isStopMarker, type PageRequestQueue, Queued } from "./queues/page_request_queue.ts";
import { GERROR } from "./spec/registers.ts";

/** Takes the page requests of endpoints. */
export class PageRequests {
  readonly #queue: PageRequestQueue;
  readonly #errors: GlobalErrors;
  readonly #interrupts: Interrupts;
  readonly #endpoints: EndpointPort | undefined;

  /** Requests for `queue`; without `endpoints` nobody hears the SMMU's own answers. */
  constructor(
    queue: PageRequestQueue,
    errors: GlobalErrors,
    interrupts: Interrupts,
    endpoints: EndpointPort | undefined,
  ) {
    this.#queue = queue;
    this.#errors = errors;
    this.#interrupts = interrupts;
    this.#endpoints = endpoints;
  }

  /** An endpoint asks for the page at [hi:lo], as one of a group (PRGIndex, 0 to 511). */
  ask(requester: Requester, lo: number, hi: number, group: number, kind: PageRequestKind): void {
    const isInError = this.#errors.isActive(GERROR.PRIQ_ABT_ERR);
    const queued = this.#queue.write(requester, lo, hi, group, kind, isInError);
    if (queued === Queued.Aborted) this.#errors.raise(GERROR.PRIQ_ABT_ERR);
    if (queued === Queued.Tell && !this.#interrupts.priq()) {
      this.#errors.raise(GERROR.MSI_PRIQ_ABT_ERR);
    }
    if (queued <= Queued.Tell || isStopMarker(requester, kind)) return;
    const { streamId, substreamId } = requester;
    if (queued !== Queued.Overflow) {
      this.#endpoints?.respond(streamId, -1, group, PageResponse.Denied);
    } else if (kind.last) {
      // IDR3.PPS=1: the PASID of the request, whatever STE.PPAR is.
      this.#endpoints?.respond(streamId, substreamId, group, PageResponse.Success);
    }
  }
}
