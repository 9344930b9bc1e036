/**
 * The command queue as a queue: order, wrap, sizes, errors. IHI 0070 §3.5.1, §6.3.26 to §6.3.28, §7.1.
 * @module
 */
import { assertEquals } from "@std/assert";
import type { Observer } from "../../hw/smmuv3/observer.ts";
import { CMDQ, DATA, Guest, type GuestOptions, NOWHERE } from "../support/guest.ts";

const SYNC = 0x46n;
const ILLEGAL = 0xffn;
const CMDQ_PROD = 0x98;
const CMDQ_CONS = 0x9c;
const GERROR = 0x60;
const GERRORN = 0x64;

/** A guest, and the StreamIDs of the CFGI_STE commands that its device consumed, in order. */
function watched(options: GuestOptions = {}): { guest: Guest; seen: number[] } {
  const seen: number[] = [];
  const observer: Observer = {
    command: (words, error) => seen.push(error === 0 ? words[1] : -error),
    translation: () => {},
    transfer: () => {},
    event: () => {},
    interrupt: () => {},
  };
  return { guest: new Guest({ observer, ...options }), seen };
}

/** CMD_CFGI_STE that is recognized by its StreamID. */
function numbered(id: number): bigint {
  return 0x03n | (BigInt(id) << 32n);
}

/** Moves the queue while it is disabled. */
function rebase(guest: Guest, base: number, log2size: number, high: number = 0): void {
  const { smmu } = guest;
  smmu.write32(0x20, 0x5);
  smmu.write32(0x90, (base | log2size) >>> 0);
  smmu.write32(0x94, high);
  smmu.write32(CMDQ_PROD, 0);
  smmu.write32(CMDQ_CONS, 0);
  smmu.write32(0x20, 0xd);
}

Deno.test("commands are consumed in order, each once, over many laps of every small size", async (t) => {
  for (const log2queue of [0, 1, 2, 3, 4]) {
    await t.step(`2^${log2queue} entries`, () => {
      const { guest, seen } = watched({ log2queue });
      const expected: number[] = [];
      for (let batch = 0, id = 1; batch < 40; batch++) {
        for (let i = 0; i <= batch % (1 << log2queue); i++) {
          guest.queue(numbered(id));
          expected.push(id++);
        }
        guest.ring();
        assertEquals(guest.smmu.read32(CMDQ_CONS), guest.smmu.read32(CMDQ_PROD));
      }
      assertEquals(seen, expected);
    });
  }
});

Deno.test("a full queue is consumed whole", () => {
  const { guest, seen } = watched({ log2queue: 3 });
  for (let id = 1; id <= 8; id++) guest.queue(numbered(id));
  guest.ring();
  assertEquals(seen, [1, 2, 3, 4, 5, 6, 7, 8]);
  assertEquals(guest.smmu.read32(CMDQ_CONS), 8);
});

Deno.test("indices that contradict each other consume nothing; all others what lies between", () => {
  const { guest, seen } = watched({ log2queue: 3 });
  for (let id = 1; id <= 8; id++) guest.queue(numbered(id));
  for (let cons = 0; cons < 16; cons++) {
    for (let prod = 0; prod < 16; prod++) {
      guest.smmu.write32(0x20, 0x5);
      guest.smmu.write32(CMDQ_PROD, prod);
      guest.smmu.write32(CMDQ_CONS, cons);
      seen.length = 0;
      guest.smmu.write32(0x20, 0xd);
      const entries = (prod - cons + 16) % 16;
      const consistent = entries <= 8;
      const slots = Array.from({ length: consistent ? entries : 0 }, (_, i) => (cons + i) % 8 + 1);
      assertEquals(seen, slots, `prod ${prod}, cons ${cons}`);
      assertEquals(guest.smmu.read32(CMDQ_CONS), consistent ? prod : cons);
      assertEquals(guest.smmu.read32(GERROR), 0);
    }
  }
});

Deno.test("bits of PROD above the wrap bit have no effect", () => {
  const { guest, seen } = watched({ log2queue: 2 });
  guest.queue(numbered(1));
  guest.smmu.write32(CMDQ_PROD, 0xf_fff1);
  assertEquals([seen, guest.smmu.read32(CMDQ_CONS)], [[1], 1]);
});

Deno.test("LOG2SIZE beyond IDR1.CMDQS counts as CMDQS, and reads back as written", () => {
  const { guest, seen } = watched({ features: { log2CommandQueue: 2 }, log2queue: 2 });
  rebase(guest, CMDQ, 31);
  assertEquals(guest.smmu.read32(0x90), CMDQ | 31);
  for (let id = 1; id <= 4; id++) guest.queue(numbered(id));
  guest.ring();
  assertEquals([seen, guest.smmu.read32(CMDQ_CONS)], [[1, 2, 3, 4], 4]);
  guest.command(numbered(5));
  assertEquals([seen.at(-1), guest.smmu.read32(CMDQ_CONS)], [5, 5]);
});

Deno.test("the base is aligned down to the queue's size, at least 32 bytes", async (t) => {
  const cases = [
    { name: "2^4 entries", offset: 0xe0, log2size: 4 },
    { name: "2^8 entries", offset: 0xfe0, log2size: 8 },
    { name: "one entry", offset: 0, log2size: 0 },
  ];
  for (const { name, offset, log2size } of cases) {
    await t.step(name, () => {
      const { guest, seen } = watched({ log2queue: log2size });
      rebase(guest, CMDQ + offset, log2size);
      guest.command(numbered(7));
      assertEquals(seen, [7]);
    });
  }
});

Deno.test("address bits beyond the OAS are truncated", () => {
  const { guest, seen } = watched({ features: { oas: 36 } });
  rebase(guest, CMDQ, 4, 0x000f_fff0);
  guest.command(numbered(7));
  assertEquals(seen, [7]);
});

Deno.test("CMDQEN=0 consumes nothing; CMDQEN=1 consumes what is there", () => {
  const { guest, seen } = watched();
  guest.smmu.write32(0x20, 0x5);
  guest.queue(numbered(1));
  guest.queue(numbered(2));
  guest.ring();
  assertEquals([seen, guest.smmu.read32(CMDQ_CONS)], [[], 0]);
  guest.smmu.write32(0x20, 0xd);
  assertEquals([seen, guest.smmu.read32(CMDQ_CONS)], [[1, 2], 2]);
});

Deno.test("an illegal command stops the queue at itself until GERRORN acknowledges", () => {
  const { guest, seen } = watched();
  guest.queue(numbered(1));
  const culprit = guest.queue(ILLEGAL);
  guest.queue(numbered(3));
  guest.ring();
  assertEquals(seen, [1, -1]);
  assertEquals(guest.smmu.read32(CMDQ_CONS), 0x0100_0001, "ERR 1, RD 1");
  assertEquals(guest.smmu.read32(GERROR), 1);
  assertEquals(guest.gerror.pulses, 1);
  guest.command(numbered(4));
  guest.smmu.write32(0x20, 0x5);
  guest.smmu.write32(0x20, 0xd);
  assertEquals(seen.length, 2, "neither PROD nor CMDQEN restarts it");
  guest.quad(culprit, numbered(2));
  guest.smmu.write32(GERRORN, 1);
  assertEquals(seen, [1, -1, 2, 3, 4]);
  assertEquals([guest.smmu.read32(CMDQ_CONS), guest.smmu.read32(GERROR)], [4, 1]);
  guest.command(ILLEGAL);
  assertEquals(guest.smmu.read32(GERROR), 0, "the second error toggles back");
  assertEquals(guest.gerror.pulses, 2);
});

Deno.test("an error that is acknowledged without a repair is raised again", () => {
  const { guest } = watched();
  guest.command(ILLEGAL);
  for (let gerror = 1, i = 0; i < 6; i++) {
    assertEquals(guest.smmu.read32(GERROR), gerror);
    guest.smmu.write32(GERRORN, gerror);
    gerror ^= 1;
  }
});

Deno.test("while the error is active PROD may move back to CONS", () => {
  const { guest, seen } = watched();
  guest.queue(ILLEGAL);
  guest.queue(numbered(2));
  guest.ring();
  guest.smmu.write32(CMDQ_PROD, 0);
  guest.smmu.write32(GERRORN, 1);
  assertEquals(seen, [-1]);
  assertEquals(guest.smmu.read32(CMDQ_CONS) & 0xf_ffff, 0);
});

Deno.test("a queue outside RAM is CERROR_ABT", async (t) => {
  for (const base of [NOWHERE, 0]) {
    await t.step(`0x${base.toString(16)}`, () => {
      const { guest, seen } = watched();
      rebase(guest, base, 4);
      guest.smmu.write32(CMDQ_PROD, 1);
      assertEquals([guest.smmu.read32(CMDQ_CONS), guest.smmu.read32(GERROR)], [2 << 24, 1]);
      assertEquals(seen, []);
    });
  }
});

Deno.test("CONS and the message of a CMD_SYNC are in place when the write of PROD returns", () => {
  const { guest } = watched();
  guest.queue(numbered(1));
  guest.queue(SYNC | (1n << 12n) | (0x55n << 32n), BigInt(DATA));
  guest.ring();
  assertEquals([guest.word(DATA), guest.smmu.read32(CMDQ_CONS)], [0x55, 2]);
});
