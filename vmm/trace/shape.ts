/**
 * What lines of a trace must look like: types and ranges of all fields, so that nobody behind has to ask.
 * @module
 */
import { CompletionStatus } from "../../hw/ats_port.ts";
import { DEFAULT_FEATURES, type Features, features } from "../../hw/smmuv3/features.ts";
import { Exchange } from "../../hw/guest_memory.ts";
import { type TraceHeader, VERSION } from "./format.ts";

/** An object as JSON gives it. */
export type Fields = Readonly<Record<string, unknown>>;

/** The largest DMA that is replayed. */
const MOST_DMA_BYTES = 2 ** 26;
const MOST_LOG2_KNOWN = 22;
const MOST_LOG2_TLB_SETS = 20;
/** SMMU_IDR0 to IDR5, IIDR, AIDR. */
const IDR_COUNT = 8;
const MOST_STREAMS = 4096;
/** An event record has 32 bytes. */
const EVENT_DIGITS = 64;
const MOST_SUBSTREAM = 0xf_ffff;
/** PRGIndex has 9 bits, a completion status 3. */
const MOST_GROUP = 511;
const MOST_STATUS = 7;

/** What recordings before version 1.2 do not name, and had. */
const UNNAMED: Partial<Features> = { stage1: true, granule4K: true, stallModel: 1 };

const HEX = /^[0-9a-f]+$/;
const BASE64 = /^[A-Za-z0-9+/]*={0,2}$/;
const LETTERS = /^r?w?x?p?$/;
const IOVA = /^0x[0-9a-f]{1,16}$/;

function isCount(value: unknown, most: number = Number.MAX_SAFE_INTEGER): boolean {
  return typeof value === "number" && value >= 0 && value <= most && Number.isInteger(value);
}

function isText(value: unknown, pattern: RegExp): boolean {
  return typeof value === "string" && pattern.test(value);
}

/** Hexadecimal digits, a multiple of so many. */
function isHex(value: unknown, digits: number): boolean {
  return typeof value === "string" && value.length % digits === 0 && HEX.test(value);
}

/** The name of the first field that is wrong. */
type Checker = (operation: Fields) => string | undefined;

const access: Checker = ({ at, bytes }) =>
  !isCount(at) ? "at" : !isHex(bytes, 2) ? "bytes" : undefined;

const asking: Checker = ({ stream, substream, iova }) => {
  if (!isCount(stream, 0xffff_ffff)) return "stream";
  if (substream !== undefined && !isCount(substream, MOST_SUBSTREAM)) return "substream";
  return isText(iova, IOVA) ? undefined : "iova";
};

const requester: Checker = (operation) =>
  asking(operation) ?? (typeof operation["ok"] === "boolean" ? undefined : "ok");

const transfer: Checker = (operation) => {
  const { size, payload } = operation;
  if (!isCount(size, MOST_DMA_BYTES)) return "size";
  if (payload !== undefined) {
    const letters = Math.ceil(size as number / 3) * 4;
    if (!isText(payload, BASE64) || (payload as string).length !== letters) return "payload";
  }
  return requester(operation);
};

const message: Checker = (operation) =>
  isCount(operation["data"], 0xffff_ffff) ? requester(operation) : "data";

const stallable: Checker = (operation) => {
  if (!isCount(operation["size"], MOST_DMA_BYTES)) return "size";
  return isCount(operation["transaction"]) ? asking(operation) : "transaction";
};

const translation: Checker = (operation) => {
  const { asks, status, page, log2size, grants } = operation;
  if (asks !== undefined && !isText(asks, LETTERS)) return "asks";
  if (!isCount(status, MOST_STATUS)) return "status";
  if (grants !== undefined && !isText(grants, LETTERS)) return "grants";
  if (status === CompletionStatus.Success && !isCount(page)) return "page";
  if (status === CompletionStatus.Success && !isCount(log2size, 64)) return "log2size";
  return asking(operation);
};

const pageRequest: Checker = (operation) => {
  const { asks, group, last } = operation;
  if (asks !== undefined && !isText(asks, LETTERS)) return "asks";
  if (!isCount(group, MOST_GROUP)) return "group";
  return typeof last === "boolean" ? asking(operation) : "last";
};

/** What endpoints ask for, by name. */
const ASKED: Readonly<Record<string, Checker>> = {
  "dma-read": transfer,
  "dma-write": transfer,
  "dma-message": message,
  "translated-read": transfer,
  "translated-write": transfer,
  "translated-message": message,
  "stallable-read": stallable,
  "stallable-write": stallable,
  "translation-request": translation,
  "page-request": pageRequest,
};

/** The operations, by name. */
const OPERATIONS: Readonly<Record<string, Checker>> = {
  read: access,
  write: access,
  reset: () => undefined,
  start: () => undefined,
  "ram-map": ({ gpa, size, offset, file, writable, ok }) => {
    const wrong = Object.entries({ gpa, size, offset, file }).find(([, value]) => !isCount(value));
    if (wrong !== undefined) return wrong[0];
    if (typeof writable !== "boolean") return "writable";
    return typeof ok === "boolean" ? undefined : "ok";
  },
  "ram-unmap": ({ gpa, size }) => !isCount(gpa) ? "gpa" : isCount(size) ? undefined : "size",
  "hardware-event": ({ bytes }) =>
    isHex(bytes, 2) && (bytes as string).length === EVENT_DIGITS ? undefined : "bytes",
  "stream-move": ({ moves }) => Array.isArray(moves) && moves.every(isMove) ? undefined : "moves",
  "stream-gone": ({ gone }) => isCount(gone, 0xffff_ffff) ? undefined : "gone",
  ...ASKED,
};

/** The outputs, by name: whether what follows the name is right. */
const OUTPUTS: Readonly<Record<string, (output: readonly unknown[]) => boolean>> = {
  store: ([, gpa, bytes, ok]) => isCount(gpa) && isHex(bytes, 16) && typeof ok === "boolean",
  store32: ([, gpa, value, ok]) =>
    isCount(gpa) && isCount(value, 0xffff_ffff) && typeof ok === "boolean",
  exchange: ([, gpa, expected, desired, outcome]) =>
    isCount(gpa) && isQuad(expected) && isQuad(desired) && isCount(outcome, Exchange.Refused),
  read: isPayload,
  write: isPayload,
  irq: ([, line]) => typeof line === "string",
  msi: ([, gpa, data, ok]) => isCount(gpa) && isCount(data, 0xffff_ffff) && typeof ok === "boolean",
  invalidate: ([, stream, substream, every, iova, log2pages, ok]) =>
    isRequester(stream, substream) && isText(iova, IOVA) && isCount(log2pages, 64) &&
    typeof every === "boolean" && typeof ok === "boolean",
  respond: ([, stream, substream, group, response]) =>
    isRequester(stream, substream) && isCount(group, MOST_GROUP) && isCount(response, 3),
  end: ([, transaction, ok]) => isCount(transaction) && typeof ok === "boolean",
  asked: ([, asked]) => isAsked(asked),
};

/** A StreamID, and a SubstreamID or -1. */
function isRequester(stream: unknown, substream: unknown): boolean {
  return isCount(stream, 0xffff_ffff) && (substream === -1 || isCount(substream, MOST_SUBSTREAM));
}

function isAsked(asked: unknown): boolean {
  if (typeof asked !== "object" || asked === null) return false;
  const { op } = asked as Fields;
  return typeof op === "string" && Object.hasOwn(ASKED, op) &&
    ASKED[op](asked as Fields) === undefined;
}

function isMove(move: unknown): boolean {
  return Array.isArray(move) && move.length === 2 && move.every((id) => isCount(id, 0xffff_ffff));
}

function isQuad(value: unknown): boolean {
  return isHex(value, 16) && (value as string).length === 16;
}

function isPayload([, gpa, sizeBytes, crc, ok]: readonly unknown[]): boolean {
  return isCount(gpa) && isCount(sizeBytes) && isCount(crc, 0xffff_ffff) && typeof ok === "boolean";
}

function isChange(change: unknown): boolean {
  return Array.isArray(change) && isCount(change[0]) && isCount(change[1]) &&
    (change[2] === null || isHex(change[2], 16));
}

/**
 * What is wrong with the fields of an operation, in words; undefined when nothing is. An operation of another name is right
 * only in a trace of a newer minor version.
 */
export function wrongIn(operation: Fields, isNewer: boolean): string | undefined {
  const { op, t, mem, fetches, path, out, calls } = operation;
  if (typeof op !== "string" || !Object.hasOwn(OPERATIONS, op)) {
    return isNewer && typeof op === "string" ? undefined : unknown("operation", op);
  }
  const wrong = OPERATIONS[op](operation);
  if (wrong !== undefined) return not(wrong, operation[wrong]);
  if (typeof t !== "number" || !(t >= 0)) return not("t", t);
  if (fetches !== undefined && !isCount(fetches)) return not("fetches", fetches);
  if (path !== undefined && !isCount(path, 0xffff_ffff)) return not("path", path);
  if (mem !== undefined && !(Array.isArray(mem) && mem.every(isChange))) return not("mem", mem);
  if (calls !== undefined && !(Array.isArray(calls) && calls.every(isCall))) {
    return not("calls", calls);
  }
  return out === undefined ? undefined : wrongOutput(out);
}

function isCall(call: unknown): boolean {
  if (!Array.isArray(call) || call.length !== 4) return false;
  const [name, args, errno] = call;
  return typeof name === "string" && typeof args === "object" && args !== null && isCount(errno);
}

function isIommufd(value: unknown): boolean {
  if (typeof value !== "object" || value === null) return false;
  const { idrs, streams } = value as Fields;
  const areWords = (list: unknown): boolean =>
    Array.isArray(list) && list.every((word) => isCount(word, 0xffff_ffff));
  return areWords(idrs) && areWords(streams) && (idrs as unknown[]).length === IDR_COUNT &&
    (streams as unknown[]).length > 0 && (streams as unknown[]).length <= MOST_STREAMS;
}

function wrongOutput(out: unknown): string | undefined {
  if (!Array.isArray(out)) return not("out", out);
  for (const output of out) {
    const name = Array.isArray(output) ? output[0] : undefined;
    if (typeof name !== "string" || !Object.hasOwn(OUTPUTS, name)) return unknown("output", name);
    if (!OUTPUTS[name](output)) return not("out", output);
  }
  return undefined;
}

function unknown(what: string, name: unknown): string {
  const version = `${VERSION.major}.${VERSION.minor}`;
  return `it has the ${what} ${
    show(name)
  }, which this reader, of version ${version}, does not know`;
}

function not(field: string, value: unknown): string {
  return value === undefined ? `it has no "${field}"` : `"${field}" cannot be ${show(value)}`;
}

function show(value: unknown): string {
  const text = JSON.stringify(value) ?? "nothing";
  return text.length <= 60 ? text : `${text.slice(0, 60)}…`;
}

/** What is wrong with a header, or the header with its features completed. */
export function headerOf(
  fields: Fields,
): { readonly header: TraceHeader } | { readonly wrong: string } {
  const { format, version, log2tlbSets, log2known, guest, began } = fields;
  if (format !== "vsmmu-trace") return { wrong: "it does not begin like a trace of vsmmu" };
  const [, major] = /^(\d+)\.\d+$/.exec(String(version)) ?? [];
  if (major === undefined) return { wrong: not("version", version) };
  if (Number(major) !== VERSION.major) {
    const newer = Number(major) > VERSION.major ? "a newer" : "an older";
    return {
      wrong: `it is of version ${version}, and this is a reader of version ${VERSION.major}; ` +
        `${newer} vsmmu reads it`,
    };
  }
  if (!isCount(log2tlbSets, MOST_LOG2_TLB_SETS)) return { wrong: not("log2tlbSets", log2tlbSets) };
  if (!isCount(log2known, MOST_LOG2_KNOWN)) return { wrong: not("log2known", log2known) };
  if (typeof began !== "string") return { wrong: not("began", began) };
  if (!isWords(guest)) return { wrong: not("guest", guest) };
  const { iommufd, registers } = fields;
  if (registers !== undefined && registers !== "mapped") {
    return { wrong: not("registers", registers) };
  }
  if (iommufd !== undefined && !isIommufd(iommufd)) return { wrong: not("iommufd", iommufd) };
  const found = featuresOf(fields["features"]);
  if (typeof found === "string") return { wrong: found };
  return { header: { ...fields as unknown as TraceHeader, features: found } };
}

function isWords(value: unknown): boolean {
  return typeof value === "object" && value !== null && !Array.isArray(value) &&
    Object.values(value).every((word) => typeof word === "string");
}

/** Features that this device can have, or why it cannot. What a trace does not name is off but for `UNNAMED`; what is off need not be known. */
function featuresOf(recorded: unknown): Features | string {
  if (typeof recorded !== "object" || recorded === null || Array.isArray(recorded)) {
    return not("features", recorded);
  }
  const known = Object.keys(DEFAULT_FEATURES);
  const foreign = Object.entries(recorded).filter(([name, value]) =>
    !known.includes(name) && value !== false && value !== 0
  );
  if (foreign.length > 0) {
    const names = foreign.map(([name, value]) => `${name} ${show(value)}`).join(", ");
    return `it was recorded with ${names}, and this device has only ${known.join(", ")}`;
  }
  const chosen: Record<string, unknown> = {};
  for (const [name, value] of Object.entries(DEFAULT_FEATURES)) {
    const unnamed = UNNAMED[name as keyof Features] ?? (typeof value === "number" ? 0 : false);
    const given = (recorded as Fields)[name] ?? unnamed;
    if (typeof given !== typeof value) return `feature ${name} cannot be ${show(given)}`;
    chosen[name] = given;
  }
  try {
    return features(chosen);
  } catch (error) {
    if (error instanceof RangeError) return error.message;
    throw error;
  }
}

/** Whether a header is of a version from 1.`minor` on. */
export function isSince(minor: number, { version }: TraceHeader): boolean {
  return Number(version.split(".")[1]) >= minor;
}

/** Whether a header is of a minor version that this reader does not know. */
export function isNewerMinor(header: TraceHeader): boolean {
  return isSince(VERSION.minor + 1, header);
}
