/**
 * Snapshots: a device that is saved and restored after each step of a program, into a fresh one every time, does what one
 * does that nothing happened to. With stalls, ATS, page requests, updates of descriptors, and registers that are memory.
 * @module
 */
import { assertEquals } from "@std/assert";
import { TranslationCompletion } from "../../../hw/ats_port.ts";
import type { FindWaiting, WaitingSide } from "../../../hw/device.ts";
import type { EndpointPort } from "../../../hw/smmuv3/endpoint_port.ts";
import { answer } from "../../support/ats_scene.ts";
import {
  DATA,
  EVENTQ,
  type Guest,
  type GuestOptions,
  RAM,
  split,
  STRTAB,
} from "../../support/guest.ts";
import { fc, type MakeGuest, type Property } from "./property.ts";

const CD_S = 1 << 12;
const CD_HD_HA = 0xc00;
const PRIQ = DATA - 0x1_0000;
const STREAMS = 3;
const AF = 0x400n;
/** Write permission is in DBM, or there. */
const ATTRIBUTES = [0xc40n, 0x840n, 0xcc0n, (1n << 51n) | 0xcc0n];
const REGISTERS = [
  0x20,
  0x24,
  0x60,
  0x64,
  0x98,
  0x9c,
  0xc0,
  0x1_00a8,
  0x1_00ac,
  0x1_00c8,
  0x1_00cc,
];
const VISIBLE = 0x400;

type Step =
  | {
    readonly op: "wait" | "move";
    readonly stream: number;
    readonly page: number;
    readonly write: boolean;
    /** In bytes; some cross to the next page. */
    readonly size: number;
  }
  | { readonly op: "translate" | "ask" | "use"; readonly page: number; readonly bits: number }
  | { readonly op: "map"; readonly stream: number; readonly page: number; readonly how: number }
  | { readonly op: "answer"; readonly which: number; readonly bits: number }
  | {
    readonly op: "command";
    readonly which: number;
    readonly stream: number;
    readonly page: number;
  }
  | { readonly op: "register"; readonly which: number }
  | { readonly op: "ste"; readonly stream: number };

const stream = fc.nat(STREAMS - 1);
const page = fc.nat(3);
const size = fc.constantFrom(4, 4, 0x1800);
const bits = fc.nat(31);
const step: fc.Arbitrary<Step> = fc.oneof(
  {
    weight: 5,
    arbitrary: fc.record({
      op: fc.constant("wait" as const),
      stream,
      page,
      write: fc.boolean(),
      size,
    }),
  },
  {
    weight: 2,
    arbitrary: fc.record({
      op: fc.constant("move" as const),
      stream,
      page,
      write: fc.boolean(),
      size,
    }),
  },
  {
    weight: 3,
    arbitrary: fc.record({ op: fc.constantFrom("translate" as const, "ask", "use"), page, bits }),
  },
  {
    weight: 3,
    arbitrary: fc.record({ op: fc.constant("map" as const), stream, page, how: fc.nat(4) }),
  },
  {
    weight: 5,
    arbitrary: fc.record({ op: fc.constant("answer" as const), which: fc.nat(7), bits: fc.nat(3) }),
  },
  {
    weight: 2,
    arbitrary: fc.record({ op: fc.constant("command" as const), which: fc.nat(6), stream, page }),
  },
  { weight: 2, arbitrary: fc.record({ op: fc.constant("register" as const), which: fc.nat(5) }) },
  { weight: 1, arbitrary: fc.record({ op: fc.constant("ste" as const), stream }) },
);

/** What an endpoint has of a transaction that waits. */
interface Waiting extends WaitingSide {
  readonly stream: number;
  readonly lo: number;
  readonly write: boolean;
}

/** A guest, its endpoints, and all that they come to know. */
class Machine {
  readonly guest: Guest;
  readonly told: string[] = [];
  readonly #roots: number[] = [];
  #waiting: Waiting[] = [];
  #count = 0;
  #prod = 0;

  constructor(make: MakeGuest, stallMax: number, log2queue: number, isMapped: boolean) {
    const endpoints: EndpointPort = {
      invalidate: (...request) => {
        this.told.push(`invalidate ${request}`);
        return this.told.length % 5 !== 0;
      },
      respond: (...response) => void this.told.push(`respond ${response}`),
    };
    const options: GuestOptions = {
      features: { stallModel: 0, stallMax, ats: true, pri: true, httu: 2, log2PageRequestQueue: 4 },
      log2queue,
      log2tlbSets: 1,
      endpoints,
    };
    const guest = make({ ...options, ...(isMapped ? { page: new ArrayBuffer(0x2_0000) } : {}) });
    this.guest = guest;
    for (let stream = 0; stream < STREAMS; stream++) {
      const { root } = guest.stage1(stream, { word1: CD_S | CD_HD_HA, asid: stream + 1 });
      this.#roots.push(root);
      // EATS
      guest.field(STRTAB + stream * 64, 93, 92, 1);
      for (let page = 0; page < 5; page += 2) this.#map(stream, page, page / 2);
    }
    this.#write(0xc0, PRIQ | 2);
    this.#write(0x50, 7);
    this.#write(0x20, 0x1f);
  }

  /** Everything that can be seen of it. */
  get visible(): unknown {
    const { guest } = this;
    const { smmu, eventq, gerror, priq, messages } = guest;
    const memory = new Uint8Array(guest.memory.buffer);
    const tables = this.#roots.map((_, stream) =>
      [0, 1, 2, 3].map((page) => this.#leaf(stream, page))
    );
    return {
      registers: REGISTERS.map((at) => smmu.read32(at)),
      queues: [EVENTQ, PRIQ].map((gpa) => memory.slice(gpa - RAM, gpa - RAM + VISIBLE).toHex()),
      data: [0, 1, 2, 3].map((page) =>
        memory.slice(DATA - RAM + page * 0x1000, DATA - RAM + page * 0x1000 + 64).toHex()
      ),
      tables,
      interrupts: [eventq, gerror, priq].map(({ pulses }) => pulses),
      messages: messages.length,
      told: this.told,
      waiting: this.#waiting.length,
    };
  }

  /** Does a step; returns what an endpoint was answered at once. */
  play(step: Step): string {
    switch (step.op) {
      case "wait":
        return this.#wait(step.stream, step.page, step.write, step.size);
      case "move":
        return this.#move(step.stream, step.page, step.write, step.size);
      case "translate":
        return this.#translate(step.page, step.bits);
      case "ask":
        return this.#ask(step.page, step.bits);
      case "use": {
        const { translated } = this.guest.smmu.atsPort();
        const at = DATA + step.page * 0x1000;
        return `${
          translated.write({ streamId: 1, substreamId: -1 }, at, 0, Uint8Array.of(step.bits))
        }`;
      }
      case "map":
        this.#map(step.stream, step.page, step.how);
        return "";
      case "answer":
        return this.#answer(step.which, step.bits);
      case "command":
        return this.#command(step.which, step.stream, step.page);
      case "register":
        return this.#register(step.which);
      case "ste":
        this.guest.field(STRTAB + step.stream * 64, 0, 0, 0);
        this.#ring(0x03n | BigInt(step.stream) << 32n, 1n);
        this.guest.field(STRTAB + step.stream * 64, 0, 0, 1);
        return "";
    }
  }

  /** Saves and restores it. */
  renew(): void {
    const left = [...this.#waiting];
    const find: FindWaiting = ({ streamId, lo, isWrite, sizeBytes }) => {
      const at = left.findIndex((one) =>
        one.stream === streamId && one.lo === lo && one.write === isWrite &&
        one.bytes.length === sizeBytes
      );
      return at < 0 ? undefined : left.splice(at, 1)[0];
    };
    this.guest.renew(find);
    assertEquals(left, [], "each that waits is handed out");
  }

  #wait(stream: number, page: number, write: boolean, sizeBytes: number): string {
    const number = this.#count++;
    const lo = page * 0x1000;
    const bytes = new Uint8Array(sizeBytes).fill(number + 1);
    const done = (ok: boolean): void => {
      this.#waiting = this.#waiting.filter((other) => other !== waiting);
      this.told.push(`${number} ${ok} ${write ? "" : bytes.subarray(0, 8)}`);
    };
    const waiting: Waiting = { stream, lo, write, bytes, done };
    this.#waiting.push(waiting);
    const port = this.guest.smmu.stallablePort();
    const requester = { streamId: stream, substreamId: -1 };
    if (write) port.write(requester, lo, 0, bytes, done);
    else port.read(requester, lo, 0, bytes, done);
    return "";
  }

  #move(streamId: number, page: number, write: boolean, sizeBytes: number): string {
    const { dma } = this.guest.smmu;
    const requester = { streamId, substreamId: -1 };
    const bytes = new Uint8Array(sizeBytes).fill(0x55);
    return write
      ? `${dma.write(requester, page * 0x1000, 0, bytes)}`
      : `${dma.read(requester, page * 0x1000, 0, bytes)} ${bytes.subarray(0, 8)}`;
  }

  #translate(page: number, bits: number): string {
    const into = new TranslationCompletion();
    const requester = { streamId: 1 + (bits >> 1 & 1), substreamId: -1 };
    this.guest.smmu.atsPort().translate(requester, page * 0x1000, 0, {
      write: (bits & 1) !== 0,
      execute: false,
      privileged: false,
    }, into);
    return answer(into);
  }

  #ask(page: number, bits: number): string {
    const requester = { streamId: 1, substreamId: -1 };
    this.guest.smmu.atsPort().requestPage(requester, ...split(BigInt(page) << 12n), bits, {
      read: true,
      write: (bits & 2) !== 0,
      execute: false,
      privileged: false,
      last: (bits & 1) !== 0,
    });
    return "";
  }

  #map(stream: number, page: number, how: number): void {
    const { guest } = this;
    const root = this.#roots[stream];
    const leaf = guest.map(
      root,
      BigInt(page) << 12n,
      DATA + (page & 3) * 0x1000,
      ATTRIBUTES[how & 3],
    );
    if (how === 4) guest.quad(leaf, 0n);
    if (how === 1) guest.quad(leaf, guest.load(leaf) & ~AF);
  }

  #leaf(stream: number, page: number): bigint {
    const { guest } = this;
    let table = this.#roots[stream];
    for (let level = 0; level < 3; level++) {
      table = Number(guest.load(table) & 0x0000_ffff_ffff_f000n);
    }
    return guest.load(table + page * 8);
  }

  /** CMD_RESUME of a record that is in the queue, answered already or not. */
  #answer(which: number, bits: number): string {
    const { guest } = this;
    const gpa = EVENTQ + (which & ((1 << guest.log2queue) - 1)) * 32;
    const [q0, q1] = [guest.load(gpa), guest.load(gpa + 8)];
    this.#ring(
      0x44n | BigInt(bits & 1) << 12n | BigInt(bits >> 1) << 13n | q0 >> 32n << 32n,
      q1 & 0xffffn,
    );
    return "";
  }

  #command(which: number, stream: number, page: number): string {
    const sid = BigInt(stream) << 32n;
    const commands: [bigint, bigint][] = [
      [0x45n | sid, 0n],
      [0x12n | BigInt(stream + 1) << 48n, BigInt(page) << 12n | 1n],
      [0x03n | sid, 1n],
      [0x40n | sid, BigInt(page) << 12n],
      [0x41n | sid, BigInt(page) | 2n << 12n],
      [0x46n, 0n],
      [0x99n, 0n],
    ];
    this.#ring(...commands[which]);
    return "";
  }

  #register(which: number): string {
    const { smmu } = this.guest;
    const writes: [number, number][] = [
      [0x64, smmu.read32(0x60)],
      [0x1_00ac, smmu.read32(0x1_00a8)],
      [0x1_00ac, smmu.read32(0x1_00ac) + 1],
      [0x1_00cc, smmu.read32(0x1_00c8)],
      [0x20, 0x1e],
      [0x20, 0x1f],
    ];
    this.#write(...writes[which]);
    return "";
  }

  #ring(w0: bigint, w1: bigint): void {
    this.guest.queue(w0, w1);
    this.#prod = (this.#prod + 1) & ((2 << this.guest.log2queue) - 1);
    this.#write(0x98, this.#prod);
  }

  #write(at: number, value: number): void {
    const { smmu, page } = this.guest;
    if (page === undefined) return smmu.write32(at, value >>> 0);
    new Uint32Array(page)[at / 4] = value;
    smmu.look();
  }
}

/** Snapshots. */
export const snapshots: Property = {
  name: "P23 P24: a device that is saved and restored after each step does as if it had not been",
  runs: 40,
  of: (make) =>
    fc.property(
      fc.integer({ min: 1, max: 3 }),
      fc.nat(3),
      fc.boolean(),
      fc.array(step, { maxLength: 40, size: "max" }),
      (stallMax, log2queue, isMapped, steps) => {
        const [kept, renewed] = [
          new Machine(make, stallMax, log2queue + 1, isMapped),
          new Machine(make, stallMax, log2queue + 1, isMapped),
        ];
        for (const [i, step] of steps.entries()) {
          assertEquals(renewed.play(step), kept.play(step), `step ${i}`);
          assertEquals(renewed.visible, kept.visible, `step ${i}`);
          renewed.renew();
        }
        assertEquals(renewed.guest.smmu.snapshot(), kept.guest.smmu.snapshot());
      },
    ),
};
