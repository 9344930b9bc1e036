/**
 * The least that a question and an answer between two threads can be: a word each, and both spin.
 * @module
 */

/** Words of the memory between the two: the question, the answer, and one of `EchoState`. */
export const ECHO = { question: 0, answer: 1, state: 2, count: 3 } as const;

/** Whether questions are to be expected. */
export const EchoState = { Asleep: 0, Awake: 1, Ended: 2 } as const;

/** Another thread that answers. */
export class Echo implements Disposable {
  readonly #words = new Int32Array(new SharedArrayBuffer(4 * ECHO.count));
  readonly #worker: Worker;

  /** It sleeps at first. */
  constructor() {
    this.#worker = new Worker(new URL("./echo_worker.ts", import.meta.url), { type: "module" });
    this.#worker.postMessage(this.#words);
  }

  /** Keeps it awake, and a processor busy, or lets it sleep. */
  keepAwake(isAwake: boolean): void {
    Atomics.store(this.#words, ECHO.state, isAwake ? EchoState.Awake : EchoState.Asleep);
    Atomics.notify(this.#words, ECHO.state);
  }

  /** Asks, and returns how long the answer took, in microseconds. */
  ask(): number {
    const question = Atomics.load(this.#words, ECHO.question) + 1 | 0;
    const began = performance.now();
    Atomics.store(this.#words, ECHO.question, question);
    while (Atomics.load(this.#words, ECHO.answer) !== question);
    return (performance.now() - began) * 1000;
  }

  /** Ends the thread. */
  [Symbol.dispose](): void {
    Atomics.store(this.#words, ECHO.state, EchoState.Ended);
    Atomics.notify(this.#words, ECHO.state);
    this.#worker.terminate();
  }
}
