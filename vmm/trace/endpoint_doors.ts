/**
 * The doors of endpoints that translate for themselves or can wait, as a recorder stands in them.
 * @module
 */
import {
  type AtsPort,
  CompletionStatus,
  type TranslationCompletion,
  type TranslationRequestKind,
} from "../../hw/ats_port.ts";
import type { DmaPort, Requester, StallableDmaPort } from "../../hw/device.ts";
import type { EndpointPort, PageRequestKind } from "../../hw/smmuv3/endpoint_port.ts";

/** What writes down. */
export interface Scribe {
  /** An endpoint asks for something; `fields` describes it and what came of it, without braces. */
  operation<T>(act: () => T, fields: (result: T) => string): T;
  /** An endpoint is told something; `elements` describes it and its answer, without brackets. */
  told<T>(act: () => T, elements: (result: T) => string): T;
}

/** A way to translations; `translated` is that of its transactions. */
export function recordedAts(scribe: Scribe, inner: AtsPort, translated: DmaPort): AtsPort {
  return {
    translate: (requester, lo, hi, kind, into) =>
      scribe.operation(
        () => inner.translate(requester, lo, hi, kind, into),
        () => `"op":"translation-request",${who(requester, lo, hi)}${asks(kind)}${answer(into)}`,
      ),
    requestPage: (requester, lo, hi, group, kind) =>
      scribe.operation(
        () => inner.requestPage(requester, lo, hi, group, kind),
        () =>
          `"op":"page-request",${who(requester, lo, hi)}${asks(kind)},"group":${group},` +
          `"last":${kind.last}`,
      ),
    translated,
  };
}

/** A way to memory on which endpoints wait. */
export function recordedStalls(scribe: Scribe, inner: StallableDmaPort): StallableDmaPort {
  let next = 0;
  const through =
    (isWrite: boolean): StallableDmaPort["read"] => (requester, lo, hi, bytes, done) =>
      scribe.operation(
        () => {
          const transaction = next++;
          const end = (ok: boolean): void =>
            scribe.told(() => done(ok), () => `"end",${transaction},${ok}`);
          if (isWrite) inner.write(requester, lo, hi, bytes, end);
          else inner.read(requester, lo, hi, bytes, end);
          return transaction;
        },
        (transaction) =>
          `"op":"stallable-${isWrite ? "write" : "read"}",${who(requester, lo, hi)},` +
          `"size":${bytes.length},"transaction":${transaction}`,
      );
  return { read: through(false), write: through(true) };
}

/** What endpoints are told of commands for them. */
export function recordedEndpoints(scribe: Scribe, inner: EndpointPort): EndpointPort {
  return {
    invalidate: (streamId, substreamId, everySubstream, lo, hi, log2pages) =>
      scribe.told(
        () => inner.invalidate(streamId, substreamId, everySubstream, lo, hi, log2pages),
        (ok) =>
          `"invalidate",${streamId},${substreamId},${everySubstream},"${quad(lo, hi)}",` +
          `${log2pages},${ok}`,
      ),
    respond: (streamId, substreamId, group, response) =>
      scribe.told(
        () => inner.respond(streamId, substreamId, group, response),
        () => `"respond",${streamId},${substreamId},${group},${response}`,
      ),
  };
}

/** Fields of a requester and its address. */
export function who({ streamId, substreamId }: Requester, lo: number, hi: number): string {
  const substream = substreamId < 0 ? "" : `"substream":${substreamId},`;
  return `"stream":${streamId},${substream}"iova":"${quad(lo, hi)}"`;
}

function quad(lo: number, hi: number): string {
  return hi === 0
    ? `0x${lo.toString(16)}`
    : `0x${hi.toString(16)}${(lo + 0x1_0000_0000).toString(16).slice(1)}`;
}

/** What is asked for, in letters; to read goes without saying for a translation. */
function asks(kind: TranslationRequestKind & Partial<PageRequestKind>): string {
  const letters = lettersOf(kind);
  return letters === "" ? "" : `,"asks":"${letters}"`;
}

/** The fields of an answer. */
function answer(completion: TranslationCompletion): string {
  const { status, gpa, log2size } = completion;
  if (status !== CompletionStatus.Success) return `,"status":${status}`;
  const letters = lettersOf(completion);
  return `,"status":${status},"page":${gpa},"log2size":${log2size}` +
    (letters === "" ? "" : `,"grants":"${letters}"`);
}

/** Permissions as letters: to read, write, execute, and whether for privileged accesses. */
export function lettersOf(
  { read = false, write, execute, privileged }: {
    readonly read?: boolean;
    readonly write: boolean;
    readonly execute: boolean;
    readonly privileged: boolean;
  },
): string {
  return (read ? "r" : "") + (write ? "w" : "") + (execute ? "x" : "") + (privileged ? "p" : "");
}
