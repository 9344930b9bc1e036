/**
 * What a device put out, by names, and held against what was recorded.
 * @module
 */
import { getAddress } from "../../../hw/bits.ts";
import { Exchange } from "../../../hw/guest_memory.ts";
import { OP, SYNC } from "../../../hw/smmuv3/spec/commands.ts";
import { IRQ_CFG0, REG } from "../../../hw/smmuv3/spec/registers.ts";
import type { Evidence } from "./divergence_evidence.ts";
import { askedFields, eventFields, type Fields, isEventRecord } from "./explain.ts";
import type { Output } from "../format.ts";
import { hex } from "../inspect/naming.ts";

/** An output for people. */
export interface NamedOutput {
  /** Such as `event record` or `CMD_SYNC message`. */
  readonly name: string;
  readonly fields: Fields;
}

/** What an output is. */
export function describeOutput(evidence: Evidence, output: Output): NamedOutput {
  switch (output[0]) {
    case "store": {
      const [, gpa, bytes, ok] = output;
      if (!isEventRecord(bytes)) return { name: "store", fields: place(gpa, { bytes }, ok) };
      return { name: "event record", fields: { ...eventFields(bytes), ...place(gpa, {}, ok) } };
    }
    case "store32":
    case "msi": {
      const [, gpa, value, ok] = output;
      const name = `${sourceOf(evidence, gpa)} message`;
      return { name, fields: place(gpa, { data: hex(value) }, ok) };
    }
    case "exchange": {
      const [, gpa, expected, desired, outcome] = output;
      const name = "update of a descriptor";
      return { name, fields: place(gpa, { expected, desired }, outcome !== Exchange.Refused) };
    }
    case "irq":
      return { name: `${output[1]} wire`, fields: { pulse: "1" } };
    case "read":
    case "write": {
      const [kind, gpa, sizeBytes, crc, ok] = output;
      const isRecorded = "payload" in evidence.operation;
      const fields = { bytes: hex(sizeBytes), ...(isRecorded ? { checksum: hex(crc) } : {}) };
      return { name: `payload ${kind}`, fields: place(gpa, fields, ok) };
    }
    case "invalidate": {
      const [, stream, substream, every, iova, log2pages, ok] = output;
      const fields = {
        ...endpoint(stream, substream),
        ...(every ? { Global: "0x1" } : {}),
        Address: iova,
        Size: hex(log2pages),
        answered: ok ? "yes" : "no",
      };
      return { name: "invalidation of an ATC", fields };
    }
    case "respond": {
      const [, stream, substream, group, response] = output;
      const fields = { ...endpoint(stream, substream), PRGIndex: hex(group), Resp: hex(response) };
      return { name: "answer to a page request", fields };
    }
    case "end": {
      const [, transaction, ok] = output;
      return { name: `end of transaction ${transaction}`, fields: { done: ok ? "yes" : "no" } };
    }
    case "asked":
      return { name: "what an endpoint asked meanwhile", fields: askedFields(output[1]) };
  }
}

function endpoint(stream: number, substream: number): Fields {
  return {
    StreamID: hex(stream),
    ...(substream < 0 ? {} : { SubstreamID: hex(substream) }),
  };
}

function place(gpa: number, fields: Fields, ok: boolean): Fields {
  return { address: hex(gpa), ...fields, RAM: ok ? "yes" : "no" };
}

/** Whose messages go to an address: `EVENTQ`, `GERROR`, `CMD_SYNC`, or of an endpoint. */
export function sourceOf({ device, history, line }: Evidence, gpa: number): string {
  const doorbell = (offset: number): number =>
    getAddress(
      Uint32Array.of(device.read32(offset), device.read32(offset + 4)),
      { ...IRQ_CFG0.ADDR, word: 0 },
    );
  for (const command of history.latest()) {
    if (command.line !== line) break;
    const { words } = command;
    const isSync = (words[0] & 0xff) === OP.CMD_SYNC;
    if (isSync && getAddress(words, SYNC.MSIAddress) === gpa) return "CMD_SYNC";
  }
  if (gpa !== 0 && doorbell(REG.EVENTQ_IRQ_CFG0.offset) === gpa) return "EVENTQ";
  if (gpa !== 0 && doorbell(REG.GERROR_IRQ_CFG0.offset) === gpa) return "GERROR";
  return "endpoint";
}

/** Pairs what was recorded with what came; leaves out what is the same, and one side empty where something is missing. */
export function alignOutputs(
  expected: readonly Output[],
  got: readonly Output[],
): [expected: Output | undefined, got: Output | undefined][] {
  const pairs: [Output | undefined, Output | undefined][] = [];
  let i = 0;
  let j = 0;
  while (i < expected.length || j < got.length) {
    const [a, b] = [expected[i], got[j]];
    if (a !== undefined && b !== undefined && isSame(a, b)) {
      i++;
      j++;
    } else if (
      a === undefined || (b !== undefined && has(expected, i + 1, b) === false &&
        has(got, j + 1, a))
    ) {
      pairs.push([undefined, b]);
      j++;
    } else if (b === undefined || has(expected, i + 1, b)) {
      pairs.push([a, undefined]);
      i++;
    } else if (a[0] === b[0]) {
      pairs.push([a, b]);
      i++;
      j++;
    } else {
      pairs.push([a, undefined]);
      i++;
    }
  }
  return pairs;
}

function has(outputs: readonly Output[], from: number, output: Output): boolean {
  return outputs.slice(from).some((other) => isSame(other, output));
}

function isSame(a: Output, b: Output): boolean {
  const isPayload = a[0] === "read" || a[0] === "write";
  return a.length === b.length && a.every((value, i) => value === b[i] || (isPayload && i === 3));
}
