/**
 * Registers that are memory: the same device as one whose accesses trap. IHI 0070 §3.18, §6.2, §6.3.
 * @module
 */
import { assert, assertEquals } from "@std/assert";
import type { MsiPort } from "../../hw/device.ts";
import { altered, CMDQ, DATA, DOORBELL, EVENTQ, Guest } from "../support/guest.ts";
import { Random } from "../../vmm/random.ts";

const SPACE = 0x2_0000;
const CR0 = 0x20;
const CR0ACK = 0x24;
const GBPA = 0x44;
const IRQ_CTRL = 0x50;
const IRQ_CTRLACK = 0x54;
const GERROR = 0x60;
const GERRORN = 0x64;
const CMDQ_PROD = 0x98;
const CMDQ_CONS = 0x9c;
const EVENTQ_PROD = 0x1_00a8;
const EVENTQ_CONS = 0x1_00ac;
/** All words of registers, and some that are none. */
const WORDS = [
  ...Array.from({ length: 0x30 }, (_, i) => i * 4),
  0x100,
  0x8020,
  0x1_0000,
  0x1_00a0,
  EVENTQ_PROD,
  EVENTQ_CONS,
  0x1_fffc,
];

/** A guest and its registers in memory. */
class Mapped {
  readonly page = new ArrayBuffer(SPACE);
  readonly words = new Uint32Array(this.page);
  readonly guest: Guest;

  constructor(options: ConstructorParameters<typeof Guest>[0] = {}) {
    this.guest = new Guest({ ...options, page: this.page });
  }

  read(offset: number): number {
    return this.words[offset / 4];
  }

  write(offset: number, value: number): void {
    this.words[offset / 4] = value;
  }

  look(): number {
    return this.guest.smmu.look();
  }

  /** Looks so often that each word of the space had its turn. */
  lookEverywhere(): void {
    for (let i = 0; i < 1024; i++) this.look();
  }

  assertInStep(what: string): void {
    for (let offset = 0; offset < SPACE; offset += 4) {
      const told = this.guest.smmu.read32(offset);
      if (told === this.read(offset)) continue;
      assertEquals(this.read(offset), told, `0x${offset.toString(16)} after ${what}`);
    }
  }
}

/** RAM and registers of two guests are the same. */
function assertAlike(a: Guest, b: Guest, what: string): void {
  for (let offset = 0; offset < SPACE; offset += 4) {
    const [one, other] = [a.smmu.read32(offset), b.smmu.read32(offset)];
    if (one !== other) assertEquals(one, other, `0x${offset.toString(16)} after ${what}`);
  }
  for (const at of [CMDQ, EVENTQ]) {
    for (let i = 0; i < 0x200; i += 8) assertEquals(a.load(at + i), b.load(at + i), what);
  }
}

Deno.test("memory shows what the registers are, from the start, after writes that trap and after a reset", () => {
  const mapped = new Mapped();
  mapped.assertInStep("enabling by writes that trap");
  assertEquals([mapped.read(CR0), mapped.read(CR0ACK)], [0xd, 0xd]);
  assertEquals(mapped.look(), 0);
  mapped.words.fill(0xdead_beef);
  mapped.guest.smmu.reset();
  mapped.assertInStep("a reset");
  assertEquals(mapped.look(), 0);
});

Deno.test("random writes, each looked at, do what they do where they trap", () => {
  const random = new Random();
  for (let round = 0; round < 60; round++) {
    const enabled = random.chance(0.7);
    const trapped = new Guest({ enabled, page: new ArrayBuffer(SPACE) });
    const mapped = new Mapped({ enabled });
    for (const guest of [trapped, mapped.guest]) {
      guest.stage1(1);
      for (let i = 0; i < 12; i++) guest.queue([0x30n, 0x46n, 0x1046n, 0x99n][i % 4], BigInt(DATA));
    }
    for (let step = 0; step < 40; step++) {
      const offset = WORDS[random.below(WORDS.length)];
      const value = random.chance(0.4) ? random.below(32) : random.word();
      const what = `${random}: round ${round}, step ${step}, wrote ${value.toString(16)} at ${
        offset.toString(16)
      }`;
      trapped.smmu.write32(offset, value);
      mapped.write(offset, value);
      mapped.look();
      if (random.chance(0.2)) {
        const stream = random.below(3);
        for (const guest of [trapped, mapped.guest]) guest.dmaWrite(stream, 0x1000n, [1]);
      }
      mapped.lookEverywhere();
      assertEquals(mapped.guest.eventq.pulses, trapped.eventq.pulses, what);
      assertEquals(mapped.guest.gerror.pulses, trapped.gerror.pulses, what);
      assertAlike(trapped, mapped.guest, what);
      mapped.assertInStep(what);
    }
  }
});

Deno.test("a driver that waits for acknowledgements and for nothing else brings the device up", () => {
  const mapped = new Mapped({ enabled: false });
  const steps: [offset: number, value: number][][] = [
    // A base before its guard, in descending order, with the enable first in memory order.
    [[CR0, 0x8], [CMDQ_CONS, 0], [CMDQ_PROD, 0], [0x94, 0x4000_0000], [0x90, CMDQ | 4], [
      0x88,
      6,
    ], [0x80, 0x4010_0000]],
    [[EVENTQ_CONS, 0], [EVENTQ_PROD, 0], [0xa0, EVENTQ | 4], [CR0, 0xc]],
    [[0xb0, DOORBELL], [0xb8, 81], [0x68, DOORBELL], [0x70, 82], [IRQ_CTRL, 5]],
    [[GBPA, 0x8010_0000]],
    [[CR0, 0xd]],
  ];
  for (const step of steps) {
    for (const [offset, value] of step) mapped.write(offset, value);
    mapped.look();
    assertEquals(mapped.read(CR0ACK), mapped.read(CR0));
    assertEquals(mapped.read(IRQ_CTRLACK), mapped.read(IRQ_CTRL));
  }
  assertEquals(mapped.read(GBPA), 0x0010_0000, "Update reads 0 when the update is done");
  assertEquals(mapped.read(0x90), CMDQ | 4);
  assertEquals(mapped.read(0xb8), 81);
  mapped.guest.queue(0x30n);
  mapped.write(CMDQ_PROD, 1);
  assertEquals(mapped.look(), 1);
  assertEquals(mapped.read(CMDQ_CONS), 1);
  assertEquals(mapped.look(), 0);
});

Deno.test("settings that are still on their way when CR0 is seen are waited for", () => {
  const mapped = new Mapped({ enabled: false });
  const { smmu } = mapped.guest;
  mapped.write(CR0, 0x8);
  mapped.write(0x94, 0x4000_0000);
  // As a processor that reorders its stores: each is seen only after the one before was taken.
  const later: [number, number][] = [[0x90, CMDQ | 4], [0x80, 0x4010_0000], [0x28, 0xd75]];
  const seen: number[] = [];
  smmu.look({
    write32(offset, value): void {
      seen.push(offset);
      smmu.write32(offset, value);
      const next = later.shift();
      if (next !== undefined) mapped.write(...next);
    },
  });
  assertEquals(seen, [0x94, 0x90, 0x80, 0x28, CR0]);
});

Deno.test("a guest that never stops writing settings is not waited for", () => {
  const mapped = new Mapped({ enabled: false });
  const { smmu } = mapped.guest;
  mapped.write(CR0, 0x8);
  mapped.write(0x94, 1);
  let count = 0;
  smmu.look({
    write32(offset, value): void {
      smmu.write32(offset, value);
      if (offset !== CR0) mapped.write(offset, value + 1);
      count++;
    },
  });
  assertEquals(mapped.read(CR0ACK), 0x8);
  assert(count < 40, `${count} writes`);
});

Deno.test("a write that comes while another is handled is not lost", () => {
  const late = { at: 0, value: 0 };
  const mapped: Mapped = new Mapped({
    wrap: (ram) =>
      altered(ram, {
        store32: (gpa, value) => {
          mapped.write(late.at, late.value);
          return ram.store32(gpa, value);
        },
      }),
  });
  const { guest } = mapped;
  // CMD_SYNC with a message to RAM, then another command.
  guest.queue(0x1046n, BigInt(DATA));
  guest.queue(0x30n);
  Object.assign(late, { at: CMDQ_PROD, value: 2 });
  mapped.write(CMDQ_PROD, 1);
  mapped.look();
  assertEquals(mapped.read(CMDQ_PROD), 2);
  mapped.look();
  assertEquals(mapped.read(CMDQ_CONS), 2);
});

Deno.test("no interrupt is seen before what it tells of", async (t) => {
  const seen: [gpa: number, offset: number, value: number][] = [];
  const watch = (mapped: Mapped, offset: number): MsiPort["send"] => (gpa) => {
    seen.push([gpa, offset, mapped.read(offset)]);
    return true;
  };
  const make = (offset: number): Mapped => {
    seen.length = 0;
    const mapped: Mapped = new Mapped({
      wrap: (ram) =>
        altered(ram, {
          store32: (gpa, value) => ram.store32(gpa, value) || watch(mapped, offset)(gpa, value),
        }),
    });
    mapped.write(IRQ_CTRL, 0);
    mapped.look();
    for (const cfg of [0x68, 0xb0]) mapped.write(cfg, DOORBELL);
    mapped.write(IRQ_CTRL, 5);
    mapped.look();
    return mapped;
  };
  await t.step("an event", () => {
    const mapped = make(EVENTQ_PROD);
    assertEquals(mapped.guest.dmaRead(1, 0n), undefined);
    assertEquals(seen, [[DOORBELL, EVENTQ_PROD, 1]]);
  });
  await t.step("a global error", () => {
    const mapped = make(GERROR);
    mapped.guest.queue(0xffn);
    mapped.write(CMDQ_PROD, 1);
    mapped.look();
    assertEquals(seen, [[DOORBELL, GERROR, 1]]);
    assertEquals(mapped.read(CMDQ_CONS), 0x0100_0000);
  });
  await t.step("a CMD_SYNC", () => {
    const mapped = make(CMDQ_CONS);
    mapped.guest.queue(0x1046n, BigInt(DOORBELL));
    mapped.write(CMDQ_PROD, 1);
    mapped.look();
    assertEquals(seen, [[DOORBELL, CMDQ_CONS, 1]]);
  });
});

Deno.test("an error stops the queue until software acknowledges it in memory", () => {
  const mapped = new Mapped();
  const { guest } = mapped;
  const culprit = guest.queue(0xffn);
  guest.queue(0x30n);
  mapped.write(CMDQ_PROD, 2);
  mapped.look();
  assertEquals([mapped.read(GERROR), mapped.read(CMDQ_CONS)], [1, 0x0100_0000]);
  guest.quad(culprit, 0x46n);
  mapped.write(CMDQ_PROD, 2);
  mapped.look();
  assertEquals(mapped.read(CMDQ_CONS), 0x0100_0000);
  mapped.write(GERRORN, 1);
  mapped.look();
  assertEquals([mapped.read(GERROR), mapped.read(CMDQ_CONS)], [1, 2]);
});

Deno.test("a full event queue overflows once, and takes records again after the acknowledgement", () => {
  const mapped = new Mapped({ log2queue: 1 });
  for (let i = 0; i < 3; i++) mapped.guest.dmaRead(1, 0n);
  assertEquals(mapped.read(EVENTQ_PROD), 0x8000_0002);
  mapped.write(0xac, 0x8000_0002); // by the alias in page 0
  mapped.look();
  assertEquals(mapped.read(EVENTQ_CONS), 0x8000_0002);
  mapped.guest.dmaRead(1, 0n);
  assertEquals(mapped.read(EVENTQ_PROD), 0x8000_0003);
});

Deno.test("a record that came while software emptied the queue unseen makes its interrupt when that is seen", async (t) => {
  const faults = (mapped: Mapped, count: number): void => {
    for (let i = 0; i < count; i++) mapped.guest.dmaRead(1, 0n);
  };
  await t.step("at the index that software left", () => {
    const mapped = new Mapped();
    faults(mapped, 1);
    mapped.write(EVENTQ_CONS, 1);
    faults(mapped, 1);
    assertEquals(mapped.guest.eventq.pulses, 1);
    mapped.look();
    assertEquals(mapped.guest.eventq.pulses, 2);
    mapped.write(EVENTQ_CONS, 2);
    mapped.look();
    assertEquals(mapped.guest.eventq.pulses, 2);
  });
  await t.step("not when software has yet to read it", () => {
    const mapped = new Mapped();
    faults(mapped, 2);
    mapped.look();
    mapped.write(EVENTQ_CONS, 0);
    faults(mapped, 1);
    mapped.write(EVENTQ_CONS, 3);
    mapped.look();
    faults(mapped, 1);
    assertEquals(mapped.guest.eventq.pulses, 2);
  });
  await t.step("software that works in any order hears of every record", () => {
    const random = new Random();
    const mapped = new Mapped({ log2queue: 3 });
    let heard = 0;
    let cons = 0;
    let prod = 0;
    let isAwake = false;
    for (let step = 0; step < 20_000; step++) {
      const choice = random.below(4);
      if (choice === 0 && ((mapped.read(EVENTQ_PROD) - mapped.read(EVENTQ_CONS)) & 15) < 6) {
        mapped.guest.dmaRead(1, 0n);
      }
      if (choice === 1) mapped.look();
      if (mapped.guest.eventq.pulses !== heard) isAwake = true;
      heard = mapped.guest.eventq.pulses;
      // One step of a driver: it reads EVENTQ_PROD, and sleeps when all that it saw is read; or reads one record.
      if (choice >= 2 && isAwake) {
        if (cons === prod) prod = mapped.read(EVENTQ_PROD) & 15;
        if (cons === prod) isAwake = false;
        else mapped.write(EVENTQ_CONS, cons = (cons + 1) & 15);
      }
      if (isAwake || mapped.read(EVENTQ_CONS) !== mapped.guest.smmu.read32(EVENTQ_CONS)) continue;
      assertEquals(cons, mapped.read(EVENTQ_PROD) & 15, `${random}: step ${step}`);
    }
    assert(heard > 100, `${heard} interrupts`);
  });
});

Deno.test("what was written to memory comes before an access that traps, in the order of a driver", () => {
  const random = new Random();
  for (let round = 0; round < 50; round++) {
    const mapped = new Mapped();
    const { smmu } = mapped.guest;
    const writes: [number, number][] = [];
    mapped.write(CR0, 0);
    smmu.look(smmu, true);
    // STRTAB_BASE, then its guard, some by memory: the guard must not come first.
    const base = random.below(0x1_0000) << 6;
    mapped.write(0x80, base);
    const guardTraps = random.below(2) === 0;
    if (!guardTraps) mapped.write(CR0, 1);
    smmu.look({
      write32: (at, value) => {
        writes.push([at, value]);
        smmu.write32(at, value);
      },
    }, true);
    if (guardTraps) smmu.write32(CR0, 1);
    const expected = [[0x80, base], ...(guardTraps ? [] : [[CR0, 1]])];
    assertEquals(
      writes.filter(([at]) => at === 0x80 || at === CR0),
      base === 0 ? expected.slice(1) : expected,
      `${random}`,
    );
    assertEquals([mapped.read(0x80), mapped.read(CR0ACK)], [base, 1]);
    assertEquals(smmu.look(smmu, true), 0, "nothing is left");
  }
});

Deno.test("a guest that writes everywhere has the registers back, and hurts nobody", () => {
  const random = new Random();
  const mapped = new Mapped();
  const { guest } = mapped;
  guest.ste(1, 0b1001n, 0b1n << 44n); // bypass
  for (let round = 0; round < 50; round++) {
    for (let i = 0; i < 200; i++) mapped.write(random.below(SPACE / 4) * 4, random.word());
    for (let offset = 0; offset < 0x20; offset += 4) mapped.write(offset, random.word());
    for (const offset of [CR0ACK, IRQ_CTRLACK, GERROR]) mapped.write(offset, random.word());
    mapped.lookEverywhere();
    mapped.assertInStep(`${random}: round ${round}`);
  }
  assertEquals(mapped.read(0x00), guest.smmu.read32(0x00));
  const quiet = new Mapped();
  const before = quiet.words.slice();
  for (let offset = 0; offset < SPACE; offset += 4) {
    if (quiet.guest.smmu.read32(offset) === 0 && offset > 0x100 && offset < 0x1_0000) {
      quiet.write(offset, 0xffff_ffff);
    }
  }
  let writes = 0;
  for (let i = 0; i < 1024; i++) writes += quiet.look();
  assertEquals(writes, 0, "what no software can write is no write");
  assertEquals(quiet.words, before);
});

Deno.test("a writer that is not the device sees every write, in order, and the device only what it passes on", () => {
  const mapped = new Mapped();
  const { guest } = mapped;
  guest.queue(0x30n);
  mapped.write(CMDQ_PROD, 1);
  mapped.write(EVENTQ_CONS, 5);
  mapped.write(0x70, 7);
  mapped.write(IRQ_CTRL, 0);
  const seen: [number, number][] = [];
  assertEquals(guest.smmu.look({ write32: (at, value) => void seen.push([at, value]) }) > 0, true);
  assertEquals(seen.at(-1), [IRQ_CTRL, 0]);
  assertEquals(seen.slice(0, 3), [[0x70, 7], [EVENTQ_CONS, 5], [CMDQ_PROD, 1]]);
  assertEquals(guest.smmu.read32(CMDQ_CONS), 0);
});

Deno.test("a glance is enough for what software writes while the device runs, and for settings behind a guard", () => {
  const random = new Random();
  const running = [CR0, GBPA, IRQ_CTRL, GERRORN, CMDQ_PROD, 0xac, EVENTQ_CONS];
  for (let round = 0; round < 15; round++) {
    const trapped = new Guest({ page: new ArrayBuffer(SPACE) });
    const mapped = new Mapped();
    for (const guest of [trapped, mapped.guest]) {
      for (let i = 0; i < 12; i++) guest.queue([0x30n, 0x46n, 0x1046n, 0x99n][i % 4], BigInt(DATA));
    }
    for (let step = 0; step < 20; step++) {
      const offset = running[random.below(running.length)];
      const value = random.chance(0.6) ? random.below(32) : random.word();
      trapped.smmu.write32(offset, value);
      mapped.write(offset, value);
      mapped.guest.smmu.glance();
      assertAlike(trapped, mapped.guest, `${random}: ${value.toString(16)} at ${offset}`);
    }
  }
  const { guest, ...mapped } = new Mapped({ enabled: false });
  mapped.words[0x70 / 4] = 7;
  assertEquals(guest.smmu.glance(), 0);
  mapped.words[IRQ_CTRL / 4] = 1;
  assertEquals([guest.smmu.glance(), guest.smmu.read32(0x70)], [2, 7]);
});
