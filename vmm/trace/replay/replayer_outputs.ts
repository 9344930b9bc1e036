/**
 * What a device puts out in the course of an operation, beside what the recording has in the same places.
 * @module
 */
import { Exchange } from "../../../hw/guest_memory.ts";
import type { Output } from "../format.ts";

/** Outputs of one operation after the other. */
export class ReplayOutputs {
  /** What came out, in order. */
  got: Output[] = [];
  /** What the recording has. */
  expected: readonly Output[] = [];

  /** The next operation begins. */
  begin(expected: readonly Output[]): void {
    this.got = [];
    this.expected = expected;
  }

  /** What the recording has in the place of the next output. */
  get next(): Output | undefined {
    return this.expected[this.got.length];
  }

  /** Notes an output. */
  note(output: Output): void {
    this.got.push(output);
  }

  /** Notes an output, and answers whether there was RAM, or an endpoint, as the recording has it at the same place. */
  answer(output: Output): boolean {
    const { next } = this;
    const last = next?.at(-1);
    const ok = next?.[0] === output[0] && typeof last === "boolean" ? last : true;
    this.got.push([...output.slice(0, -1), ok] as unknown as Output);
    return ok;
  }

  /** Notes an exchange, and answers what came of it where the recording has one at the same place. */
  exchange(gpa: number, expected: string, desired: string): number {
    const { next } = this;
    const outcome = next?.[0] === "exchange" ? next[4] : Exchange.Done;
    this.got.push(["exchange", gpa, expected, desired, outcome]);
    return outcome;
  }
}
