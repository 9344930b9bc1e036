/**
 * Translation requests and page requests of endpoints that translate for themselves. PCI Express Base 5.0 §10.
 * @module
 */
import type { DmaPort, Requester } from "./device.ts";
import type { PageRequestKind } from "./smmuv3/endpoint_port.ts";

/** What a translation request asks for beyond to read, which each does. */
export interface TranslationRequestKind {
  /** To write: the No Write flag is clear. */
  readonly write: boolean;
  /** To execute; only with a substream. */
  readonly execute: boolean;
  /** In privileged mode; only with a substream. */
  readonly privileged: boolean;
}

/** How a translation request ends, by PCI Express's numbers. §2.2.9 Completion Status */
export const CompletionStatus = {
  Success: 0b000,
  UnsupportedRequest: 0b001,
  CompleterAbort: 0b100,
} as const;

/**
 * The answer to a translation request of one page; the endpoint keeps it, and it is overwritten. The bits U, N and
 * Global of an answer are always 0. IHI 0070 §3.9.1, §13.6
 */
export class TranslationCompletion {
  /** One of `CompletionStatus`; without success nothing else means anything. */
  status: number = CompletionStatus.Success;
  /** Where the page begins, in bytes. */
  gpa = 0;
  /** log2 of the size of what is translated in one piece, in bytes. */
  log2size = 0;
  /** It may be read. Where it may be neither read nor written there is no translation. */
  read = false;
  /** It may be written. */
  write = false;
  /** It may be executed. */
  execute = false;
  /** All that is for privileged mode, as was asked. */
  privileged = false;
}

/** An endpoint's way to translations, and by them to memory. */
export interface AtsPort {
  /** Translates the page around [hi:lo]; the answer is in `into` when it returns. */
  translate(
    requester: Requester,
    lo: number,
    hi: number,
    kind: TranslationRequestKind,
    into: TranslationCompletion,
  ): void;
  /** Asks software for the page at [hi:lo], as one of a group (PRGIndex, 0 to 511); the answer comes when it comes. */
  requestPage(
    requester: Requester,
    lo: number,
    hi: number,
    group: number,
    kind: PageRequestKind,
  ): void;
  /** Transactions whose addresses are those of answers. Their substreams mean nothing: IDR3.PASIDTT is 0. */
  readonly translated: DmaPort;
}
