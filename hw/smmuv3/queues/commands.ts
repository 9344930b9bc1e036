/**
 * What each command does. What is not in the table, or not legal, is CERROR_ILL. IHI 0070 §4 Commands.
 * @module
 */
import { get, getAddress } from "../../bits.ts";
import type { ContextCache } from "../configuration/context_cache.ts";
import type { Features } from "../features.ts";
import type { HostStreams } from "../host_streams.ts";
import { CFGI, CMD, CS, OP, SYNC, TLBI } from "../spec/commands.ts";
import type { Tlb } from "../translation/tlb.ts";

/** What commands act on. */
export interface CommandTarget {
  /** Cached configuration. */
  readonly contexts: ContextCache;
  /** Cached translations. */
  readonly tlb: Tlb;
  /** Streams that hardware translates, if there are any. */
  readonly streams?: HostStreams | undefined;
  /** CMD_SYNC with CS=SIG_IRQ: everything before it is done; write `data` at `gpa` unless that is 0. */
  sync(gpa: number, data: number): void;
}

/** A command: when it is legal, and what it does. */
export interface Command {
  /** The manual's name. */
  readonly name: string;
  /** False makes it CERROR_ILL; absent means always legal. */
  readonly legal?: (words: Uint32Array, features: Features) => boolean;
  /** Hardware has to do it too: for all its streams, or for the one that the command names. */
  readonly hardware?: "all" | "stream";
  /** Whether hardware must have done all commands before it. */
  readonly waits?: true;
  /** Does it; completely, before the next command is looked at. */
  readonly run: (target: CommandTarget, words: Uint32Array) => void;
  /** Says that it is done, when CMDQ_CONS already says so; absent means that nothing else does. */
  readonly signal?: (target: CommandTarget, words: Uint32Array) => void;
}

const nothing = (): void => {};
const nonSecure = (words: Uint32Array): boolean => get(words, CMD.SSec) === 0;
const invalidateAll = ({ tlb }: CommandTarget): void => tlb.invalidateAll();
const invalidateAsid = ({ tlb }: CommandTarget, words: Uint32Array): void =>
  tlb.invalidateAsid(get(words, TLBI.ASID));
const invalidateVa = ({ tlb }: CommandTarget, words: Uint32Array): void =>
  invalidateRange(tlb, words, get(words, TLBI.ASID));
const invalidateVaa = ({ tlb }: CommandTarget, words: Uint32Array): void =>
  invalidateRange(tlb, words, -1);

/** Forgets the configuration of streams, and tells hardware the new one. */
function reconfigure({ contexts, streams }: CommandTarget, first: number, count: number): void {
  contexts.invalidateStreams(first, count);
  streams?.refresh(first, count);
}

const table: Record<number, Command> = {
  [OP.CMD_PREFETCH_CONFIG]: { name: "CMD_PREFETCH_CONFIG", legal: nonSecure, run: nothing },
  [OP.CMD_PREFETCH_ADDR]: { name: "CMD_PREFETCH_ADDR", legal: nonSecure, run: nothing },
  [OP.CMD_CFGI_STE]: {
    name: "CMD_CFGI_STE",
    legal: nonSecure,
    waits: true,
    run: (target, words) => reconfigure(target, get(words, CFGI.StreamID), 1),
  },
  [OP.CMD_CFGI_STE_RANGE]: {
    name: "CMD_CFGI_STE_RANGE",
    legal: nonSecure,
    waits: true,
    run: (target, words) => {
      const streamId = get(words, CFGI.StreamID);
      const count = 2 ** (get(words, CFGI.Range) + 1);
      reconfigure(target, streamId - streamId % count, count);
    },
  },
  [OP.CMD_CFGI_CD]: {
    name: "CMD_CFGI_CD",
    legal: nonSecure,
    hardware: "stream",
    run: ({ contexts }, words) =>
      contexts.invalidateSubstream(get(words, CFGI.StreamID), get(words, CFGI.SubstreamID)),
  },
  [OP.CMD_CFGI_CD_ALL]: {
    name: "CMD_CFGI_CD_ALL",
    legal: nonSecure,
    hardware: "stream",
    run: ({ contexts }, words) => contexts.invalidateStreams(get(words, CFGI.StreamID), 1),
  },
  [OP.CMD_TLBI_NH_ALL]: { name: "CMD_TLBI_NH_ALL", hardware: "all", run: invalidateAll },
  [OP.CMD_TLBI_NH_ASID]: { name: "CMD_TLBI_NH_ASID", hardware: "all", run: invalidateAsid },
  [OP.CMD_TLBI_NH_VA]: {
    name: "CMD_TLBI_NH_VA",
    hardware: "all",
    legal: isRangeLegal,
    run: invalidateVa,
  },
  [OP.CMD_TLBI_NH_VAA]: {
    name: "CMD_TLBI_NH_VAA",
    hardware: "all",
    legal: isRangeLegal,
    run: invalidateVaa,
  },
  // Without IDR0.HYP these are CERROR_ILL by §4.4.2.7. OpenBSD, EDK2 and NVIDIA's firmware send them all the same and
  // do not recover, so they invalidate what they name as if they were NH commands.
  [OP.CMD_TLBI_EL2_ALL]: { name: "CMD_TLBI_EL2_ALL", hardware: "all", run: invalidateAll },
  [OP.CMD_TLBI_EL2_ASID]: { name: "CMD_TLBI_EL2_ASID", hardware: "all", run: invalidateAsid },
  [OP.CMD_TLBI_EL2_VA]: {
    name: "CMD_TLBI_EL2_VA",
    hardware: "all",
    legal: isRangeLegal,
    run: invalidateVa,
  },
  [OP.CMD_TLBI_EL2_VAA]: {
    name: "CMD_TLBI_EL2_VAA",
    hardware: "all",
    legal: isRangeLegal,
    run: invalidateVaa,
  },
  [OP.CMD_TLBI_NSNH_ALL]: { name: "CMD_TLBI_NSNH_ALL", hardware: "all", run: invalidateAll },
  [OP.CMD_SYNC]: {
    name: "CMD_SYNC",
    waits: true,
    legal: (words) => get(words, SYNC.CS) <= CS.SIG_SEV,
    run: nothing,
    signal: (target, words) => {
      if (get(words, SYNC.CS) !== CS.SIG_IRQ) return;
      target.sync(getAddress(words, SYNC.MSIAddress), get(words, SYNC.MSIData));
    },
  },
};

/** Commands by opcode. */
export const COMMANDS: readonly (Command | undefined)[] = Array.from(
  { length: 256 },
  (_, opcode) => table[opcode],
);

/** §4.4.1.1: a range of one granule without a level is reserved, and so is level 1 of the 16K granule. */
function isRangeLegal(words: Uint32Array, features: Features): boolean {
  const tg = get(words, TLBI.TG);
  if (!features.rangeInvalidation || tg === 0) return true;
  if (get(words, TLBI.NUM) !== 0 || get(words, TLBI.SCALE) !== 0) return true;
  const ttl = get(words, TLBI.TTL);
  return ttl !== 0 && !(tg === 2 && ttl === 1);
}

/** TTL and Leaf only allow to drop less, so they are not looked at. */
function invalidateRange(tlb: Tlb, words: Uint32Array, asid: number): void {
  const tg = get(words, TLBI.TG);
  const granule = tg === 0 ? 0x1000 : 0x400 << (2 * tg);
  const count = tg === 0 ? 1 : (get(words, TLBI.NUM) + 1) * 2 ** get(words, TLBI.SCALE);
  const lo = (words[2] & 0xffff_f000) >>> 0;
  tlb.invalidateRange(lo, withoutTag(words[3]), granule * count, asid);
}

/** No entry has a tag in its top byte: either it was ignored, or it had to repeat bit 55. */
function withoutTag(hi: number): number {
  return (hi & 0x0080_0000) === 0 ? hi & 0x00ff_ffff : (hi | 0xff00_0000) >>> 0;
}
