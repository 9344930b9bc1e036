/**
 * Cached configuration of streams, bounded. Only valid configuration is kept. IHI 0070 §3.21.3, §4.3.
 * @module
 */
import type { Requester } from "../../device.ts";
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
  /** The words of its CD; null without one. */
  readonly cd: readonly number[] | null;
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

  /** Becomes what a snapshot of a device with these features says. */
  restore({ contexts, recent }: ContextCacheSnapshot, features: Features): void {
    this.#slots.fill(undefined);
    for (const context of contexts) this.insert(decode(context, features));
    this.#recent = recent === null ? undefined : decode(recent, features);
  }

  #drop(matches: (context: Context) => boolean): void {
    this.#recent = undefined;
    for (let i = 0; i < SLOTS; i++) {
      const context = this.#slots[i];
      if (context !== undefined && matches(context)) this.#slots[i] = undefined;
    }
  }
}

function plain({ streamId, substreamId, mode, cd }: Context): ContextSnapshot {
  return { streamId, substreamId, mode, cd: cd === undefined ? null : [...cd] };
}

function decode({ streamId, substreamId, mode, cd }: ContextSnapshot, features: Features): Context {
  const words = cd === null ? undefined : Uint32Array.from(cd);
  return new Context(streamId, substreamId, mode, features, words);
}

function isFor(context: Context, { streamId, substreamId }: Requester): boolean {
  return context.streamId === streamId && context.substreamId === substreamId;
}

function slotOf(streamId: number, substreamId: number): number {
  return (streamId ^ (streamId >>> 8) ^ ((substreamId + 1) * 37)) & (SLOTS - 1);
}
