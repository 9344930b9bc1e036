/**
 * Cached configuration of streams, bounded. Only valid configuration is kept. IHI 0070 §3.21.3, §4.3.
 * @module
 */
import type { Requester } from "../../device.ts";
import type { Domains } from "../translation/domains.ts";
import { adopt } from "./adoption.ts";
import { Context } from "./context.ts";
import type { Features } from "../features.ts";

const SLOTS = 256;

/** A context as a plain value. */
export interface ContextSnapshot {
  /** StreamID that it was made for. */
  readonly streamId: number;
  /** SubstreamID of the requests that it answers, -1 for those without one. */
  readonly substreamId: number;
  /** One of `Mode`. */
  readonly mode: number;
  /** The words of its STE; null where it needs none. */
  readonly ste: readonly number[] | null;
  /** The words of its CD; null without one. */
  readonly cd: readonly number[] | null;
  /** CR2.E2H at the time. */
  readonly e2h: boolean;
}

/** A cache of contexts as a plain value. */
export interface ContextCacheSnapshot {
  /** What is cached, in no particular order. */
  readonly contexts: readonly ContextSnapshot[];
  /** What was found last; it may have been pushed out since, and still answers. */
  readonly recent: ContextSnapshot | null;
}

/** Contexts by StreamID and SubstreamID; a new one may push out another. */
export class ContextCache {
  readonly #slots: (Context | undefined)[] = new Array(SLOTS).fill(undefined);
  /** What was found last: most requests come from the stream of the one before. */
  #recent: Context | undefined;

  /** The context for a requester, if it is cached. */
  find(requester: Requester): Context | undefined {
    const recent = this.#recent;
    if (recent !== undefined && isFor(recent, requester)) return recent;
    const context = this.#slots[slotOf(requester.streamId, requester.substreamId)];
    return context !== undefined && isFor(context, requester) ? this.#recent = context : undefined;
  }

  /** Keeps a context. */
  insert(context: Context): void {
    this.#slots[slotOf(context.streamId, context.substreamId)] = context;
  }

  /** Drops all contexts of the streams from `first` to `first + count - 1`. */
  invalidateStreams(first: number, count: number): void {
    this.#drop((context) => context.streamId >= first && context.streamId < first + count);
  }

  /** Drops the context of one substream; `substreamId` 0 also serves requests without one. */
  invalidateSubstream(streamId: number, substreamId: number): void {
    this.#drop((context) =>
      context.streamId === streamId && Math.max(context.substreamId, 0) === substreamId
    );
  }

  /** Everything that decides what it finds from now on. */
  snapshot(): ContextCacheSnapshot {
    return {
      contexts: this.#slots.filter((context) => context !== undefined).map(plain),
      recent: this.#recent === undefined ? null : plain(this.#recent),
    };
  }

  /** Becomes what a snapshot of a device with these features says, whose TLB has these domains. */
  restore(
    { contexts, recent }: ContextCacheSnapshot,
    features: Features,
    domains: Domains,
  ): void {
    this.#slots.fill(undefined);
    for (const context of contexts) this.insert(decode(context, features, domains));
    this.#recent = recent === null ? undefined : decode(recent, features, domains);
  }

  #drop(matches: (context: Context) => boolean): void {
    this.#recent = undefined;
    for (let i = 0; i < SLOTS; i++) {
      const context = this.#slots[i];
      if (context !== undefined && matches(context)) this.#slots[i] = undefined;
    }
  }
}

function plain({ streamId, substreamId, mode, source }: Context): ContextSnapshot {
  const list = (words: Uint32Array | undefined): number[] | null => words ? [...words] : null;
  const { ste, cd, e2h = false } = source;
  return { streamId, substreamId, mode, ste: list(ste), cd: list(cd), e2h };
}

function decode(plain: ContextSnapshot, features: Features, domains: Domains): Context {
  const words = (list: readonly number[] | null): Uint32Array | undefined =>
    list === null ? undefined : Uint32Array.from(list);
  const { streamId, substreamId, mode, ste, cd, e2h } = plain;
  const source = { ste: words(ste), cd: words(cd), e2h };
  const context = new Context(streamId, substreamId, mode, features, source);
  adopt(context, domains);
  return context;
}

function isFor(context: Context, { streamId, substreamId }: Requester): boolean {
  return context.streamId === streamId && context.substreamId === substreamId;
}

function slotOf(streamId: number, substreamId: number): number {
  return (streamId ^ (streamId >>> 8) ^ ((substreamId + 1) * 37)) & (SLOTS - 1);
}
