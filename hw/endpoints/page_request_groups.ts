/**
 * The groups of page requests of an endpoint that are not answered yet. PCI Express Base 5.0 §10.4.
 * @module
 */

/** Groups that there can be: PRGIndex has 9 bits. */
export const GROUPS = 512;

/** Requests by group. */
export class PageRequestGroups {
  /** Requests that are not answered. */
  outstanding = 0;
  readonly #requests = new Uint32Array(GROUPS);
  readonly #substreams = new Int32Array(GROUPS);

  /** One more request of a group. A group is of one substream: false when it has requests of another. */
  add(group: number, substreamId: number): boolean {
    if (this.#requests[group] > 0 && this.#substreams[group] !== substreamId) return false;
    this.#substreams[group] = substreamId;
    this.#requests[group]++;
    this.outstanding++;
    return true;
  }

  /**
   * A group is answered, as one of a substream or without (-1); an answer without it is to any group when `isFailure`.
   * Returns false when nobody asked.
   */
  answer(group: number, substreamId: number, isFailure: boolean): boolean {
    const count = this.#requests[group] ?? 0;
    const isOfGroup = this.#substreams[group] === substreamId || (isFailure && substreamId < 0);
    if (count === 0 || !isOfGroup) return false;
    this.#requests[group] = 0;
    this.outstanding -= count;
    return true;
  }

  /** Nothing was ever asked. */
  clear(): void {
    this.#requests.fill(0);
    this.outstanding = 0;
  }
}
