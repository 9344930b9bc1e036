/**
 * The command queue against a model that is a list of slots and two numbers. IHI 0070 §3.5.1, §7.1, §6.3.19.
 * @module
 */
import { assertEquals } from "@std/assert";
import { CMDQ, DATA, type Guest } from "../../support/guest.ts";
import { fc, type MakeGuest, type Property } from "./property.ts";

const CR0 = 0x20;
const GERROR = 0x60;
const GERRORN = 0x64;
const PROD = 0x98;
const CONS = 0x9c;
const ENABLED = 0x8;

/** What a slot holds: a CMD_SYNC that writes its number, something harmless, or something illegal. */
type Kind = "sync" | "harmless" | "reserved" | "secure" | "CS=3";

type Step =
  | { readonly op: "put"; readonly slot: number; readonly kind: Kind }
  | { readonly op: "prod" | "cons" | "acknowledge"; readonly value: number }
  | { readonly op: "advance"; readonly by: number }
  | { readonly op: "enable"; readonly on: boolean };

const step: fc.Arbitrary<Step> = fc.oneof(
  {
    weight: 4,
    arbitrary: fc.record({
      op: fc.constant("put" as const),
      slot: fc.nat(15),
      kind: fc.constantFrom<Kind>("sync", "harmless", "harmless", "reserved", "secure", "CS=3"),
    }),
  },
  { weight: 4, arbitrary: fc.record({ op: fc.constant("advance" as const), by: fc.nat(16) }) },
  { weight: 1, arbitrary: fc.record({ op: fc.constant("enable" as const), on: fc.boolean() }) },
  {
    weight: 3,
    arbitrary: fc.record({
      op: fc.constantFrom("prod" as const, "cons" as const, "acknowledge" as const),
      value: fc.oneof(fc.nat(63), fc.nat(0xffff_ffff)),
    }),
  },
);

/** The queue as §3.5.1 and §7.1 say it. */
class Model {
  readonly slots: Kind[];
  prod = 0;
  cons = 0;
  error = 0;
  enabled = true;
  /** CMDQ_ERR in GERROR and in GERRORN. */
  raised = 0;
  acknowledged = 0;
  /** Numbers of the slots whose CMD_SYNC was signalled, in order. */
  readonly signals: number[] = [];
  readonly #mask: number;
  readonly #size: number;

  constructor(log2size: number) {
    this.#size = 1 << log2size;
    this.#mask = 2 * this.#size - 1;
    this.slots = new Array(this.#size).fill("harmless");
  }

  consume(): void {
    if (!this.enabled || this.raised !== this.acknowledged) return;
    const from = this.cons & this.#mask;
    const filled = (this.prod - from) & this.#mask;
    if (filled === 0 || filled > this.#size) return;
    for (let i = 0; i < filled; i++) {
      const at = (from + i) & this.#mask;
      const slot = at % this.#size;
      const kind = this.slots[slot];
      if (kind === "sync") this.signals.push(slot);
      else if (kind !== "harmless") {
        this.cons = at;
        this.error = 1;
        this.raised ^= 1;
        return;
      }
    }
    this.cons = this.prod & this.#mask;
    this.error = 0;
  }
}

const WORDS: Record<Kind, bigint> = {
  sync: 0x46n | (1n << 12n),
  harmless: 0x30n,
  reserved: 0x99n,
  secure: 0x01n | (1n << 10n),
  "CS=3": 0x46n | (3n << 12n),
};

function put(guest: Guest, slot: number, kind: Kind): void {
  guest.quad(CMDQ + slot * 16, WORDS[kind] | (kind === "sync" ? BigInt(slot + 1) << 32n : 0n));
  guest.quad(CMDQ + slot * 16 + 8, kind === "sync" ? BigInt(DATA) : 0n);
}

function play(make: MakeGuest, log2queue: number, steps: readonly Step[]): void {
  const signals: number[] = [];
  const guest: Guest = make({
    log2queue,
    observer: {
      command: () => {},
      translation: () => {},
      transfer: () => {},
      event: () => {},
      interrupt: (source, gpa) => {
        if (source === "cmd_sync" && gpa >= 0) signals.push(guest.word(DATA) - 1);
      },
    },
  });
  const model = new Model(log2queue);
  for (let slot = 0; slot < 1 << log2queue; slot++) put(guest, slot, "harmless");
  for (const step of steps) {
    act(guest, model, log2queue, step);
    const expected = [model.prod >>> 0, model.raised, model.acknowledged, model.signals.join()];
    const found = [
      guest.smmu.read32(PROD),
      guest.smmu.read32(GERROR),
      guest.smmu.read32(GERRORN),
      signals.join(),
    ];
    assertEquals(found, expected);
    assertEquals(guest.smmu.read32(CONS), (model.cons | (model.error << 24)) >>> 0, "CMDQ_CONS");
  }
}

function act(guest: Guest, model: Model, log2queue: number, step: Step): void {
  const { smmu } = guest;
  switch (step.op) {
    case "put": {
      const slot = step.slot % (1 << log2queue);
      model.slots[slot] = step.kind;
      return put(guest, slot, step.kind);
    }
    case "advance":
      return act(guest, model, log2queue, {
        op: "prod",
        value: (model.cons + step.by) & ((2 << log2queue) - 1),
      });
    case "prod":
      model.prod = step.value & 0xf_ffff;
      smmu.write32(PROD, step.value);
      return model.consume();
    case "cons":
      smmu.write32(CONS, step.value);
      if (model.enabled) return;
      model.cons = step.value & 0xf_ffff;
      model.error = (step.value >>> 24) & 0x7f;
      return;
    case "acknowledge":
      // The bits of the other errors are as inactive as they were.
      smmu.write32(GERRORN, step.value & 1);
      model.acknowledged = step.value & 1;
      return model.consume();
    case "enable":
      smmu.write32(CR0, step.on ? ENABLED : 0);
      model.enabled = step.on;
      return model.consume();
  }
}

/** The command queue. */
export const commandQueue: Property = {
  name:
    "P1 P2 P5 P6 P9: the command queue does what a list of slots would, whatever is written to it",
  runs: 150,
  of: (make) =>
    fc.property(
      fc.nat(4),
      fc.array(step, { maxLength: 40, size: "max" }),
      (log2queue, steps) => play(make, log2queue, steps),
    ),
};
