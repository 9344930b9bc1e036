/**
 * A subject inside QEMU: its registers and those of its functions are at physical addresses.
 * @module
 */
import { EnvironmentError } from "../environment_error.ts";
import type { Qtest } from "../qemu/qtest.ts";
import { copyWrites, type FunctionWrite, RESULT_OFFSET, testWrites } from "./function_programs.ts";
import type { Operation, Subject } from "./subject.ts";
import { LOOKS, UnseenWrites } from "./unseen_writes.ts";

/** A device that nobody stops has looked by then. */
const LOOK_MS = 10_000;

/** Where a function is. */
export interface FunctionPlace {
  /** Physical address of its BAR. */
  readonly bar: number;
  /** Physical address of its configuration space. */
  readonly config: number;
}

/** Where a subject is. */
export interface BusSubjectOptions {
  readonly name: string;
  readonly qtest: Qtest;
  readonly window: Uint8Array<ArrayBuffer>;
  /** Physical address of the SMMU's registers. */
  readonly smmu: number;
  /** Functions by StreamID. */
  readonly functions: ReadonlyMap<number, FunctionPlace>;
  /** How long a copy takes of QEMU's own time, in nanoseconds; 0 when it is done at once. */
  readonly clockStepNs: number;
  /** Writes are on their way when QEMU says that they are done; a read waits for them. */
  readonly isPosted: boolean;
  /** The SMMU's registers are memory: counts how often it has looked at them. */
  readonly looks?: Int32Array<SharedArrayBuffer> | undefined;
  readonly reset: () => Promise<void>;
}

/** The subject. */
export class BusSubject implements Subject {
  readonly name: string;
  readonly window: Uint8Array<ArrayBuffer>;
  readonly #options: BusSubjectOptions;
  readonly #unseen = new UnseenWrites();

  /** A subject where `options` say. */
  constructor(options: BusSubjectOptions) {
    this.name = options.name;
    this.window = options.window;
    this.#options = options;
  }

  async reset(): Promise<void> {
    await this.#options.reset();
    this.#unseen.clear();
    this.window.fill(0);
  }

  async perform(operations: readonly Operation[]): Promise<number[]> {
    const { looks } = this.#options;
    if (looks === undefined) return await this.#batch(operations);
    const results: number[] = [];
    for (const operation of operations) {
      if (operation.kind === "read") {
        await this.#look(looks, this.#unseen.looksBefore(operation.offset));
      }
      results.push(...await this.#batch([operation]));
      if (operation.kind !== "write") continue;
      this.#unseen.add(operation.offset, operation.bytes);
      await this.#look(looks, LOOKS);
    }
    return results;
  }

  /** Waits until the device has looked so often. */
  async #look(looks: Int32Array<SharedArrayBuffer>, count: number): Promise<void> {
    const since = Atomics.load(looks, 0);
    const deadline = performance.now() + LOOK_MS;
    for (let now = since; (now - since | 0) < count; now = Atomics.load(looks, 0)) {
      const { value } = Atomics.waitAsync(looks, 0, now, LOOK_MS);
      if (await value === "timed-out" || performance.now() > deadline) {
        throw new EnvironmentError(`The SMMU has not looked at its registers for ${LOOK_MS} ms`);
      }
    }
  }

  async #batch(operations: readonly Operation[]): Promise<number[]> {
    const { qtest, isPosted } = this.#options;
    const lines: string[] = [];
    /** For each operation the line whose answer is its result, or -1. */
    const results: number[] = [];
    let pending = false;
    for (const operation of operations) {
      const isOfSmmu = operation.kind === "read" || operation.kind === "write";
      if (pending && !isOfSmmu) pending = this.#wait(lines);
      results.push(this.#lines(operation, lines));
      pending = isPosted && (operation.kind === "write" || pending);
    }
    if (pending) this.#wait(lines);
    const answers = await qtest.batch(lines);
    return results.map((at) => at < 0 ? 0 : Number(BigInt(answers[at]) & 0xffff_ffffn));
  }

  /** A read of the SMMU is answered after what was written before. */
  #wait(lines: string[]): false {
    lines.push(`readl ${hex(this.#options.smmu)}`);
    return false;
  }

  #lines(operation: Operation, lines: string[]): number {
    const { smmu, clockStepNs, isPosted } = this.#options;
    switch (operation.kind) {
      case "read":
        return lines.push(`readl ${hex(smmu + operation.offset)}`) - 1;
      case "write":
        lines.push(writeLine(smmu, operation));
        return -1;
      case "dma-write": {
        const { bar } = this.#place(operation.stream);
        lines.push(...testWrites(operation).map((write) => writeLine(bar, write)));
        lines.push(`readl ${hex(bar)}`);
        return lines.push(`readl ${hex(bar + RESULT_OFFSET)}`) - 1;
      }
      case "poke":
        lines.push(`writel ${hex(this.#address(operation))} ${hex(operation.value >>> 0)}`);
        return -1;
      case "peek":
        return lines.push(`readl ${hex(this.#address(operation))}`) - 1;
      default: {
        const { bar } = this.#place(operation.stream);
        lines.push(...copyWrites(operation).map((write) => writeLine(bar, write)));
        if (clockStepNs > 0) lines.push(`clock_step ${clockStepNs}`);
        if (isPosted) lines.push(`readl ${hex(bar + 0x98)}`);
        return -1;
      }
    }
  }

  #address({ stream, space, offset }: Extract<Operation, { kind: "poke" | "peek" }>): number {
    const { bar, config } = this.#place(stream);
    return (space === "config" ? config : bar) + offset;
  }

  #place(stream: number): FunctionPlace {
    return this.#options.functions.get(stream)!;
  }
}

function writeLine(base: number, { offset, value, bytes }: FunctionWrite): string {
  return `${bytes === 8 ? "writeq" : "writel"} ${hex(base + offset)} ${hex(value)}`;
}

function hex(value: number | bigint): string {
  return `0x${value.toString(16)}`;
}
