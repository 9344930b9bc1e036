/**
 * The event queue as a queue, its errors and its interrupts. IHI 0070 §3.5.1, §7.2, §7.4, §7.5, §3.18.
 * @module
 */
import { assertEquals } from "@std/assert";
import {
  altered,
  DATA,
  DOORBELL,
  EVENTQ,
  Guest,
  type GuestOptions,
  NOWHERE,
  RAM,
} from "../support/guest.ts";

const PROD = 0x1_00a8;
const CONS = 0x1_00ac;
const GERROR = 0x60;
const GERRORN = 0x64;
const OVERFLOW = 0x8000_0000;

/** Makes an event that says which: C_BAD_STE of stream `id`. */
function event(guest: Guest, id: number): void {
  assertEquals(guest.dmaRead(id, 0n), undefined);
}

function streams(guest: Guest): number[] {
  return guest.events().map(([quad]) => Number(quad >> 32n));
}

/** Moves the queue while it is disabled. */
function rebase(guest: Guest, base: number, log2size: number, high: number = 0): void {
  guest.smmu.write32(0x20, 0x9);
  guest.smmu.write32(0xa0, (base | log2size) >>> 0);
  guest.smmu.write32(0xa4, high);
  guest.smmu.write32(0x20, 0xd);
}

/** Programs a message; IRQ_CTRL must be off meanwhile. */
function setMessage(guest: Guest, cfg0: number, gpa: number, data: number): void {
  guest.smmu.write32(0x50, 0);
  guest.smmu.write32(cfg0, gpa);
  guest.smmu.write32(cfg0 + 8, data);
  guest.smmu.write32(0x50, 5);
}

Deno.test("records arrive in order over many laps of every small size", async (t) => {
  for (const log2queue of [0, 1, 2, 3, 4]) {
    await t.step(`2^${log2queue} entries`, () => {
      const guest = new Guest({ log2queue });
      for (let i = 0; i < 40; i++) {
        const batch = Array.from({ length: 1 + i % (1 << log2queue) }, (_, k) => (i + k) % 64);
        for (const id of batch) event(guest, id);
        assertEquals(streams(guest), batch);
      }
      assertEquals((guest.smmu.read32(PROD) & OVERFLOW) >>> 0, 0);
    });
  }
});

Deno.test("a full queue drops records and says so once until acknowledged; recording resumes with space", () => {
  const guest = new Guest({ log2queue: 2 });
  const { smmu } = guest;
  for (const id of [1, 2, 3, 4]) event(guest, id);
  assertEquals(smmu.read32(PROD), 4, "full, but nothing lost");
  for (const id of [5, 6, 7]) {
    event(guest, id);
    assertEquals(smmu.read32(PROD), (OVERFLOW | 4) >>> 0, "toggles once, not back");
  }
  smmu.write32(CONS, 2); // two consumed, overflow not acknowledged
  event(guest, 8);
  event(guest, 9);
  assertEquals(smmu.read32(PROD), (OVERFLOW | 6) >>> 0);
  event(guest, 10);
  assertEquals(smmu.read32(PROD), (OVERFLOW | 6) >>> 0, "a second overflow cannot be told");
  assertEquals(streams(guest), [3, 4, 8, 9], "acknowledges, too");
  for (const id of [11, 12, 13, 14, 15]) event(guest, id);
  assertEquals(smmu.read32(PROD), 2, "toggles again, to zero");
  assertEquals(guest.eventq.pulses, 2, "an interrupt for each change from empty only");
});

Deno.test("a disabled queue drops silently", () => {
  const guest = new Guest();
  guest.smmu.write32(0x20, 0x9);
  event(guest, 1);
  assertEquals([guest.smmu.read32(PROD), guest.smmu.read32(GERROR), guest.eventq.pulses], [
    0,
    0,
    0,
  ]);
  guest.smmu.write32(0x20, 0xd);
  event(guest, 2);
  assertEquals(streams(guest), [2]);
});

Deno.test("LOG2SIZE beyond IDR1.EVENTQS counts as EVENTQS; the base is aligned down to the size", () => {
  const guest = new Guest({ features: { log2EventQueue: 3 }, log2queue: 3 });
  rebase(guest, EVENTQ + 0xe0, 31);
  for (let id = 0; id < 9; id++) event(guest, id);
  assertEquals(guest.smmu.read32(PROD), (OVERFLOW | 8) >>> 0);
  assertEquals(streams(guest), [0, 1, 2, 3, 4, 5, 6, 7]);
});

Deno.test("address bits beyond the OAS are truncated", () => {
  const guest = new Guest({ features: { oas: 36 } });
  rebase(guest, EVENTQ, 4, 0x000f_fff0);
  event(guest, 3);
  assertEquals(streams(guest), [3]);
});

Deno.test("indices that contradict each other never write outside the queue", () => {
  const guest = new Guest({ log2queue: 2 });
  const around = (): number[] => [EVENTQ - 32, EVENTQ + 4 * 32].map((gpa) => guest.word(gpa));
  for (let cons = 0; cons < 8; cons++) {
    for (let prod = 0; prod < 8; prod++) {
      guest.smmu.write32(0x20, 0x9);
      guest.smmu.write32(PROD, prod);
      guest.smmu.write32(CONS, cons);
      guest.smmu.write32(0x20, 0xd);
      for (let id = 0; id < 10; id++) event(guest, id);
      assertEquals(around(), [0, 0], `prod ${prod}, cons ${cons}`);
    }
  }
});

Deno.test("an aborted record raises EVENTQ_ABT_ERR, and nothing is recorded until it is acknowledged", () => {
  const guest = new Guest();
  const { smmu } = guest;
  rebase(guest, NOWHERE, 4);
  event(guest, 1);
  assertEquals([smmu.read32(GERROR), smmu.read32(PROD)], [0x4, 0]);
  assertEquals([guest.gerror.pulses, guest.eventq.pulses], [1, 0]);
  rebase(guest, EVENTQ, 4);
  event(guest, 2);
  assertEquals(smmu.read32(PROD), 0);
  smmu.write32(GERRORN, 0x4);
  event(guest, 3);
  assertEquals(streams(guest), [3]);
  assertEquals([smmu.read32(GERROR), guest.gerror.pulses], [0x4, 1]);
});

Deno.test("the interrupt is one edge or one message for each change from empty to not empty", async (t) => {
  const cases: {
    name: string;
    options?: GuestOptions;
    gpa: number;
    pulses: number;
    messages?: number;
    ram?: number;
    gerror?: number;
  }[] = [
    { name: "ADDR 0: wired", gpa: 0, pulses: 2 },
    { name: "doorbell", gpa: DOORBELL, pulses: 0, messages: 2 },
    { name: "RAM", gpa: DATA, pulses: 0, ram: 0xcafe },
    { name: "nowhere", gpa: NOWHERE, pulses: 0, gerror: 0x20 },
    { name: "without IDR0.MSI", options: { features: { msi: false } }, gpa: DATA, pulses: 2 },
  ];
  for (const { name, options, gpa, pulses, messages = 0, ram = 0, gerror = 0 } of cases) {
    await t.step(name, () => {
      const guest = new Guest(options);
      setMessage(guest, 0xb0, gpa, 0xcafe);
      event(guest, 1);
      event(guest, 2);
      assertEquals(streams(guest), [1, 2]);
      event(guest, 3);
      assertEquals(guest.eventq.pulses, pulses);
      assertEquals(guest.messages, new Array(messages).fill({ gpa: DOORBELL, data: 0xcafe }));
      assertEquals([guest.word(DATA), guest.word(DATA + 4)], [ram, 0]);
      assertEquals(guest.smmu.read32(GERROR), gerror);
      assertEquals(guest.gerror.pulses, gerror === 0 ? 0 : 1);
    });
  }
});

Deno.test("the message comes when the record and EVENTQ_PROD can be seen", () => {
  const seen: number[] = [];
  const guest: Guest = new Guest({
    wrap: (ram) =>
      altered(ram, {
        store: (gpa, from) => {
          seen.push(guest.smmu.read32(PROD));
          return ram.store(gpa, from);
        },
        store32: (gpa, value) => {
          seen.push(guest.smmu.read32(PROD), guest.word(EVENTQ) & 0xff);
          return ram.store32(gpa, value);
        },
      }),
  });
  setMessage(guest, 0xb0, DATA, 1);
  event(guest, 1);
  assertEquals(seen, [0, 1, 0x04]);
});

Deno.test("interrupts that are not enabled do not happen, and not later either", () => {
  const guest = new Guest();
  guest.smmu.write32(0x50, 0);
  event(guest, 1);
  guest.command(0xffn);
  guest.smmu.write32(0x50, 5);
  event(guest, 2);
  assertEquals([guest.eventq.pulses, guest.gerror.pulses], [0, 0]);
  assertEquals(guest.smmu.read32(GERROR), 1);
});

Deno.test("a global error is told by wire or message; an aborted message is an error that is not told", async (t) => {
  const cases = [
    { name: "wired", gpa: 0, pulses: 1, gerror: 0x01 },
    { name: "doorbell", gpa: DOORBELL, pulses: 0, messages: 1, gerror: 0x01 },
    { name: "nowhere", gpa: NOWHERE, pulses: 0, gerror: 0x81 },
  ];
  for (const { name, gpa, pulses, messages = 0, gerror } of cases) {
    await t.step(name, () => {
      const guest = new Guest();
      setMessage(guest, 0x68, gpa, 0xbeef);
      guest.command(0xffn);
      assertEquals([guest.smmu.read32(GERROR), guest.gerror.pulses], [gerror, pulses]);
      assertEquals(guest.messages, new Array(messages).fill({ gpa: DOORBELL, data: 0xbeef }));
      // Acknowledged one after the other; the message fails again each time.
      guest.smmu.write32(GERRORN, 0x01);
      assertEquals(guest.smmu.read32(GERROR), gerror & ~0x01);
    });
  }
});

Deno.test("an aborted GERROR message is not tried again for its own error", () => {
  const tried: number[] = [];
  const guest = new Guest({
    wrap: (ram) => altered(ram, { store32: (gpa) => tried.push(gpa) === 0 }),
  });
  setMessage(guest, 0x68, NOWHERE, 1);
  guest.command(0xffn);
  assertEquals([tried, guest.smmu.read32(GERROR)], [[NOWHERE], 0x81]);
});

Deno.test("GERRORN that differs from GERROR in an inactive error makes it active, as literally written", () => {
  const guest = new Guest();
  guest.smmu.write32(GERRORN, 0x4);
  event(guest, 1);
  assertEquals(guest.smmu.read32(PROD), 0, "EVENTQ_ABT_ERR is active");
  assertEquals(guest.smmu.read32(GERROR), 0, "though the device did not raise it");
  guest.smmu.write32(GERRORN, 0);
  event(guest, 2);
  assertEquals(streams(guest), [2]);
  assertEquals(guest.memory.getUint8(EVENTQ - RAM), 0x04);
});
