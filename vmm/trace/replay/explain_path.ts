/**
 * The way from a StreamID to a page as a table of what is read where, walked over what a trace knows of memory. It
 * decodes for itself, so that it can be held against what a device did.
 * @module
 */
import { get, getAddress } from "../../../hw/bits.ts";
import { CD, CD_SIZE } from "../../../hw/smmuv3/spec/cd.ts";
import { DESCRIPTOR } from "../../../hw/smmuv3/spec/descriptors.ts";
import { GBPA, REG, STRTAB_BASE, STRTAB_BASE_CFG } from "../../../hw/smmuv3/spec/registers.ts";
import { Config, L1STD, STE, STE_SIZE } from "../../../hw/smmuv3/spec/ste.ts";
import { decode, descriptorFields, type Fields } from "./explain.ts";
import { hex } from "../inspect/naming.ts";

/** A structure on the way. */
export interface PathStep {
  /** Such as `STE`, `CD`, `level 2 descriptor`. */
  readonly what: string;
  /** Where it is, in bytes; undefined for what is in no memory. */
  readonly gpa: number | undefined;
  /** Its fields that are not zero; undefined when the trace does not know them. */
  readonly fields: Fields | undefined;
  /** Its words. */
  readonly words: Uint32Array | undefined;
}

/** What a path is read from. */
export interface PathSource {
  /** The register at an offset. */
  readonly register: (offset: number) => number;
  /** Words of memory, if the trace knows them. */
  readonly memory: (gpa: number, sizeBytes: number) => Uint32Array | undefined;
  /** The CD that a device has decoded for a requester, where memory is not known. */
  readonly cachedCd: (streamId: number, substreamId: number) => Uint32Array | undefined;
  /** Output address width in bits. */
  readonly oas: number;
}

/** A path with its end. */
export interface Path {
  readonly steps: readonly PathStep[];
  /** log2 of the page at its end; undefined when it ends before. */
  readonly log2page: number | undefined;
  /** Where the page at its end begins; undefined when it ends before. */
  readonly page: number | undefined;
  /** ASID of the translation; undefined when there is none. */
  readonly asid: number | undefined;
}

/** Follows a transaction's path as far as the trace knows it. */
export function pathOf(
  source: PathSource,
  streamId: number,
  substreamId: number,
  lo: number,
  hi: number,
): Path {
  const { register } = source;
  const steps: PathStep[] = [];
  const end = { steps, log2page: undefined, page: undefined, asid: undefined };
  if ((register(REG.CR0.offset) & 1) === 0) {
    const words = Uint32Array.of(register(REG.GBPA.offset));
    steps.push({
      what: "SMMUEN=0: GBPA",
      gpa: undefined,
      fields: decode(GBPA, words, true),
      words,
    });
    return end;
  }
  const ste = steOf(source, streamId, steps);
  const isForgotten = steps.at(-1)?.words === undefined;
  const cached = source.cachedCd(streamId, substreamId);
  if (isForgotten && cached !== undefined) {
    steps.push(cachedStep(cached));
    return walk(source, cached, lo, hi, steps);
  }
  if (ste === undefined || get(ste, STE.V) === 0 || get(ste, STE.Config) !== Config.Stage1) {
    return end;
  }
  const log2count = get(ste, STE.S1CDMax);
  const table = alignDown(getAddress(ste, STE.S1ContextPtr), CD_SIZE * 2 ** log2count);
  const gpa = table + Math.max(substreamId, 0) * CD_SIZE;
  const cd = source.memory(gpa, CD_SIZE);
  if (cd === undefined && cached !== undefined) {
    steps.push(cachedStep(cached));
    return walk(source, cached, lo, hi, steps);
  }
  steps.push({ what: "CD", gpa, fields: cd && decode(CD, cd, true), words: cd });
  if (cd === undefined || get(cd, CD.V) === 0) return end;
  return walk(source, cd, lo, hi, steps);
}

function cachedStep(cd: Uint32Array): PathStep {
  const what = "CD, as the device has cached it";
  return { what, gpa: undefined, fields: decode(CD, cd, true), words: cd };
}

/** §3.3.1: finds the STE of a stream. */
function steOf(
  { register, memory, oas }: PathSource,
  streamId: number,
  steps: PathStep[],
): Uint32Array | undefined {
  const base = pair(register(REG.STRTAB_BASE.offset), register(REG.STRTAB_BASE.offset + 4));
  const address = getAddress(base, STRTAB_BASE.ADDR) % 2 ** oas;
  const cfg = Uint32Array.of(register(REG.STRTAB_BASE_CFG.offset));
  const log2size = get(cfg, STRTAB_BASE_CFG.LOG2SIZE);
  let gpa = alignDown(address, STE_SIZE * 2 ** log2size) + streamId * STE_SIZE;
  if (get(cfg, STRTAB_BASE_CFG.FMT) === 1) {
    const split = get(cfg, STRTAB_BASE_CFG.SPLIT);
    const l1Size = Math.max(8 * 2 ** Math.max(log2size - split, 0), 64);
    const at = alignDown(address, l1Size) + Math.floor(streamId / 2 ** split) * 8;
    const l1 = memory(at, 8);
    steps.push({ what: "L1STD", gpa: at, fields: l1 && decode(L1STD, l1, true), words: l1 });
    if (l1 === undefined || get(l1, L1STD.Span) === 0) return undefined;
    const count = 2 ** (get(l1, L1STD.Span) - 1);
    const index = streamId % 2 ** split;
    if (index >= count) return undefined;
    gpa = alignDown(getAddress(l1, L1STD.L2Ptr), STE_SIZE * count) + index * STE_SIZE;
  }
  const words = memory(gpa, STE_SIZE);
  steps.push({ what: "STE", gpa, fields: words && decode(STE, words, true), words });
  return words;
}

const TG0_4K = 0;
const TG1_4K = 2;

/** DDI 0487 D8.2 with a granule of 4 KiB; of others it tells nothing. */
function walk(
  { memory }: PathSource,
  cd: Uint32Array,
  lo: number,
  hi: number,
  steps: PathStep[],
): Path {
  const asid = get(cd, CD.ASID);
  const isUpper = ((hi >>> 23) & 1) === 1;
  const inputBits = 64 - get(cd, isUpper ? CD.T1SZ : CD.T0SZ);
  const levels = Math.max(Math.ceil((inputBits - 12) / 9), 1);
  const input = (BigInt(hi) << 32n) | BigInt(lo >>> 0);
  let table = getAddress(cd, isUpper ? CD.TTB1 : CD.TTB0);
  const broken = { steps, log2page: undefined, page: undefined, asid };
  if (get(cd, isUpper ? CD.EPD1 : CD.EPD0) === 1) return broken;
  if (get(cd, isUpper ? CD.TG1 : CD.TG0) !== (isUpper ? TG1_4K : TG0_4K)) return broken;
  for (let level = 4 - levels; level <= 3; level++) {
    const shift = 12 + 9 * (3 - level);
    const bits = level === 4 - levels ? inputBits - shift : 9;
    const index = Number((input >> BigInt(shift)) & ((1n << BigInt(Math.max(bits, 0))) - 1n));
    const gpa = alignDown(table, 8 * 2 ** bits) + index * 8;
    const words = memory(gpa, 8);
    const fields = words && descriptorFields(words, level);
    steps.push({ what: `level ${level} descriptor`, gpa, fields, words });
    if (words === undefined || get(words, DESCRIPTOR.Valid) === 0) break;
    const next = (words[1] & 0xffff) * 2 ** 32 + ((words[0] & 0xffff_f000) >>> 0);
    const isLeaf = level === 3 || get(words, DESCRIPTOR.Table) === 0;
    if (isLeaf) return { steps, log2page: shift, page: alignDown(next, 2 ** shift), asid };
    table = next;
  }
  return broken;
}

/** A step in one line. */
export function stepLine({ what, gpa, fields }: PathStep): string {
  const place = gpa === undefined ? "" : ` at ${hex(gpa)}`;
  const says = fields === undefined
    ? "not known to the trace"
    : Object.entries(fields).map(([name, value]) => `${name}=${value}`).join(" ") || "all zero";
  return `${what}${place}: ${says}`;
}

function pair(lo: number, hi: number): Uint32Array {
  return Uint32Array.of(lo, hi);
}

function alignDown(gpa: number, sizeBytes: number): number {
  return gpa - gpa % sizeBytes;
}
