/**
 * Structures of the manual as named fields, for people: registers, commands, event records, STEs, CDs, descriptors.
 * @module
 */
import { type AddressField, type Field, get, getAddress } from "../../../hw/bits.ts";
import {
  ATC_INV,
  CFGI,
  CMD,
  PRI_RESP,
  RESUME,
  SYNC,
  TLBI,
} from "../../../hw/smmuv3/spec/commands.ts";
import { DESCRIPTOR, OUTPUT_HIGH_MASK } from "../../../hw/smmuv3/spec/descriptors.ts";
import { EVENT, EVENT_SIZE, RECORD } from "../../../hw/smmuv3/spec/events.ts";
import * as registers from "../../../hw/smmuv3/spec/registers.ts";
import { Config, STE } from "../../../hw/smmuv3/spec/ste.ts";
import { type Asked, fromHex, type Operation } from "../format.ts";
import { commandName, hex, hexQuad, pciAddress, registerName } from "../inspect/naming.ts";
import { answerText } from "./answer_text.ts";

/** Fields by the manual's names, values as hexadecimal. */
export type Fields = Readonly<Record<string, string>>;

/** A structure by the manual's names of its fields. */
export type Layout = Readonly<Record<string, Field | AddressField>>;

const { REG, PAGE0_ALIAS } = registers;

const REGISTER_LAYOUTS: Readonly<Record<string, Layout>> = {
  ...(registers as unknown as Readonly<Record<string, Layout>>),
  CR0ACK: registers.CR0,
  IRQ_CTRLACK: registers.IRQ_CTRL,
  GERRORN: registers.GERROR,
  GERROR_IRQ_CFG0: registers.IRQ_CFG0,
  EVENTQ_IRQ_CFG0: registers.IRQ_CFG0,
  CMDQ_BASE: registers.QUEUE_BASE,
  EVENTQ_BASE: registers.QUEUE_BASE,
};

/** The fields of a structure; those that are zero too, unless `isTerse`. */
export function decode(layout: Layout, words: Uint32Array, isTerse: boolean = false): Fields {
  const fields: Record<string, string> = {};
  for (const [name, field] of Object.entries(layout)) {
    if (field.word >= words.length) continue;
    const value = "lowMask" in field ? getAddress(words, field) : get(words, field);
    if (isTerse && value === 0) continue;
    fields[name] = hex(value) + nameOf(layout, name, value);
  }
  return fields;
}

/** What a value of a field is called, in parentheses. */
function nameOf(layout: Layout, field: string, value: number): string {
  if (layout === STE && field === "Config") {
    const name = value < Config.Bypass ? "Abort" : keyOf(Config, value);
    return name === undefined ? "" : ` (${name})`;
  }
  if (layout === RECORD && field === "ID") return ` (${eventNameOf(value)})`;
  return "";
}

function keyOf(names: Readonly<Record<string, number>>, value: number): string | undefined {
  return Object.keys(names).find((name) => names[name] === value);
}

/** The manual's name of an event number. */
export function eventNameOf(number: number): string {
  return keyOf(EVENT, number) ?? `event ${hex(number)}`;
}

/** Bytes in memory order, as hexadecimal, as 32-bit words. */
export function wordsOf(bytes: string): Uint32Array {
  const padded = bytes.padEnd(Math.ceil(bytes.length / 8) * 8, "0");
  return new Uint32Array(fromHex(padded).slice().buffer);
}

/** The fields of an event record, given as hexadecimal bytes. */
export function eventFields(bytes: string): Fields {
  const { InputAddrLow, InputAddrHigh, FetchAddrLow, FetchAddrHigh, ...rest } = RECORD;
  const words = wordsOf(bytes);
  return {
    ...decode(rest, words),
    ID: hex(get(words, RECORD.ID)) + nameOf(RECORD, "ID", get(words, RECORD.ID)),
    InputAddr: hexQuad(get(words, InputAddrLow), get(words, InputAddrHigh)),
    FetchAddr: hexQuad(get(words, FetchAddrLow), get(words, FetchAddrHigh)),
  };
}

/** Whether bytes of a store are as long as an event record. */
export function isEventRecord(bytes: string): boolean {
  return bytes.length === EVENT_SIZE * 2;
}

/** The fields of what was read from or written to a register, the register's name before each where there are two. */
export function registerFields(offset: number, bytes: string): Fields {
  const words = wordsOf(bytes);
  const fields: Record<string, string> = {};
  for (let i = 0; i < words.length; i++) {
    const at = PAGE0_ALIAS[offset + i * 4] ?? offset + i * 4;
    const name = registerName(at);
    const isHigh = name.endsWith("[63:32]");
    const isWide = Object.values(REG).some((r) => r.offset === at && r.writable.length === 2);
    const span = isWide && i + 1 < words.length ? 2 : 1;
    const view = isHigh ? Uint32Array.of(0, words[i]) : words.subarray(i, i + span);
    const layout = REGISTER_LAYOUTS[name.replace("[63:32]", "")] ?? {};
    const prefix = words.length > span ? `${name}.` : "";
    const decoded = Object.entries(decode(halfOf(layout, isHigh, span), view));
    for (const [field, value] of decoded) fields[prefix + field] = value;
    if (decoded.length === 0) fields[prefix + "value"] = hexQuad(view[0], view[1] ?? 0);
    i += span - 1;
  }
  return fields;
}

/** The fields of a layout that lie in the word that was accessed; an address may be cut. */
function halfOf(layout: Layout, isHigh: boolean, span: number): Layout {
  if (span === 2) return layout;
  return Object.fromEntries(
    Object.entries(layout).filter(([, field]) =>
      "lowMask" in field || field.word === Number(isHigh)
    ).map(([name, field]) =>
      "lowMask" in field && !isHigh ? [name, { ...field, highMask: 0 }] : [name, field]
    ),
  );
}

const LAYOUTS: Readonly<Record<string, Layout>> = {
  CMD_SYNC: SYNC,
  CMD_ATC_INV: ATC_INV,
  CMD_PRI_RESP: PRI_RESP,
  CMD_RESUME: RESUME,
  CMD_STALL_TERM: RESUME,
};

/** The fields of a command that are not zero. */
export function commandFieldsOf(words: Uint32Array): Fields {
  const name = commandName(words);
  const layout: Layout = LAYOUTS[name] ?? (name.startsWith("CMD_TLBI") ? TLBI : CFGI);
  const fields: Record<string, string> = { ...decode(layout, words, true) };
  if (get(words, CMD.SSec) === 1) fields["SSec"] = "0x1";
  if (layout !== TLBI) return fields;
  return /_VAA?$/.test(name)
    ? { Address: hexQuad(words[2] & ~0xfff, words[3]), ...fields }
    : fields;
}

/** The fields of a descriptor at a level of the walk. */
export function descriptorFields(words: Uint32Array, level: number): Fields {
  if (get(words, DESCRIPTOR.Valid) === 0) return { Valid: "0x0" };
  const isTable = level < 3 && get(words, DESCRIPTOR.Table) === 1;
  const { PXNTable, UXNTable, APTable, NSTable, AF, AP, nG, ...leaf } = DESCRIPTOR;
  const layout = isTable ? { Table: leaf.Table, PXNTable, UXNTable, APTable, NSTable } : leaf;
  const address = hexQuad(words[0] & ~0xfff, words[1] & OUTPUT_HIGH_MASK);
  // What decides about an access is said also when it is zero.
  const decisive = isTable ? {} : decode({ AF, AP, nG }, words);
  return { address, ...decisive, ...decode(layout, words, true) };
}

/** Fields in one line. */
export function fieldLine(fields: Fields): string {
  return Object.entries(fields).map(([name, value]) => `${name}=${value}`).join(" ");
}

/** An operation in words. */
export function operationText(operation: Operation): string {
  switch (operation.op) {
    case "reset":
      return "reset of the device";
    case "read":
      return `read of ${registerName(operation.at)} (${hex(operation.at)}): ${
        valueText(operation.bytes)
      }`;
    case "write":
      return `write of ${valueText(operation.bytes)} to ${registerName(operation.at)} (${
        hex(operation.at)
      }): ${fieldLine(registerFields(operation.at, operation.bytes))}`;
    case "start":
    case "ram-map":
    case "ram-unmap":
    case "hardware-event":
    case "stream-move":
      return `operation ${operation.op}`;
    default:
      return "stream" in operation
        ? askedText(operation)
        : `operation ${(operation as { op: string }).op}`;
  }
}

function valueText(bytes: string): string {
  const words = wordsOf(bytes);
  return hexQuad(words[0] ?? 0, words[1] ?? 0);
}

/** A transaction that an endpoint made and had the end of at once. */
export type DmaOperation = Extract<Operation, { readonly stream: number; readonly ok: boolean }>;

/** What an endpoint asked for. */
export type AskedOperation = Extract<Operation, { readonly stream: number }>;

/** Whether an operation is a transaction by an address that is to be translated. */
export function isDma(operation: Operation): operation is DmaOperation {
  return operation.op.startsWith("dma-");
}

/** Whether what an operation does depends on the way from its stream to its address. */
export function isTranslated(operation: Operation): operation is AskedOperation {
  return isDma(operation) || operation.op === "translation-request" ||
    operation.op.startsWith("stallable-");
}

function askedText(operation: Asked): string {
  const { stream, substream, iova } = operation;
  const address = pciAddress(stream);
  return `${whatText(operation)} ${iova} by StreamID ${hex(stream)}${
    address === undefined ? "" : ` (${address})`
  }${substream === undefined ? "" : `, SubstreamID ${hex(substream)}`}`;
}

function whatText(asked: Asked): string {
  const way = asked.op.endsWith("write") ? "write" : "read";
  switch (asked.op) {
    case "dma-message":
      return `DMA message ${hex(asked.data)} at IOVA`;
    case "dma-read":
    case "dma-write":
      return `DMA ${way} of ${asked.size} bytes at IOVA`;
    case "translated-message":
      return `DMA message ${hex(asked.data)} at translated address`;
    case "translated-read":
    case "translated-write":
      return `DMA ${way} of ${asked.size} bytes at translated address`;
    case "stallable-read":
    case "stallable-write":
      return `DMA ${way} of ${asked.size} bytes that can wait (number ${asked.transaction}) at IOVA`;
    case "translation-request":
      return `translation request (r${asked.asks ?? ""}) of IOVA`;
    case "page-request":
      return `page request (${asked.asks ?? "nothing"}, group ${asked.group}${
        asked.last ? ", last" : ""
      }) of IOVA`;
  }
}

/** What an endpoint asked for while it was told something. */
export function askedFields(asked: Asked): Fields {
  return {
    what: askedText(asked),
    ...("ok" in asked ? { result: asked.ok ? "done" : "aborted" } : {}),
    ...(asked.op === "translation-request" ? { result: answerText(asked) } : {}),
  };
}
