/**
 * Work put off until other descriptors had their turn.
 * @module
 */
import { EventFd } from "../uapi/eventfd.ts";
import { POLL, type Poller, type Watch } from "../uapi/poll.ts";

/** Runs what it is given in the next step of a poller. */
export class DeferredWork implements Disposable {
  readonly #event = EventFd.create();
  readonly #watch: Watch;
  #work: (() => void)[] = [];

  /** Work for the loop of `poller`. Throws `SystemError`. */
  constructor(poller: Poller) {
    this.#watch = poller.watch(this.#event.fd, POLL.IN, () => this.#run());
  }

  /** Runs `work` once, in a later step. */
  add(work: () => void): void {
    this.#work.push(work);
    this.#event.signal();
  }

  /** Forgets what was not run. */
  [Symbol.dispose](): void {
    this.#work = [];
    this.#watch[Symbol.dispose]();
    this.#event[Symbol.dispose]();
  }

  #run(): void {
    this.#event.drain();
    const work = this.#work;
    this.#work = [];
    for (const each of work) each();
  }
}
