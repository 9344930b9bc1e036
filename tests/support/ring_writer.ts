/**
 * A thread that writes numbered lines into a ring, and says when it is through.
 * @module
 */
import { TextRing } from "../../vmm/trace/ring.ts";

const scope = self as unknown as {
  onmessage: ((event: MessageEvent<{ memory: SharedArrayBuffer; count: number }>) => void) | null;
  postMessage(message: string): void;
};

scope.onmessage = ({ data: { memory, count } }): void => {
  const ring = new TextRing(memory);
  for (let i = 0; i < count; i++) ring.write(`${i} ${"x".repeat(i % 40)}\n`);
  ring.close();
  scope.postMessage("through");
};
