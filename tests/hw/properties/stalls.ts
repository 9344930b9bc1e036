/**
 * Stalled transactions: each ends once, by an answer to the record that it was last told by, and those that wait are told
 * as soon as they can be. IHI 0070 §3.12.2, §4.7.1, §4.7.2, §7.2.1.
 * @module
 */
import { assert, assertEquals } from "@std/assert";
import { DATA, type Guest, split } from "../../support/guest.ts";
import { fc, type MakeGuest, type Property } from "./property.ts";

const CD_S = 1 << 12;
const STREAMS = 3;

type Step =
  | {
    readonly op: "request";
    readonly stream: number;
    readonly page: number;
    readonly write: boolean;
  }
  | { readonly op: "read" | "off" }
  | { readonly op: "map"; readonly stream: number; readonly page: number }
  | {
    readonly op: "resume";
    readonly which: number;
    readonly mode: number;
    readonly wrong: "no" | "stream" | "tag";
  }
  | { readonly op: "terminate"; readonly stream: number };

const stream = fc.nat(STREAMS - 1);
const page = fc.nat(3);
const step: fc.Arbitrary<Step> = fc.oneof(
  {
    weight: 5,
    arbitrary: fc.record({
      op: fc.constant("request" as const),
      stream,
      page,
      write: fc.boolean(),
    }),
  },
  { weight: 5, arbitrary: fc.record({ op: fc.constant("read" as const) }) },
  {
    weight: 5,
    arbitrary: fc.record({
      op: fc.constant("resume" as const),
      which: fc.nat(7),
      mode: fc.nat(2),
      wrong: fc.constantFrom("no" as const, "no", "no", "stream", "tag"),
    }),
  },
  { weight: 2, arbitrary: fc.record({ op: fc.constant("map" as const), stream, page }) },
  { weight: 1, arbitrary: fc.record({ op: fc.constant("terminate" as const), stream }) },
  { weight: 1, arbitrary: fc.record({ op: fc.constant("off" as const) }) },
);

/** A transaction, and how often it has ended. */
interface Transaction {
  readonly stream: number;
  readonly iova: bigint;
  ends: boolean[];
}

/** Of what the guest knows: a stalled transaction that it has not answered. */
interface Known {
  readonly stream: number;
  readonly tag: number;
  readonly iova: bigint;
}

class Scene {
  readonly guest: Guest;
  readonly transactions: Transaction[] = [];
  #known: Known[] = [];
  readonly #roots: number[] = [];
  readonly #most: number;
  #requests = 0n;

  constructor(make: MakeGuest, stallMax: number, log2queue: number) {
    this.#most = stallMax;
    this.guest = make({ features: { stallModel: 0, stallMax }, log2queue });
    for (let stream = 0; stream < STREAMS; stream++) {
      this.#roots.push(this.guest.stage1(stream, { word1: CD_S, asid: stream + 1 }).root);
    }
  }

  get waiting(): Transaction[] {
    return this.transactions.filter(({ ends }) => ends.length === 0);
  }

  play(step: Step): void {
    const { guest } = this;
    switch (step.op) {
      case "request":
        return this.#request(step.stream, step.page, step.write);
      case "read":
        return this.read();
      case "map":
        guest.map(this.#roots[step.stream], BigInt(step.page) << 12n, DATA);
        return;
      case "terminate": {
        guest.command(0x45n | (BigInt(step.stream) << 32n));
        this.#known = this.#known.filter(({ stream }) => stream !== step.stream);
        const left = this.waiting.filter(({ stream }) => stream === step.stream);
        assertEquals(left, [], "CMD_STALL_TERM");
        return;
      }
      case "off":
        guest.smmu.write32(0x20, 0xc);
        assertEquals(this.waiting, [], "SMMUEN=0");
        this.#known = [];
        guest.smmu.write32(0x20, 0xd);
        return;
      case "resume":
        return this.#resume(step.which, step.mode, step.wrong);
    }
  }

  /** Addresses inside a page are all different, so that a record says which request it is. */
  #request(stream: number, page: number, write: boolean): void {
    const iova = (BigInt(page) << 12n) | (this.#requests++ * 4n);
    const transaction: Transaction = { stream, iova, ends: [] };
    this.transactions.push(transaction);
    const port = this.guest.smmu.stallablePort();
    const how = write ? port.write.bind(port) : port.read.bind(port);
    const requester = { streamId: stream, substreamId: -1 };
    how(requester, ...split(iova), new Uint8Array(4), (ok) => void transaction.ends.push(ok));
  }

  /** Takes note of the records that are there. */
  read(): void {
    for (const [q0, q1, iova] of this.guest.events()) {
      assertEquals([q0 & 0xffn, q1 >> 31n & 1n], [0x10n, 1n], "a record of a stall");
      const tag = Number(q1 & 0xffffn);
      const stream = Number(q0 >> 32n);
      const other = this.#known.find((known) => known.stream === stream && known.tag === tag);
      assertEquals(other, undefined, "a tag is given again only when it was answered");
      // The record of one that was terminated since it was written is about nothing.
      const isOver = this.#find(stream, iova).ends.length > 0;
      if (!isOver) this.#known.push({ stream, tag, iova });
    }
    assert(this.#known.length <= this.#most, "no more than IDR5.STALL_MAX are known");
  }

  #resume(which: number, mode: number, wrong: "no" | "stream" | "tag"): void {
    this.read();
    if (this.#known.length === 0) return;
    const known = this.#known[which % this.#known.length];
    const stream = wrong === "stream" ? STREAMS + 1 : known.stream;
    const tag = wrong === "tag" ? known.tag ^ 0x8000 : known.tag;
    const before = this.waiting.length;
    const [ac, ab] = [[0n, 0n], [0n, 1n], [1n, 0n]][mode];
    const w0 = 0x44n | (ac << 12n) | (ab << 13n) | (BigInt(stream) << 32n);
    this.guest.command(w0, BigInt(tag));
    if (wrong !== "no") {
      assertEquals(this.waiting.length, before, "an answer that is nobody's does nothing");
      return;
    }
    this.#known = this.#known.filter((other) => other !== known);
    const answered = this.#find(known.stream, known.iova);
    if (mode < 2) assertEquals(answered.ends, [mode === 0], "it ends as the answer says");
    else this.read();
  }

  #find(stream: number, iova: bigint): Transaction {
    return this.transactions.find((other) => other.iova === iova && other.stream === stream)!;
  }

  /** Answers all, until nobody waits. */
  drain(): void {
    for (let round = 0; this.waiting.length > 0; round++) {
      assert(round <= this.transactions.length, "everybody who waits is told of in the end");
      this.read();
      for (const { stream, tag } of this.#known.splice(0)) {
        this.guest.command(0x44n | (1n << 13n) | (BigInt(stream) << 32n), BigInt(tag));
      }
    }
  }
}

/** Stalls. */
export const stalls: Property = {
  name: "P23: each stalled transaction is told of, and ends once, as its answer says",
  runs: 120,
  of: (make) =>
    fc.property(
      fc.integer({ min: 1, max: 4 }),
      fc.nat(3),
      fc.array(step, { maxLength: 40, size: "max" }),
      (stallMax, log2queue, steps) => {
        const scene = new Scene(make, stallMax, log2queue);
        for (const step of steps) {
          scene.play(step);
          for (const { ends } of scene.transactions) assert(ends.length <= 1, "once");
        }
        scene.drain();
        for (const { ends } of scene.transactions) assertEquals(ends.length, 1);
      },
    ),
};
