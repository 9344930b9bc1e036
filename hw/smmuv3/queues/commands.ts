/**
 * What each command does. What is not in the table, or not legal, is CERROR_ILL. IHI 0070 §4 Commands.
 * @module
 */
import { get, getAddress } from "../../bits.ts";
import { PageResponse } from "../endpoint_port.ts";
import type { Features } from "../features.ts";
import { ATC_INV, CFGI, CMD, CS, OP, PRI_RESP, RESUME, SYNC } from "../spec/commands.ts";
import type { Command, CommandTarget } from "./command.ts";
import { TLB_INVALIDATION } from "./tlb_invalidation.ts";

const nothing = (): void => {};
const nonSecure = (words: Uint32Array): boolean => get(words, CMD.SSec) === 0;
const ofStage1 = (words: Uint32Array, { stage1 }: Features): boolean => stage1 && nonSecure(words);
const ofStalls = (words: Uint32Array, { stallModel }: Features): boolean =>
  stallModel !== 1 && nonSecure(words);

/** Forgets the configuration of streams, and tells hardware the new one. */
function reconfigure({ contexts, streams }: CommandTarget, first: number, count: number): void {
  contexts.invalidateStreams(first, count);
  streams?.refresh(first, count);
}

/** §4.5.1: without SSV the requests without a SubstreamID are meant; Global adds all the others. */
function invalidateAtc({ endpoints }: CommandTarget, words: Uint32Array): boolean {
  const hasSubstream = get(words, ATC_INV.SSV) === 1;
  return endpoints?.invalidate(
    get(words, ATC_INV.StreamID),
    hasSubstream ? get(words, ATC_INV.SubstreamID) : -1,
    hasSubstream && get(words, ATC_INV.Global) === 1,
    (words[2] & 0xffff_f000) >>> 0,
    words[3],
    get(words, ATC_INV.Size),
  ) ?? true;
}

const table: Record<number, Command> = {
  ...TLB_INVALIDATION,
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
    legal: ofStage1,
    hardware: "stream",
    run: ({ contexts }, words) =>
      contexts.invalidateSubstream(get(words, CFGI.StreamID), get(words, CFGI.SubstreamID)),
  },
  [OP.CMD_CFGI_CD_ALL]: {
    name: "CMD_CFGI_CD_ALL",
    legal: ofStage1,
    hardware: "stream",
    run: ({ contexts }, words) => contexts.invalidateStreams(get(words, CFGI.StreamID), 1),
  },
  [OP.CMD_ATC_INV]: {
    name: "CMD_ATC_INV",
    legal: (words, { ats }) => ats && nonSecure(words),
    hardware: "stream",
    run: invalidateAtc,
  },
  [OP.CMD_PRI_RESP]: {
    name: "CMD_PRI_RESP",
    legal: (words, { pri }) =>
      pri && nonSecure(words) && get(words, PRI_RESP.Resp) <= PageResponse.Success,
    run: ({ endpoints }, words) =>
      endpoints?.respond(
        get(words, PRI_RESP.StreamID),
        get(words, PRI_RESP.SSV) === 1 ? get(words, PRI_RESP.SubstreamID) : -1,
        get(words, PRI_RESP.PRGIndex),
        get(words, PRI_RESP.Resp),
      ),
  },
  [OP.CMD_RESUME]: {
    name: "CMD_RESUME",
    legal: ofStalls,
    run: ({ stalls }, words) =>
      stalls?.resume(
        get(words, RESUME.StreamID),
        get(words, RESUME.STAG),
        get(words, RESUME.Ac) === 1,
        get(words, RESUME.Ab) === 1,
      ),
  },
  [OP.CMD_STALL_TERM]: {
    name: "CMD_STALL_TERM",
    legal: ofStalls,
    run: ({ stalls }, words) => stalls?.terminate(get(words, RESUME.StreamID)),
  },
  [OP.CMD_SYNC]: {
    name: "CMD_SYNC",
    waits: true,
    completes: true,
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
