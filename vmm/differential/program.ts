/**
 * A program that both sides are given: what software and endpoints do, one step after the other.
 * @module
 */
import { COMMANDS } from "../../hw/smmuv3/queues/commands.ts";
import { REG } from "../../hw/smmuv3/spec/registers.ts";

/** One thing that software or an endpoint does. */
export type Step =
  /** Software stores a quad. */
  | {
    readonly kind: "store";
    readonly gpa: number;
    readonly value: bigint;
    /** What is special about it, such as `STE.S2R`. */
    readonly note?: string | undefined;
  }
  /** Software writes a register. */
  | {
    readonly kind: "register";
    readonly offset: number;
    readonly value: bigint;
    readonly bytes: 4 | 8;
  }
  /** Software reads a register of 32 bits. */
  | { readonly kind: "read"; readonly offset: number }
  /** Software queues commands and waits; one that is refused is replaced by CMD_SYNC, and it goes on. */
  | { readonly kind: "commands"; readonly commands: readonly (readonly [bigint, bigint])[] }
  /**
   * An endpoint writes its pattern, and compares what is at `gpa` then. It goes `through` descriptors at these addresses, if
   * that is known.
   */
  | {
    readonly kind: "write";
    readonly stream: number;
    readonly iova: bigint;
    readonly bytes: number;
    readonly gpa: number;
    readonly through?: readonly number[] | undefined;
  }
  /** An endpoint reads into part `slot` of its memory. */
  | {
    readonly kind: "fetch";
    readonly stream: number;
    readonly iova: bigint;
    readonly bytes: number;
    readonly slot: number;
    readonly through?: readonly number[] | undefined;
  }
  /** Software takes what is in the event queue. */
  | { readonly kind: "drain" };

/** A program, and what is worth to know of it. */
export interface Program {
  readonly seed: number;
  readonly steps: readonly Step[];
}

const REGISTER_NAMES = new Map(
  Object.entries(REG).flatMap(([name, { offset, writable }]) =>
    writable.map((_, i) => [offset + 4 * i, i === 0 ? name : `${name}[63:32]`] as const)
  ),
);

/** The manual's name of a register, or its offset. */
export function registerName(offset: number): string {
  return REGISTER_NAMES.get(offset) ?? hex(offset);
}

/** The step in a line. */
export function stepText(step: Step): string {
  switch (step.kind) {
    case "store":
      return `store ${hex(step.value)} at ${hex(step.gpa)}${step.note ? ` (${step.note})` : ""}`;
    case "register":
      return `${registerName(step.offset)} := ${hex(step.value)}${
        step.bytes === 8 ? " (64 bits)" : ""
      }`;
    case "read":
      return `read ${registerName(step.offset)}`;
    case "commands":
      return step.commands.map(commandText).join("; ");
    case "write":
      return `stream ${hex(step.stream)} writes ${step.bytes} bytes at ${hex(step.iova)}`;
    case "fetch":
      return `stream ${hex(step.stream)} reads ${step.bytes} bytes at ${hex(step.iova)}`;
    case "drain":
      return "take all events";
  }
}

function commandText([lo, hi]: readonly [bigint, bigint]): string {
  const name = COMMANDS[Number(lo & 0xffn)]?.name ?? "no command";
  return `${name} ${hex(lo)} ${hex(hi)}`;
}

/** A number as people write addresses. */
export function hex(value: number | bigint): string {
  return `0x${value.toString(16)}`;
}
