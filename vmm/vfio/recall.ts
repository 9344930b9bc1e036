/**
 * A host that wants a function back: the VMM is asked to unplug it, and the function is given back when it has, when it
 * cannot, or when it takes longer than 30 seconds. The clock is the kernel's, which repeats its request every 10 seconds.
 * Linux drivers/vfio/vfio_main.c, vfio_unregister_group_dev.
 * @module
 */

/** The request at which waiting ends. A guest may take 5 seconds to begin with. PCI Express Base §6.7.1.5, "Attention Button". */
const LAST_REQUEST = 4;

/** What the owner of a function can do about it. */
export interface RecallOwner {
  /**
   * Asks for the function to be unplugged; `isLast` when what was asked before has not helped. Returns whether somebody
   * was asked who may do it.
   */
  ask(isLast: boolean): boolean;
  /** Closes the function, after which the guest reaches nothing of it. */
  release(): void;
}

/** The requests for one function. */
export class Recall {
  readonly #owner: RecallOwner;
  readonly #log: (line: string) => void;
  #requests = 0;
  #isReleased = false;

  /** `log` takes one line for people about each step. */
  constructor(owner: RecallOwner, log: (line: string) => void) {
    this.#owner = owner;
    this.#log = log;
  }

  /** Whether the host waits for the function, which it does not let anybody reset then. */
  get isWanted(): boolean {
    return this.#requests > 0;
  }

  /** The host asks. */
  requested(): void {
    if (this.#isReleased) return;
    const request = ++this.#requests;
    const isFirst = request === 1;
    if (!isFirst && request < LAST_REQUEST) return;
    const isAsked = this.#owner.ask(!isFirst);
    if (isFirst && isAsked) {
      return this.#log("The host wants the function back: the VMM is asked to unplug it");
    }
    this.#release(
      isFirst
        ? "The host wants the function back, and nobody can unplug it"
        : "The host still wants the function back: it was not unplugged in time",
    );
  }

  /** The VMM has left; returns whether the function was given back therefore. */
  left(): boolean {
    if (!this.isWanted) return false;
    this.#release("The VMM has let go of the function");
    return true;
  }

  #release(reason: string): void {
    if (this.#isReleased) return;
    this.#isReleased = true;
    this.#log(`${reason}; it is given back, and the guest reads ones from it`);
    this.#owner.release();
  }
}
