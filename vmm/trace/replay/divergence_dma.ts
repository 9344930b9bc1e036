/**
 * Patterns of causes in DMA: what was cached too long, walked wrongly, permitted, or told wrongly.
 * @module
 */
import { get } from "../../../hw/bits.ts";
import type { SmmuV3Snapshot } from "../../../hw/smmuv3/smmuv3.ts";
import { CFGI, OP } from "../../../hw/smmuv3/spec/commands.ts";
import { EVENT } from "../../../hw/smmuv3/spec/events.ts";
import { Config, STE, STE_SIZE } from "../../../hw/smmuv3/spec/ste.ts";
import { World } from "../../../hw/smmuv3/translation/domains.ts";
import type { Tlb } from "../../../hw/smmuv3/translation/tlb.ts";
import { withoutRange } from "../../../hw/smmuv3/translation/tlb_snapshot.ts";
import type { Cause } from "./divergence_cause.ts";
import type { Evidence, Target } from "./divergence_evidence.ts";
import { commandFieldsOf, eventFields, fieldLine } from "./explain.ts";
import type { PathStep } from "./explain_path.ts";
import { commandName, hex, hexQuad, scopeOf } from "../inspect/naming.ts";
import type { PastCommand } from "./replayer_history.ts";

type Repair = NonNullable<Cause["repair"]>;

/** The cause of a divergence in DMA. */
export function dmaCause(evidence: Evidence): Cause | undefined {
  return staleCause(evidence) ?? eventFieldCause(evidence) ?? wrongFetch(evidence) ??
    fetchedMore(evidence) ?? eventCause(evidence) ?? outcomeCause(evidence) ??
    addressCause(evidence);
}

/** What the device kept although the recorded one had to look again. */
function staleCause(evidence: Evidence): Cause | undefined {
  const { target, operation, outcome } = evidence;
  if (target === undefined || outcome.fetches.length > (operation.fetches ?? 0)) return undefined;
  const { streamId, lo, hi, sizeBytes } = target;
  const withoutContexts = (snapshot: SmmuV3Snapshot): SmmuV3Snapshot => {
    const { contexts, recent } = snapshot.contexts;
    return {
      ...snapshot,
      contexts: {
        contexts: contexts.filter((context) => context.streamId !== streamId),
        recent: recent?.streamId === streamId ? null : recent,
      },
    };
  };
  const withoutPages = (snapshot: SmmuV3Snapshot): SmmuV3Snapshot => ({
    ...snapshot,
    tlb: withoutRange(snapshot.tlb, lo, hi, Math.max(sizeBytes, 1)),
  });
  const stale = contradictions(evidence);
  const first = { ...evidence, target: { ...target, ...stale[0] } };
  if (evidence.wouldBeSame(withoutPages)) return staleTranslation(first, withoutPages);
  const withoutStale = (snapshot: SmmuV3Snapshot): SmmuV3Snapshot => ({
    ...snapshot,
    tlb: stale.reduce(
      (tlb, { lo, hi, log2size }) => withoutRange(tlb, lo, hi, 1, log2size),
      snapshot.tlb,
    ),
  });
  if (stale.length > 0 && evidence.wouldBeSame(withoutStale)) {
    return staleTranslation(first, withoutStale);
  }
  const both = (snapshot: SmmuV3Snapshot): SmmuV3Snapshot =>
    withoutContexts(withoutPages(snapshot));
  for (const repair of [withoutContexts, both]) {
    if (evidence.wouldBeSame(repair)) return staleContext(evidence, target, repair);
  }
  return undefined;
}

/** An entry of the TLB that says something else than the tables. */
interface Contradiction {
  readonly lo: number;
  readonly hi: number;
  readonly log2size: number;
}

/** Those that a transaction meets. */
function contradictions({ target, path, pathAt, device }: Evidence): Contradiction[] {
  if (target === undefined || path?.asid === undefined) return [];
  const { tlb } = device.translator;
  const found: Contradiction[] = [];
  const first = target.lo - target.lo % 0x1000;
  for (let offset = first; offset < target.lo + target.sizeBytes; offset += 0x1000) {
    const lo = offset >>> 0;
    const hi = offset > 0xffff_ffff ? target.hi + 1 : target.hi;
    const at = entryOf(tlb, lo, hi, path.asid);
    if (at < 0) continue;
    const told = pathAt(lo, hi);
    const page = told?.page === undefined ? -1 : told.page + lo % 2 ** told.log2page!;
    const size = tlb.offsetMask(at) + 1;
    if (tlb.gpa(at) + lo % size === page) continue;
    found.push({ lo: offset < target.lo ? target.lo : lo, hi, log2size: Math.log2(size) });
  }
  return found;
}

/** The entry of the TLB that answers for an address of an ASID; -1 without. */
function entryOf(tlb: Tlb, lo: number, hi: number, asid: number): number {
  const { domains } = tlb;
  const domain = domains.find(World.El1, 0, asid);
  return domain < 0 ? -1 : tlb.find(lo, hi, domain, domains.sharedOf(domain));
}

function staleTranslation(evidence: Evidence, repair: Repair): Cause {
  const { target, path, history } = evidence;
  const asid = path?.asid ?? 0;
  const { lo, hi } = target!;
  const { tlb } = evidence.device.translator;
  const at = entryOf(tlb, lo, hi, asid);
  // Who invalidates a part of a page invalidates all of it.
  const pages = at < 0 ? 1 : (tlb.offsetMask(at) + 1) / 0x1000;
  const page = Math.floor((hi * 0x10_0000 + (lo >>> 12)) / pages) * pages;
  const what = `the TLB answered for ${hexQuad(lo, hi)} (ASID ${asid})`;
  for (const command of history.latest()) {
    const scope = scopeOf(command.words);
    if (scope === undefined || (scope.asid >= 0 && scope.asid !== asid)) continue;
    const isInside = page + pages > scope.firstPage && page < scope.firstPage + scope.pages;
    if (scope.kind === "va" && !isInside) continue;
    const name = commandName(command.words);
    return {
      kind: `stale translation: ${name}`,
      text: `an invalidation was not honoured: ${what} although ${told(command)} should have ` +
        "dropped it",
      repair,
    };
  }
  return {
    kind: "stale translation",
    text: `${what} where the recording walked; no invalidation among the remembered commands ` +
      "covers it, so the recorded TLB had pushed it out",
    repair,
  };
}

function staleContext(evidence: Evidence, target: Target, repair: Repair): Cause {
  const { streamId, substreamId } = target;
  const what = `the cached configuration of StreamID ${hex(streamId)} answered`;
  for (const command of evidence.history.latest()) {
    if (!isCfgiOf(command.words, streamId, Math.max(substreamId, 0))) continue;
    return {
      kind: `stale configuration: ${commandName(command.words)}`,
      text: `an invalidation was not honoured: ${what} although ${told(command)} should have ` +
        "dropped it",
      repair,
    };
  }
  return {
    kind: "stale configuration",
    text: `${what} where the recording fetched it anew; no CMD_CFGI among the remembered ` +
      "commands covers it",
    repair,
  };
}

/** Whether a command invalidates the configuration of a substream. §4.3 */
function isCfgiOf(words: Uint32Array, streamId: number, substreamId: number): boolean {
  const of = get(words, CFGI.StreamID);
  switch (words[0] & 0xff) {
    case OP.CMD_CFGI_STE:
    case OP.CMD_CFGI_CD_ALL:
      return of === streamId;
    case OP.CMD_CFGI_CD:
      return of === streamId && get(words, CFGI.SubstreamID) === substreamId;
    case OP.CMD_CFGI_STE_RANGE: {
      const count = 2 ** (get(words, CFGI.Range) + 1);
      return Math.floor(of / count) === Math.floor(streamId / count);
    }
  }
  return false;
}

function told({ words, line }: PastCommand): string {
  const fields = fieldLine(commandFieldsOf(words));
  return `${commandName(words)}${fields === "" ? "" : ` (${fields})`} at line ${line}`;
}

/** Event records on both sides, of the same event, with other contents. */
function eventFieldCause({ events: { expected, got } }: Evidence): Cause | undefined {
  const at = expected.findIndex((bytes, i) => got[i] !== undefined && got[i] !== bytes);
  if (at < 0) return undefined;
  const [a, b] = [eventFields(expected[at]), eventFields(got[at])];
  if (a["ID"] !== b["ID"]) return undefined;
  const wrong = Object.keys(a).filter((field) => a[field] !== b[field]);
  return {
    kind: `event record: ${wrong.join(", ")}`,
    text: `the event is the right one, ${a["ID"]}, and its record says a wrong ${
      wrong.map((field) => `${field}: ${b[field]} instead of ${a[field]}`).join(", ")
    }`,
  };
}

/** The first record that was fetched elsewhere than the recorded device fetched it. */
function wrongFetch({ path, expectedFetches, outcome }: Evidence): Cause | undefined {
  const { fetches } = outcome;
  if (expectedFetches === undefined) return undefined;
  const at = expectedFetches.findIndex(({ gpa }, i) =>
    fetches[i] !== undefined && fetches[i] !== gpa
  );
  // The same records from a later one on are a matter of caches.
  if (at < 0 || expectedFetches.some(({ gpa }) => gpa === fetches[at])) return undefined;
  const step = expectedFetches[at];
  const before = path?.steps[path.steps.indexOf(step) - 1];
  return {
    kind: `wrong address: ${step.what}`,
    text: `the ${step.what} was fetched at ${hex(fetches[at])} instead of ${hex(step.gpa!)}` +
      offBy(step, fetches[at], before),
  };
}

function offBy({ what, gpa }: PathStep, got: number, before: PathStep | undefined): string {
  if (what === "STE") {
    const off = (got - gpa!) / STE_SIZE;
    return before?.what === "L1STD" || Number.isInteger(off)
      ? `: the index into the ${before ? "level 2 " : ""}stream table is wrong by ${entries(off)}` +
        (before?.fields ? ` (L1STD ${fieldLine(before.fields)})` : "")
      : "";
  }
  if (what === "CD") return ": the CD table is indexed wrongly";
  const off = (got - gpa!) / 8;
  return Math.abs(off) < 512 ? `: the table is indexed wrongly, by ${entries(off)}` : "";
}

function entries(count: number): string {
  return `${count} ${Math.abs(count) === 1 ? "entry" : "entries"}`;
}

/** It looked again at what the recorded device still knew. */
function fetchedMore(evidence: Evidence): Cause | undefined {
  const { operation, outcome, path, device, target, history } = evidence;
  if (outcome.fetches.length <= (operation.fetches ?? 0) || !target) return undefined;
  const steps = path?.steps ?? [];
  const leaf = steps.at(-1);
  const { tlb } = device.translator;
  const at = path?.asid === undefined ? -1 : entryOf(tlb, target.lo, target.hi, path.asid);
  const entry = at < 0 ? 0 : Math.log2(tlb.offsetMask(at) + 1);
  if (path?.log2page !== undefined && at >= 0 && entry < path.log2page) {
    return {
      kind: "page size of a translation",
      text: `a block was walked as a smaller page: the ${leaf?.what} at ${hex(leaf?.gpa ?? 0)} ` +
        `maps ${sizeText(path.log2page)}, and the TLB holds only ${sizeText(entry)} of it`,
    };
  }
  const [last] = history.latest().filter(({ words }) =>
    scopeOf(words) !== undefined || commandName(words).startsWith("CMD_CFGI")
  ).take(1);
  return {
    kind: "fetched anew",
    text: `the device fetched ${outcome.fetches.length} records where the recording fetched ` +
      `${operation.fetches ?? 0}: it did not keep what it knew` +
      (last === undefined ? "" : `, or dropped too much, lately by ${told(last)}`),
  };
}

function sizeText(log2size: number): string {
  const units = ["B", "KiB", "MiB", "GiB"];
  const unit = Math.min(Math.floor(log2size / 10), 3);
  return `${2 ** (log2size - unit * 10)} ${units[unit]}`;
}

/** An event that was not met, or one that should not have been. */
function eventCause({ events, path, operation, outcome }: Evidence): Cause | undefined {
  const at = events.expected.findIndex((bytes, i) => events.got[i] !== bytes);
  const [missing, extra] = at < 0
    ? [undefined, events.got[events.expected.length]]
    : [events.expected[at], events.got[at]];
  const leaf = path?.steps.at(-1);
  const place = leaf === undefined
    ? ""
    : ` (${leaf.what} at ${hex(leaf.gpa ?? 0)}: ${fieldLine(leaf.fields ?? {})})`;
  if (missing === undefined) {
    if (extra === undefined) return undefined;
    const { ID } = eventFields(extra);
    return { kind: `event too many: ${ID}`, text: `the device reports ${ID}, wrongly${place}` };
  }
  const { ID } = eventFields(missing);
  if (extra !== undefined) {
    const got = eventFields(extra)["ID"];
    return {
      kind: `event: ${got} instead of ${ID}`,
      text: `the device reports ${got} where the recording reports ${ID}${place}`,
    };
  }
  const isDone = outcome.result === true && "ok" in operation && !operation.ok;
  return {
    kind: `event missing: ${ID}`,
    text: isDone
      ? `${omission(parseInt(missing.slice(0, 2), 16))}, so ${ID} was not raised and the ` +
        `transaction went through${place}`
      : `${ID} was not recorded in the event queue${place}`,
  };
}

function omission(id: number): string {
  switch (id) {
    case EVENT.F_ACCESS:
      return "the access flag was not checked (AF=0 with CD.AFFD=0 faults)";
    case EVENT.F_PERMISSION:
      return "permissions were not checked: a read-only page was taken as writable, or the like";
    case EVENT.F_TRANSLATION:
      return "a descriptor that is not valid was taken as valid";
    case EVENT.F_ADDR_SIZE:
      return "the size of an address was not checked";
    default:
      return "a condition for a fault was not checked";
  }
}

/** Let through what aborts, or the other way round, without any event. */
function outcomeCause({ operation, outcome, path, target }: Evidence): Cause | undefined {
  if (!("ok" in operation) || outcome.result === operation.ok || !target) return undefined;
  const ste = path?.steps.find(({ what }) => what === "STE");
  const config = ste?.words ? get(ste.words, STE.Config) : undefined;
  const which = ste === undefined
    ? path?.steps.map(({ what, fields }) => `${what} ${fieldLine(fields ?? {})}`).join(", ")
    : `the STE at ${hex(ste.gpa!)} has ${fieldLine(ste.fields ?? {})}`;
  if (outcome.result === true) {
    return {
      kind: "abort let through",
      text: config !== undefined && config < Config.Bypass
        ? `a stream that aborts was let through (bypass instead of abort): ${which}`
        : `a transaction that was aborted went through: ${which}`,
    };
  }
  return {
    kind: "aborted",
    text: `a transaction that went through was aborted: ${which}`,
  };
}

/** Payload moved to or from another place. */
function addressCause({ operation, outcome, path }: Evidence): Cause | undefined {
  const isPayload = ([kind]: readonly unknown[]): boolean => kind === "read" || kind === "write";
  const expected = operation.out?.find(isPayload);
  const got = outcome.out.find(isPayload);
  if (expected === undefined || got === undefined || expected[1] === got[1]) return undefined;
  return {
    kind: "output address",
    text: `the transaction was translated to ${hex(Number(got[1]))} instead of ${
      hex(Number(expected[1]))
    }${path?.log2page === undefined ? "" : ` (a page of ${sizeText(path.log2page)})`}`,
  };
}
