/**
 * The endpoints of a replay: they ask for what was recorded, answer as was recorded, and wait for what was recorded.
 * @module
 */
import { type AtsPort, TranslationCompletion } from "../../../hw/ats_port.ts";
import type {
  DmaPort,
  StallableDmaPort,
  StalledTransaction,
  WaitingSide,
} from "../../../hw/device.ts";
import type { EndpointPort } from "../../../hw/smmuv3/endpoint_port.ts";
import type { SmmuV3 } from "../../../hw/smmuv3/smmuv3.ts";
import { hexQuad } from "../inspect/naming.ts";
import { answerText } from "./answer_text.ts";
import { lettersOf } from "../endpoint_doors.ts";
import type { Asked } from "../format.ts";
import type { ReplayOutputs } from "./replayer_outputs.ts";
import type { Payload } from "./replayer_payload.ts";
import { requesterOf } from "./replayer_requester.ts";

/** What was expected and what came of it. */
export type Compared = [expected: unknown, got: unknown];

type Kind<Op extends Asked["op"]> = Asked & { readonly op: Op };

/** A transaction that waits, as a plain value. */
export interface WaitingTransaction extends Omit<StalledTransaction, "number" | "doneBytes"> {
  /** Its number in the trace. */
  readonly transaction: number;
}

/** What endpoints need of a replay. */
export interface EndpointsOptions {
  /** What came out, and what was recorded. */
  readonly outputs: ReplayOutputs;
  /** What they move. */
  readonly payload: Payload;
  /** The way of a stream to memory. */
  readonly port: (streamId: number) => DmaPort;
}

/** The endpoints. */
export class ReplayEndpoints {
  /** For the device. */
  readonly port: EndpointPort;
  readonly #options: EndpointsOptions;
  readonly #completion = new TranslationCompletion();
  #ats!: AtsPort;
  #stallable!: StallableDmaPort;
  #waiting: WaitingTransaction[] = [];
  /** Nobody looks at what those move that wait. */
  #bytes = new Uint8Array(0x1000);

  /** Endpoints without a device. */
  constructor(options: EndpointsOptions) {
    this.#options = options;
    const { outputs } = options;
    this.port = {
      invalidate: (streamId, substreamId, every, lo, hi, log2pages) => {
        const iova = hexQuad(lo, hi);
        const what = ["invalidate", streamId, substreamId, every, iova, log2pages, true] as const;
        const ok = outputs.answer(what);
        this.#askMeanwhile();
        return ok;
      },
      respond: (streamId, substreamId, group, response) => {
        outputs.note(["respond", streamId, substreamId, group, response]);
        this.#askMeanwhile();
      },
    };
  }

  /** They are behind this device. */
  attach(device: SmmuV3): void {
    this.#ats = device.atsPort();
    this.#stallable = device.stallablePort();
  }

  /** Those that wait. */
  get waiting(): readonly WaitingTransaction[] {
    return this.#waiting;
  }

  /** These wait, and no others; a device that restores a snapshot asks `find` for them. */
  restore(waiting: readonly WaitingTransaction[]): (stalled: StalledTransaction) => WaitingSide {
    this.#waiting = [...waiting];
    const left = [...waiting];
    return (stalled) => {
      const at = left.findIndex((other) => isSame(other, stalled));
      const [{ transaction }] = at < 0 ? [{ transaction: -1 }] : left.splice(at, 1);
      return {
        bytes: this.#room(stalled.sizeBytes),
        done: (ok) => this.#end(transaction, ok),
      };
    };
  }

  /** Asks; undefined for what a newer minor version of the format added. */
  ask(asked: Asked): Compared | undefined {
    switch (asked.op) {
      case "translation-request":
        return this.#translate(asked);
      case "page-request":
        return this.#requestPage(asked);
      case "stallable-read":
      case "stallable-write":
        return this.#transact(asked);
      case "dma-message":
      case "translated-message": {
        const [requester, lo, hi] = requesterOf(asked);
        return [asked.ok, this.#way(asked).message(requester, lo, hi, asked.data)];
      }
      case "dma-read":
      case "dma-write":
      case "translated-read":
      case "translated-write":
        return this.#move(asked);
      default:
        return undefined;
    }
  }

  #way({ op, stream }: Asked): DmaPort {
    return op.startsWith("translated-") ? this.#ats.translated : this.#options.port(stream);
  }

  #move(asked: Kind<"dma-read" | "dma-write" | "translated-read" | "translated-write">): Compared {
    const { payload } = this.#options;
    payload.begin(asked.payload);
    const isWrite = asked.op.endsWith("-write");
    const bytes = payload.bytes(asked.size, isWrite);
    const way = this.#way(asked);
    const [requester, lo, hi] = requesterOf(asked);
    const ok = isWrite ? way.write(requester, lo, hi, bytes) : way.read(requester, lo, hi, bytes);
    return [asked.ok, ok];
  }

  /** What is compared are words about the answer. */
  #translate(asked: Kind<"translation-request">): Compared {
    const { asks = "" } = asked;
    const into = this.#completion;
    const kind = {
      write: asks.includes("w"),
      execute: asks.includes("x"),
      privileged: asks.includes("p"),
    };
    this.#ats.translate(...requesterOf(asked), kind, into);
    const { status, gpa: page, log2size } = into;
    return [answerText(asked), answerText({ status, page, log2size, grants: lettersOf(into) })];
  }

  #requestPage(asked: Kind<"page-request">): Compared {
    const { asks = "", group, last } = asked;
    this.#ats.requestPage(...requesterOf(asked), group, {
      read: asks.includes("r"),
      write: asks.includes("w"),
      execute: asks.includes("x"),
      privileged: asks.includes("p"),
      last,
    });
    return [undefined, undefined];
  }

  #transact(asked: Kind<"stallable-read" | "stallable-write">): Compared {
    const { transaction, size: sizeBytes } = asked;
    const [{ streamId, substreamId }, lo, hi] = requesterOf(asked);
    const isWrite = asked.op === "stallable-write";
    this.#waiting.push({ transaction, streamId, substreamId, lo, hi, isWrite, sizeBytes });
    const done = (ok: boolean): void => this.#end(transaction, ok);
    const requester = { streamId, substreamId };
    const bytes = this.#room(sizeBytes);
    if (isWrite) this.#stallable.write(requester, lo, hi, bytes, done);
    else this.#stallable.read(requester, lo, hi, bytes, done);
    return [undefined, undefined];
  }

  #end(transaction: number, ok: boolean): void {
    this.#waiting = this.#waiting.filter((other) => other.transaction !== transaction);
    this.#options.outputs.note(["end", transaction, ok]);
    this.#askMeanwhile();
  }

  /** What an endpoint asked while it was told what came out last. */
  #askMeanwhile(): void {
    const { outputs } = this.#options;
    for (let next = outputs.next; next?.[0] === "asked"; next = outputs.next) {
      const at = outputs.got.length;
      const [, asked] = next;
      outputs.note(next);
      const [expected, got] = this.ask(asked) ?? [];
      if (expected !== got) outputs.got[at] = ["asked", this.#cameTo(asked, got)];
    }
  }

  /** What was asked, with what came of it here. */
  #cameTo(asked: Asked, got: unknown): Asked {
    if (asked.op !== "translation-request") return { ...asked, ok: got } as Asked;
    const { status, gpa: page, log2size } = this.#completion;
    return { ...asked, status, page, log2size, grants: lettersOf(this.#completion) };
  }

  #room(sizeBytes: number): Uint8Array {
    if (sizeBytes > this.#bytes.length) this.#bytes = new Uint8Array(sizeBytes);
    return this.#bytes.subarray(0, sizeBytes);
  }
}

function isSame(waiting: WaitingTransaction, stalled: StalledTransaction): boolean {
  return waiting.streamId === stalled.streamId && waiting.substreamId === stalled.substreamId &&
    waiting.lo === stalled.lo && waiting.hi === stalled.hi &&
    waiting.isWrite === stalled.isWrite && waiting.sizeBytes === stalled.sizeBytes;
}
