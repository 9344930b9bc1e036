/**
 * Patterns of causes in accesses to registers: queue indices, error flags, acknowledgements.
 * @module
 */
import { get } from "../../../hw/bits.ts";
import {
  CMDQ_CONS,
  EVENTQ_PROD,
  GERROR,
  PAGE0_ALIAS,
  QUEUE_BASE,
  REG,
} from "../../../hw/smmuv3/spec/registers.ts";
import type { Cause } from "./divergence_cause.ts";
import type { Evidence } from "./divergence_evidence.ts";
import { interruptCause } from "./divergence_interrupts.ts";
import { registerFields, wordsOf } from "./explain.ts";
import { commandName, hex, registerName } from "../inspect/naming.ts";

/** The cause of a divergence in an access or a reset. */
export function registerCause(evidence: Evidence): Cause | undefined {
  const { operation } = evidence;
  if (operation.op === "read") return readCause(evidence, operation.at, operation.bytes);
  if (operation.op !== "write") return undefined;
  return indexCause(evidence, operation.at) ?? errorCause(evidence) ?? interruptCause(evidence) ??
    countCause(evidence);
}

function readCause(evidence: Evidence, at: number, bytes: string): Cause | undefined {
  const result = evidence.outcome.result;
  if (typeof result !== "string" || result === bytes) return undefined;
  const offset = PAGE0_ALIAS[at] ?? at;
  const [expected, got] = [wordsOf(bytes), wordsOf(result)];
  const name = registerName(offset);
  const fields = registerFields(at, bytes);
  const other = registerFields(at, result);
  const wrong = Object.keys(fields).filter((field) => fields[field] !== other[field]);
  switch (offset) {
    case REG.EVENTQ_PROD.offset:
      return wrong.includes("OVFLG") ? overflow(expected) : eventCount(expected, got);
    case REG.CMDQ_CONS.offset:
      return wrong.includes("RD")
        ? index(evidence, get(expected, CMDQ_CONS.RD), get(got, CMDQ_CONS.RD))
        : { kind: "CMDQ_CONS.ERR", text: "the command queue stopped for another reason (ERR)" };
    case REG.GERROR.offset:
      return {
        kind: `GERROR.${wrong.join(",")}`,
        text: wrong.map((field) =>
          `GERROR.${field} was ${
            isActive(evidence, expected, field)
              ? "not toggled although the error occurred: it had to become active"
              : "toggled although no such error was recorded"
          }`
        ).join("; "),
      };
    case REG.CR0ACK.offset:
    case REG.IRQ_CTRLACK.offset:
      return { kind: name, text: `${name} does not acknowledge what was written: ${wrong}` };
  }
  return {
    kind: `${name}.${wrong.join(",")}`,
    text: offset < REG.CR0.offset
      ? `the device has other features than the recorded one: ${name}.${wrong.join(", ")}`
      : `${name} holds another value than the guest gave it: ${wrong.join(", ")}`,
  };
}

function isActive({ device }: Evidence, expected: Uint32Array, field: string): boolean {
  const layout = GERROR[field as keyof typeof GERROR];
  const gerrorn = Uint32Array.of(device.read32(REG.GERRORN.offset));
  return layout !== undefined && get(expected, layout) !== get(gerrorn, layout);
}

function overflow(expected: Uint32Array): Cause {
  return {
    kind: "EVENTQ_PROD.OVFLG",
    text: `an overflow of the event queue was ${
      get(expected, EVENTQ_PROD.OVFLG) === 1 ? "" : "or was not "
    }to be flagged: EVENTQ_PROD.OVFLG was not toggled as recorded when an event met a full queue`,
  };
}

function eventCount(expected: Uint32Array, got: Uint32Array): Cause {
  const [a, b] = [get(expected, EVENTQ_PROD.WR), get(got, EVENTQ_PROD.WR)];
  return {
    kind: "EVENTQ_PROD.WR",
    text: `the event queue's producer index is wrong: the recording had written up to ${
      hex(a)
    }, the device up to ${hex(b)}`,
  };
}

/** A consumer index that is not where the recording's was. */
function index({ device }: Evidence, expected: number, got: number): Cause {
  const base = Uint32Array.of(device.read32(REG.CMDQ_BASE.offset));
  const log2size = get(base, QUEUE_BASE.LOG2SIZE);
  const mask = (2 << log2size) - 1;
  const off = (got - expected) & mask;
  const signed = off > mask >> 1 ? off - mask - 1 : off;
  const isAtWrap = (expected & ((1 << log2size) - 1)) <= Math.abs(signed) ||
    Math.abs(signed) === 1 << log2size;
  const how = Math.abs(signed) === 1 << log2size
    ? "its wrap bit is wrong"
    : `it is off by ${Math.abs(signed) === 1 ? "one" : Math.abs(signed)}`;
  return {
    kind: "CMDQ_CONS",
    text: `CMDQ_CONS.RD is ${hex(got)} where the recording had ${hex(expected)}: ${how}${
      isAtWrap ? `, at the wrap of the command queue (${hex(1 << log2size)} entries)` : ""
    }`,
  };
}

/** The queue was at another place already before the guest produced more. */
function indexCause(evidence: Evidence, at: number): Cause | undefined {
  const { operation, device, before: [cons], outcome } = evidence;
  const count = operation.fetches ?? 0;
  if (at !== REG.CMDQ_PROD.offset || count === outcome.fetches.length) return undefined;
  const base = Uint32Array.of(device.read32(REG.CMDQ_BASE.offset));
  const mask = (2 << get(base, QUEUE_BASE.LOG2SIZE)) - 1;
  const prod = device.read32(REG.CMDQ_PROD.offset);
  const began = (prod - count) & mask;
  // A queue that was stopped, or that is stopped by this write, says nothing about where it began.
  const stopped = device.read32(REG.GERROR.offset) !== device.read32(REG.GERRORN.offset);
  if (stopped || (cons & mask) === began) return undefined;
  return index(evidence, began, cons & mask);
}

/** A command that was refused must make GERROR.CMDQ_ERR active, and nothing else does. */
function errorCause({ history, line, before: [, , gerror], device }: Evidence): Cause | undefined {
  const [last] = history.latest().take(1);
  const isRefused = last?.line === line && last.error !== 0;
  if (!isRefused || device.read32(REG.GERROR.offset) !== gerror) return undefined;
  return {
    kind: "GERROR.CMDQ_ERR",
    text: `${commandName(last.words)} was refused with CERROR ${last.error}, and ` +
      "GERROR.CMDQ_ERR was not toggled: the guest is not told of the error",
  };
}

function countCause({ operation, outcome }: Evidence): Cause | undefined {
  const expected = operation.fetches ?? 0;
  const got = outcome.fetches.length;
  if (expected === got) return undefined;
  return {
    kind: "commands consumed",
    text: `the device consumed ${got} commands where the recording consumed ${expected}: it ` +
      `${got < expected ? "stopped at one that is legal" : "went on past one that is not"}, or ` +
      "its queue was at another place",
  };
}
