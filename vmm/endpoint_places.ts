/**
 * Endpoints behind root ports, whose StreamIDs follow the numbers that the guest gives their buses. A device of real
 * hardware sees its bus in each access to its configuration space; vfio-user tells no such thing, so the machine is asked.
 * PCI Express Base §2.2.6.2, "Transaction Descriptor - Transaction ID Field".
 * @module
 */
import type { Requester } from "../hw/device.ts";
import type { StreamMove } from "./host_iommu/nested.ts";

/** The StreamID of an endpoint that the guest has given no place yet, or of which nobody knows better. */
export const UNPLACED = -1;

/** Who makes an endpoint's transactions, wherever it is. */
export interface MovingRequester extends Requester {
  streamId: number;
}

/** What places are good for. */
export interface EndpointPlacesOptions {
  /** Asks where the endpoints are; `place()` is the answer. */
  readonly ask: () => void;
  /** Tells hardware which StreamIDs have changed; returns whether they can. */
  readonly move: (moves: readonly StreamMove[]) => boolean;
}

/** Where endpoints are, by their order. */
export class EndpointPlaces {
  readonly #requesters: MovingRequester[] = [];
  readonly #options: EndpointPlacesOptions;
  #isAsked = false;
  #isSeenSince = false;

  /** Without any endpoint at first. */
  constructor(options: EndpointPlacesOptions) {
    this.#options = options;
  }

  /** The next endpoint, by the StreamID that it has where the guest has not placed it. */
  add(streamId: number): MovingRequester {
    const requester = { streamId, substreamId: -1 };
    this.#requesters.push(requester);
    return requester;
  }

  /** The guest looks at the configuration space of an endpoint: it may have another place now. */
  seen(): void {
    this.#isSeenSince = this.#isAsked;
    if (this.#isAsked) return;
    this.#isAsked = true;
    this.#options.ask();
  }

  /** The StreamIDs that endpoints have now, by their order; `UNPLACED` leaves one what it has. */
  place(streamIds: ArrayLike<number>): void {
    this.#isAsked = false;
    const moved = this.#requesters.flatMap((requester, at) => {
      const to = streamIds[at] ?? UNPLACED;
      return to === UNPLACED || to === requester.streamId ? [] : [{ requester, to }];
    });
    const moves = moved.map(({ requester, to }): StreamMove => [requester.streamId, to]);
    if (moves.length > 0 && this.#options.move(moves)) {
      for (const { requester, to } of moved) requester.streamId = to;
    }
    // What was seen while the answer was on its way may be newer.
    if (this.#isSeenSince) this.seen();
  }
}
