/**
 * The thread behind `Echo`.
 * @module
 */
import { ECHO, EchoState } from "./echo.ts";

const scope = self as unknown as {
  onmessage: ((event: MessageEvent<Int32Array>) => void) | null;
  close(): void;
};

scope.onmessage = ({ data: words }): void => {
  for (;;) {
    const state = Atomics.load(words, ECHO.state);
    if (state === EchoState.Ended) return scope.close();
    if (state === EchoState.Asleep) Atomics.wait(words, ECHO.state, state);
    Atomics.store(words, ECHO.answer, Atomics.load(words, ECHO.question));
  }
};
