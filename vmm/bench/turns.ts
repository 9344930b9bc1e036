/**
 * Several that are measured side by side, one at a time: what else a machine does changes from second to second, and those
 * that are compared are to meet the same of it.
 * @module
 */

/** Turns in a circle. */
class Turns {
  readonly #members: number[];
  readonly #waiting = new Map<number, () => void>();
  /** Whose turn it is, and whether it has begun. */
  #owner = 0;
  #hasBegun = false;

  /** A circle of so many, numbered from 0, which is the first. */
  constructor(count: number) {
    this.#members = Array.from({ length: count }, (_, member) => member);
  }

  /** Ends the turn of `member`, if it has one, and resolves when its next begins. */
  next(member: number): Promise<void> {
    const { promise, resolve } = Promise.withResolvers<void>();
    this.#waiting.set(member, resolve);
    if (member === this.#owner && this.#hasBegun) this.#pass();
    this.#begin();
    return promise;
  }

  /** `member` takes part no longer. */
  leave(member: number): void {
    if (member === this.#owner) this.#pass();
    this.#members.splice(this.#members.indexOf(member), 1);
    this.#waiting.delete(member);
    this.#begin();
  }

  #pass(): void {
    const at = this.#members.indexOf(this.#owner);
    this.#owner = this.#members[(at + 1) % this.#members.length];
    this.#hasBegun = false;
  }

  #begin(): void {
    const begin = this.#waiting.get(this.#owner);
    if (this.#hasBegun || begin === undefined) return;
    this.#waiting.delete(this.#owner);
    this.#hasBegun = true;
    begin();
  }
}

/** One that is measured: it begins in its first turn; `turn()` ends that, and waits for the next. */
export type Member<T> = (turn: () => Promise<void>, signal: AbortSignal) => Promise<T>;

/**
 * What came of all members, none of which runs while another has its turn. When one fails, or `signal` is aborted, the
 * signal that each was given is; that reason is thrown when all have ended.
 */
export async function takeTurns<T>(
  members: readonly Member<T>[],
  signal: AbortSignal,
): Promise<T[]> {
  const turns = new Turns(members.length);
  const failed = new AbortController();
  const ended = AbortSignal.any([signal, failed.signal]);
  const results: T[] = [];
  await Promise.allSettled(members.map(async (run, member) => {
    try {
      await turns.next(member);
      ended.throwIfAborted();
      results[member] = await run(() => turns.next(member), ended);
    } catch (error) {
      failed.abort(error);
    } finally {
      turns.leave(member);
    }
  }));
  ended.throwIfAborted();
  return results;
}
