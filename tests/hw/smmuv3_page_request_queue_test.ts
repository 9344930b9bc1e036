/**
 * The PRI queue against a model of it that was written from §8, §8.1 and §8.2 alone.
 * @module
 */
import { assertEquals } from "@std/assert";
import { type PageRequestKind, PageResponse } from "../../hw/smmuv3/endpoint_port.ts";
import { SmmuV3 } from "../../hw/smmuv3/smmuv3.ts";
import { GuestRam } from "../../hw/guest_memory.ts";
import { CountingLine } from "../support/guest.ts";
import { Random } from "../../vmm/random.ts";

const RAM = 0x4000_0000;
const QUEUE = RAM + 0x1000;
const NOWHERE = 0x2000_0000;
const DOORBELL = 0x800_0000;
const [CR0, IRQ_CTRL, GERROR, GERRORN] = [0x20, 0x50, 0x60, 0x64];
const [BASE, CFG0, CFG1, CFG2] = [0xc0, 0xd0, 0xd8, 0xdc];
const [PROD, CONS] = [0x1_00c8, 0x1_00cc];
const ABORTED = 1 << 3;
const MSI_ABORTED = 1 << 6;

type Answer = [streamId: number, substreamId: number, group: number, response: number];

interface Machine {
  memory: DataView;
  answers: Answer[];
  messages: number[];
  priq: CountingLine;
  make: () => SmmuV3;
  smmu: SmmuV3;
}

function machine(features: Record<string, unknown> = { ats: true, pri: true }): Machine {
  const ram = new GuestRam();
  const memory = new DataView(new ArrayBuffer(0x2000));
  ram.map(RAM, memory.buffer as ArrayBuffer);
  const answers: Answer[] = [];
  const messages: number[] = [];
  const priq = new CountingLine();
  const make = (): SmmuV3 =>
    new SmmuV3({
      memory: ram,
      features,
      lines: { priq },
      msi: { send: (gpa, data) => gpa === DOORBELL && messages.push(data) > 0 },
      endpoints: { invalidate: () => true, respond: (...answer) => void answers.push(answer) },
    });
  return { memory, answers, messages, priq, make, smmu: make() };
}

function kindOf(bits: number): PageRequestKind {
  const has = (bit: number): boolean => ((bits >>> bit) & 1) === 1;
  return { privileged: has(0), execute: has(1), read: has(2), write: has(3), last: has(4) };
}

/** What the manual says of one queue, in its own words. */
class Model {
  smmuen = false;
  priqen = false;
  prod = 0;
  cons = 0;
  ovflg = false;
  ack = false;
  lo = false;
  irqen = false;
  inError = false;
  log2size = 2;
  abort = false;
  pulses = 0;
  readonly answers: Answer[] = [];
  readonly slots = new Map<number, [bigint, bigint]>();

  request(sid: number, ssid: number, page: bigint, group: number, bits: number): void {
    const { read, write, last } = kindOf(bits);
    const stop = ssid >= 0 && last && !read && !write;
    if (!this.smmuen || !this.priqen || this.inError) return this.fail(sid, group, stop);
    const size = 1 << this.log2size;
    const used = (this.prod - this.cons) & (2 * size - 1);
    if (this.ovflg !== this.ack || used === size) {
      if (this.ovflg === this.ack) this.ovflg = !this.ovflg;
      if (last && !stop) this.answers.push([sid, ssid, group, PageResponse.Success]);
      return;
    }
    if (this.abort) {
      this.inError = true;
      return this.fail(sid, group, stop);
    }
    const permissions = BigInt(ssid < 0 ? bits & 0b11100 : bits) << 58n;
    const substream = ssid < 0 ? 0n : (BigInt(ssid) << 32n) | (1n << 63n);
    this.slots.set(this.prod & (size - 1), [
      BigInt(sid) | substream | permissions,
      BigInt(group) | page,
    ]);
    this.prod = (this.prod + 1) & (2 * size - 1);
    if (this.irqen && (this.lo ? last : used === 0)) this.pulses++;
  }

  fail(sid: number, group: number, stop: boolean): void {
    if (!stop) this.answers.push([sid, -1, group, PageResponse.Denied]);
  }
}

Deno.test("random requests, consumption, acknowledgements, errors and snapshots end as the model says", () => {
  const random = new Random();
  const { memory, answers, priq, make, smmu: first } = machine();
  let smmu = first;
  const model = new Model();
  smmu.write32(BASE, QUEUE | model.log2size);
  const seen = { overflow: 0, abort: 0, tell: 0 };
  for (let i = 0; i < 8_000; i++) {
    switch (random.below(12)) {
      case 0: {
        const bits = random.of([0, 1, 2, 3, 3, 3, 3]);
        [model.smmuen, model.priqen] = [(bits & 1) === 1, (bits & 2) === 2];
        smmu.write32(CR0, bits);
        assertEquals(smmu.read32(CR0 + 4), bits);
        break;
      }
      case 1: {
        // The base is guarded while the queue is enabled.
        const base = random.of([QUEUE, QUEUE, NOWHERE]);
        const log2size = random.below(4);
        smmu.write32(BASE, base | log2size);
        if (model.priqen) break;
        model.abort = base === NOWHERE;
        model.log2size = log2size;
        model.slots.clear();
        smmu.write32(PROD, 0);
        smmu.write32(CONS, 0);
        [model.prod, model.cons, model.ovflg, model.ack] = [0, 0, false, false];
        break;
      }
      case 2:
        [model.irqen, model.lo] = [random.chance(0.8), random.chance(0.5)];
        smmu.write32(IRQ_CTRL, 0);
        smmu.write32(CFG2, model.lo ? 0x8000_0000 : 0);
        smmu.write32(IRQ_CTRL, model.irqen ? 2 : 0);
        break;
      case 3: {
        const used = (model.prod - model.cons) & ((2 << model.log2size) - 1);
        model.cons = (model.cons + random.below(used + 1)) & ((2 << model.log2size) - 1);
        if (random.chance(0.5)) model.ack = model.ovflg;
        smmu.write32(CONS, ((model.ack ? 0x8000_0000 : 0) | model.cons) >>> 0);
        break;
      }
      case 4:
        model.inError = false;
        smmu.write32(GERRORN, smmu.read32(GERROR));
        break;
      case 5: {
        if (random.chance(0.8)) break;
        const fresh = make();
        fresh.restore(JSON.parse(JSON.stringify(smmu.snapshot())));
        smmu = fresh;
        break;
      }
      default: {
        const [sid, ssid] = [random.below(0x10000), random.of([-1, 0, 1, 0xfffff])];
        const [lo, hi] = [random.below(2 ** 32), random.below(2 ** 32)];
        const [group, bits] = [random.below(512), random.below(32)];
        const page = (BigInt(hi) << 32n) | BigInt((lo & 0xffff_f000) >>> 0);
        const before = [model.ovflg, model.inError, model.pulses];
        model.request(sid, ssid, page, group, bits);
        smmu.requestPage({ streamId: sid, substreamId: ssid }, lo, hi, group, kindOf(bits));
        seen.overflow += Number(before[0] !== model.ovflg);
        seen.abort += Number(before[1] !== model.inError);
        seen.tell += Number(before[2] !== model.pulses);
      }
    }
    const where = `${random}, step ${i}`;
    assertEquals(
      [smmu.read32(PROD), smmu.read32(0xc8), smmu.read32(CONS)],
      [model.ovflg, model.ovflg, model.ack].map((flag, at) =>
        ((flag ? 0x8000_0000 : 0) | (at < 2 ? model.prod : model.cons)) >>> 0
      ),
      where,
    );
    const active = smmu.read32(GERROR) ^ smmu.read32(GERRORN);
    assertEquals(active, model.inError ? ABORTED : 0, where);
    assertEquals(answers.splice(0), model.answers.splice(0), where);
    assertEquals(priq.pulses, model.pulses, where);
    for (const [slot, [w0, w1]] of model.slots) {
      const at = QUEUE - RAM + slot * 16;
      assertEquals(
        [memory.getBigUint64(at, true), memory.getBigUint64(at + 8, true)],
        [w0, w1],
        where,
      );
    }
  }
  for (const [what, count] of Object.entries(seen)) {
    assertEquals(count > 20, true, `${what} ${count}`);
  }
});

Deno.test("the message of the queue goes where it is programmed, and says when it could not", () => {
  const { smmu, messages, priq } = machine();
  const ask = (): void => {
    smmu.write32(CONS, smmu.read32(PROD));
    smmu.requestPage({ streamId: 1, substreamId: -1 }, 0, 0, 1, kindOf(0b10100));
  };
  smmu.write32(BASE, QUEUE | 2);
  smmu.write32(CFG0, DOORBELL);
  smmu.write32(CFG1, 77);
  smmu.write32(IRQ_CTRL, 2);
  smmu.write32(CFG1, 78); // guarded
  smmu.write32(CR0, 3);
  ask();
  assertEquals([messages, priq.pulses, smmu.read32(GERROR)], [[77], 0, 0]);
  smmu.write32(IRQ_CTRL, 0);
  smmu.write32(CFG0, NOWHERE);
  smmu.write32(IRQ_CTRL, 2);
  ask();
  assertEquals([messages, priq.pulses, smmu.read32(GERROR)], [[77], 0, MSI_ABORTED]);
});

Deno.test("without the feature its registers and bits read zero, whatever was written", () => {
  for (const features of [{}, { ats: true }, { ats: true, msi: false }]) {
    const { smmu } = machine(features);
    smmu.write32(GERRORN, 0xffff_ffff);
    assertEquals(smmu.read32(GERRORN) & (ABORTED | MSI_ABORTED), 0);
    for (const at of [BASE, BASE + 4, CFG0, CFG0 + 4, CFG1, CFG2, PROD, CONS, 0xc8, 0xcc]) {
      smmu.write32(at, 0xffff_ffff);
      assertEquals(smmu.read32(at), 0, `${at.toString(16)}`);
    }
    smmu.write32(IRQ_CTRL, 7);
    smmu.write32(CR0, 0xffff_ffff);
    const atschk = "ats" in features ? 0x10 : 0;
    assertEquals([smmu.read32(IRQ_CTRL + 4), smmu.read32(CR0 + 4)], [5, 0xd | atschk]);
    assertEquals([(smmu.read32(4) >>> 11) & 31, (smmu.read32(0xc) >>> 5) & 1], [0, 0]);
  }
});
