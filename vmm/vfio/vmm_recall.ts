/**
 * How a VMM is asked for a function that its host wants back: by the interrupt of vfio-user, and by its own control where
 * that is ours.
 * @module
 */
import type { RequestLine } from "../vfio_user/request_line.ts";
import type { RecallOwner } from "./recall.ts";

/** What can be done. */
export interface VmmRecallOptions {
  /** The interrupt. */
  readonly request: RequestLine;
  /** Whether there is a VMM that has the function. */
  readonly isConnected: () => boolean;
  /** Has the machine unplug the function, where it can; by force when `isLast`. */
  readonly unplug: ((isLast: boolean) => void) | undefined;
  /** Whether the VMM has registers mapped, and with them the function open. */
  readonly isMapped: () => boolean;
  /** Closes the function. */
  readonly release: () => void;
  /** Takes one line for people. */
  readonly log: (line: string) => void;
}

/** The VMM, as the owner of a function that is wanted. */
export class VmmRecall implements RecallOwner {
  readonly #options: VmmRecallOptions;

  /** Nothing is asked before somebody wants the function. */
  constructor(options: VmmRecallOptions) {
    this.#options = options;
  }

  ask(isLast: boolean): boolean {
    const { request, isConnected, unplug } = this.#options;
    if (!isConnected()) return false;
    request.signal();
    unplug?.(isLast);
    return unplug !== undefined || request.isHeard;
  }

  release(): void {
    const { isConnected, isMapped, unplug, release, log } = this.#options;
    release();
    if (isConnected() && isMapped() && unplug === undefined) {
      log("The VMM still has its registers mapped: the host waits until the VMM ends");
    }
  }
}
