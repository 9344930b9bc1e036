/**
 * What a command is, and what commands act on.
 * @module
 */
import type { ContextCache } from "../configuration/context_cache.ts";
import type { EndpointPort } from "../endpoint_port.ts";
import type { Features } from "../features.ts";
import type { HostStreams } from "../host_streams.ts";
import type { Stalls } from "../stalls.ts";
import type { Tlb } from "../translation/tlb.ts";

/** What commands act on. */
export interface CommandTarget {
  /** What the device offers. */
  readonly features: Features;
  /** Cached configuration. */
  readonly contexts: ContextCache;
  /** Cached translations. */
  readonly tlb: Tlb;
  /** Streams that hardware translates, if there are any. */
  readonly streams?: HostStreams | undefined;
  /** Transactions that wait for an answer, where they can. */
  readonly stalls?: Stalls | undefined;
  /** Endpoints that translate for themselves or request pages, if there are any. */
  readonly endpoints?: EndpointPort | undefined;
  /** CR2.E2H. */
  e2h(): boolean;
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
  /** Whether endpoints must have answered all commands before it: CMD_SYNC. */
  readonly completes?: true;
  /** Does it, completely, before the next command is looked at. False: an endpoint did not answer. */
  readonly run: (target: CommandTarget, words: Uint32Array) => boolean | void;
  /** Says that it is done, when CMDQ_CONS already says so; absent means that nothing else does. */
  readonly signal?: (target: CommandTarget, words: Uint32Array) => void;
}
