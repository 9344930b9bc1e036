/**
 * The event queue and its interrupt against a model that is a list of slots and two numbers. IHI 0070 §3.5.3, §7.2, §7.4.
 * @module
 */
import { assert, assertEquals } from "@std/assert";
import { DATA, DOORBELL, EVENTQ, type Guest, NOWHERE } from "../../support/guest.ts";
import { fc, type MakeGuest, type Property } from "./property.ts";

const [CR0, GERROR, GERRORN, IRQ_CTRL] = [0x20, 0x60, 0x64, 0x50];
const [EVENTQ_BASE, PROD, CONS] = [0xa0, 0x1_00a8, 0x1_00ac];
const [EVENTQ_IRQ_CFG0, EVENTQ_IRQ_CFG1] = [0xb0, 0xb8];
const FLAG = 0x8000_0000;
const ABT_ERR = 1 << 2;
/** A stream whose pages fault, and one whose page does not. */
const [FAULTING, SILENT] = [1, 2];

type Step =
  | { readonly op: "fault" | "success" | "read" | "acknowledge" }
  | { readonly op: "cons" | "prod"; readonly value: number }
  | { readonly op: "enable" | "interrupt" | "place"; readonly on: boolean };

const value = fc.oneof(
  fc.nat(31),
  fc.nat(31).map((low) => (low | FLAG) >>> 0),
  fc.nat(0xffff_ffff),
);
const step: fc.Arbitrary<Step> = fc.oneof(
  { weight: 8, arbitrary: fc.record({ op: fc.constant("fault" as const) }) },
  {
    weight: 5,
    arbitrary: fc.record({ op: fc.constantFrom("read" as const, "acknowledge", "success") }),
  },
  { weight: 2, arbitrary: fc.record({ op: fc.constantFrom("cons" as const, "prod"), value }) },
  {
    weight: 2,
    arbitrary: fc.record({
      op: fc.constantFrom("enable" as const, "interrupt", "place"),
      on: fc.boolean(),
    }),
  },
);

/** The queue as §7.2 and §7.4 say it. */
class Model {
  prod = 0;
  cons = 0;
  enabled = true;
  interrupts = true;
  /** Whether RAM is where the queue is said to be. */
  isThere = true;
  error = 0;
  acknowledged = 0;
  told = 0;
  /** How often software took some records and not all. */
  left = 0;
  /** Number of the fault in each slot that was written. */
  readonly slots: (number | undefined)[] = [];
  readonly #size: number;
  readonly #mask: number;

  constructor(log2size: number) {
    this.#size = 1 << log2size;
    this.#mask = 2 * this.#size - 1;
  }

  fault(number: number): void {
    if (!this.enabled || this.error !== this.acknowledged) return;
    const distance = (this.prod ^ this.cons) & this.#mask;
    const isAcknowledged = ((this.prod ^ this.cons) & FLAG) === 0;
    if (distance === this.#size) {
      if (isAcknowledged) this.prod = (this.prod ^ FLAG) >>> 0;
    } else if (!this.isThere) this.error ^= ABT_ERR;
    else {
      this.slots[this.prod & (this.#size - 1)] = number;
      this.prod = ((this.prod & FLAG) | ((this.prod + 1) & this.#mask)) >>> 0;
      if (distance === 0 && this.interrupts) this.told++;
    }
  }
}

/** A guest with its queue, and what it is compared with. */
class Scene {
  readonly guest: Guest;
  readonly model: Model;
  readonly #log2size: number;
  readonly #byMessage: boolean;
  #faults = 0;

  constructor(make: MakeGuest, log2size: number, byMessage: boolean) {
    this.#log2size = log2size;
    this.#byMessage = byMessage;
    this.guest = make({ log2queue: log2size });
    this.model = new Model(log2size);
    const { guest } = this;
    guest.stage1(FAULTING);
    const { root } = guest.stage1(SILENT);
    guest.map(root, 0n, DATA);
    if (!byMessage) return;
    guest.smmu.write32(IRQ_CTRL, 0);
    guest.smmu.write32(EVENTQ_IRQ_CFG0, DOORBELL);
    guest.smmu.write32(EVENTQ_IRQ_CFG1, 0x33);
    guest.smmu.write32(IRQ_CTRL, 0b101);
  }

  act(step: Step): void {
    const { guest, model } = this;
    const { smmu } = guest;
    switch (step.op) {
      case "fault":
        assertEquals(guest.dmaRead(FAULTING, BigInt(++this.#faults) << 12n), undefined);
        return model.fault(this.#faults);
      case "success":
        assertEquals(guest.dmaRead(SILENT, 0n), [0]);
        return;
      case "read":
        return this.act({ op: "cons", value: (model.cons & FLAG) | (model.prod & ~FLAG) });
      case "acknowledge":
        smmu.write32(GERRORN, model.error);
        model.acknowledged = model.error;
        return this.act({ op: "cons", value: model.prod });
      case "cons":
        smmu.write32(CONS, step.value);
        model.cons = (step.value & 0x800f_ffff) >>> 0;
        if (((model.cons ^ model.prod) & ~FLAG) !== 0) model.left++;
        return;
      case "prod":
        smmu.write32(PROD, step.value);
        if (!model.enabled) model.prod = (step.value & 0x800f_ffff) >>> 0;
        return;
      case "enable":
        smmu.write32(CR0, step.on ? 0xd : 0x9);
        model.enabled = step.on;
        return;
      case "interrupt":
        smmu.write32(IRQ_CTRL, step.on ? 0b101 : 0b001);
        model.interrupts = step.on;
        return;
      case "place":
        smmu.write32(EVENTQ_BASE, (step.on ? EVENTQ : NOWHERE) | this.#log2size);
        if (!model.enabled) model.isThere = step.on;
    }
  }

  compare(): void {
    const { guest, model } = this;
    const { smmu } = guest;
    assertEquals(
      { prod: smmu.read32(PROD), cons: smmu.read32(CONS), error: smmu.read32(GERROR) },
      { prod: model.prod, cons: model.cons, error: model.error },
    );
    const told = this.#byMessage ? guest.messages.length : guest.eventq.pulses;
    // Software that empties the queue unseen may have missed a record: of that it is told again.
    const most = model.told + (guest.isMapped ? model.left : 0);
    assert(told >= model.told && told <= most, `${told} interrupts, not ${model.told} to ${most}`);
    for (let slot = 0; slot < 1 << this.#log2size; slot++) {
      const gpa = EVENTQ + slot * 32;
      const number = model.slots[slot];
      const record = number === undefined ? [0n, 0n] : [0x1_0000_0010n, BigInt(number) << 12n];
      assertEquals([guest.load(gpa), guest.load(gpa + 16)], record, `slot ${slot}`);
    }
  }
}

/** The event queue. */
export const eventQueue: Property = {
  name:
    "P1 P3 P5 P16: the event queue does what a list of slots would, and tells each change from empty",
  runs: 120,
  of: (make) =>
    fc.property(
      fc.nat(3),
      fc.boolean(),
      fc.array(step, { maxLength: 40, size: "max" }),
      (log2size, byMessage, steps) => {
        const scene = new Scene(make, log2size, byMessage);
        for (const step of steps) {
          scene.act(step);
          scene.compare();
        }
      },
    ),
};
