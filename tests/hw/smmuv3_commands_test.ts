/**
 * Which commands are legal, and what CMD_SYNC does. IHI 0070 §4.
 * @module
 */
import { assertEquals } from "@std/assert";
import {
  altered,
  CMDQ,
  DATA,
  DOORBELL,
  Guest,
  type GuestOptions,
  NOWHERE,
  RAM,
} from "../support/guest.ts";
import { Random } from "../../vmm/random.ts";

const SSEC = 1n << 10n;
const SIG_IRQ = 1n << 12n;

/** Runs one command and clears up after it. */
function outcome(guest: Guest, w0: bigint, w1: bigint = 0n): "executed" | "ILL" | "confused" {
  const before = guest.smmu.read32(0x9c) & 0xf_ffff;
  const gerror = guest.smmu.read32(0x60);
  const slot = guest.queue(w0, w1);
  guest.ring();
  const cons = guest.smmu.read32(0x9c);
  const raised = (guest.smmu.read32(0x60) ^ gerror) & 1;
  if (raised === 0) return cons === ((before + 1) & 0x1f) ? "executed" : "confused";
  guest.quad(slot, 0x46n);
  guest.smmu.write32(0x64, guest.smmu.read32(0x60));
  return cons === (0x0100_0000 | before) ? "ILL" : "confused";
}

const LEGAL = [
  0x01, // CMD_PREFETCH_CONFIG
  0x02, // CMD_PREFETCH_ADDR
  0x03, // CMD_CFGI_STE
  0x04, // CMD_CFGI_STE_RANGE
  0x05, // CMD_CFGI_CD
  0x06, // CMD_CFGI_CD_ALL
  0x10, // CMD_TLBI_NH_ALL
  0x11, // CMD_TLBI_NH_ASID
  0x12, // CMD_TLBI_NH_VA
  0x13, // CMD_TLBI_NH_VAA
  0x20, // CMD_TLBI_EL2_ALL, which should be illegal without IDR0.Hyp but is sent by drivers that do not ask
  0x21, // CMD_TLBI_EL2_ASID
  0x22, // CMD_TLBI_EL2_VA
  0x23, // CMD_TLBI_EL2_VAA
  0x30, // CMD_TLBI_NSNH_ALL
  0x46, // CMD_SYNC
];

Deno.test("of 256 opcodes those that a stage 1 device has are executed, all others CERROR_ILL", () => {
  const guest = new Guest();
  for (let opcode = 0; opcode < 256; opcode++) {
    const expected = LEGAL.includes(opcode) ? "executed" : "ILL";
    assertEquals(outcome(guest, BigInt(opcode)), expected, `opcode 0x${opcode.toString(16)}`);
  }
});

Deno.test("SSec=1 makes a command that has a StreamID illegal", () => {
  const guest = new Guest();
  for (const opcode of LEGAL) {
    const expected = opcode <= 0x06 ? "ILL" : "executed";
    assertEquals(outcome(guest, BigInt(opcode) | SSEC), expected, `opcode ${opcode.toString(16)}`);
  }
});

Deno.test("CMD_SYNC: CS=3 is illegal", () => {
  const guest = new Guest();
  const outcomes = [0n, 1n, 2n, 3n].map((cs) => outcome(guest, 0x46n | (cs << 12n)));
  assertEquals(outcomes, ["executed", "executed", "executed", "ILL"]);
});

Deno.test("range invalidation: the reserved combinations are illegal, with and without RIL", async (t) => {
  for (const rangeInvalidation of [true, false]) {
    for (const opcode of [0x12, 0x13, 0x22, 0x23]) {
      await t.step(`opcode 0x${opcode.toString(16)}, RIL ${Number(rangeInvalidation)}`, () => {
        const guest = new Guest({ features: { rangeInvalidation } });
        for (let tg = 0n; tg < 4n; tg++) {
          for (let ttl = 0n; ttl < 4n; ttl++) {
            for (const num of [0n, 1n, 31n]) {
              for (const scale of [0n, 1n, 31n, 32n]) {
                const w0 = BigInt(opcode) | (num << 12n) | (scale << 20n);
                const noLevel = ttl === 0n || (tg === 2n && ttl === 1n);
                // Bit 25 is not part of SCALE while IDR5.DS is 0.
                const single = num === 0n && (scale & 31n) === 0n;
                const reserved = rangeInvalidation && tg !== 0n && single && noLevel;
                const found = outcome(guest, w0, (ttl << 8n) | (tg << 10n));
                assertEquals(
                  found,
                  reserved ? "ILL" : "executed",
                  `TG ${tg}, TTL ${ttl}, NUM ${num}, SCALE ${scale}`,
                );
              }
            }
          }
        }
      });
    }
  }
});

Deno.test("P8: any 16 bytes are executed or illegal, as the table says", () => {
  const random = new Random();
  const guest = new Guest();
  for (let i = 0; i < 4000; i++) {
    const opcode = random.chance(0.7) ? random.of(LEGAL) : random.below(256);
    let w0 = (random.quad() & ~0xffn) | BigInt(opcode);
    if (random.chance(0.5)) w0 &= ~SSEC;
    // A message somewhere may overwrite the queue itself.
    const w1 = opcode === 0x46 ? 0n : random.quad();
    assertEquals(outcome(guest, w0, w1), expectation(w0, w1), `${random}, command ${i}`);
  }
});

function expectation(w0: bigint, w1: bigint): "executed" | "ILL" {
  const opcode = Number(w0 & 0xffn);
  if (!LEGAL.includes(opcode)) return "ILL";
  if (opcode <= 6) return (w0 & SSEC) === 0n ? "executed" : "ILL";
  if (opcode === 0x46) return ((w0 >> 12n) & 3n) === 3n ? "ILL" : "executed";
  if (![0x12, 0x13, 0x22, 0x23].includes(opcode)) return "executed";
  const [ttl, tg] = [(w1 >> 8n) & 3n, (w1 >> 10n) & 3n];
  const single = ((w0 >> 12n) & 0x1fn) === 0n && ((w0 >> 20n) & 0x1fn) === 0n;
  const noLevel = ttl === 0n || (tg === 2n && ttl === 1n);
  return tg !== 0n && single && noLevel ? "ILL" : "executed";
}

Deno.test("CMD_SYNC: where the message goes, and what happens when it cannot", async (t) => {
  const cases: {
    name: string;
    options?: GuestOptions;
    address: bigint;
    gpa?: number;
    doorbell?: boolean;
    gerror?: number;
  }[] = [
    { name: "RAM", address: BigInt(DATA), gpa: DATA },
    { name: "the low two bits are zero", address: BigInt(DATA) | 3n, gpa: DATA },
    { name: "bits 63:56 are not address", address: BigInt(DATA) | (0xffn << 56n), gpa: DATA },
    { name: "doorbell", address: BigInt(DOORBELL), doorbell: true },
    { name: "address 0 means no message", address: 0n },
    { name: "nowhere", address: BigInt(NOWHERE), gerror: 0x10 },
    {
      name: "bits beyond the OAS are truncated",
      options: { features: { oas: 32 } },
      address: (1n << 40n) | BigInt(DATA),
      gpa: DATA,
    },
    {
      name: "without IDR0.MSI no message",
      options: { features: { msi: false } },
      address: BigInt(DATA),
    },
  ];
  for (const { name, options, address, gpa, doorbell = false, gerror = 0 } of cases) {
    await t.step(name, () => {
      const guest = new Guest(options);
      guest.command(0x46n | SIG_IRQ | (0x1234_5678n << 32n), address);
      const written = guest.memory.buffer.slice(DATA - RAM, DATA - RAM + 16);
      const expected = gpa === DATA ? 0x1234_5678 : 0;
      assertEquals([...new Uint32Array(written)], [expected, 0, 0, 0]);
      assertEquals(guest.messages, doorbell ? [{ gpa: DOORBELL, data: 0x1234_5678 }] : []);
      assertEquals(guest.smmu.read32(0x9c), 1, "it completes in any case");
      assertEquals([guest.smmu.read32(0x60), guest.gerror.pulses], [gerror, gerror === 0 ? 0 : 1]);
      assertEquals(guest.cmdSync.pulses, 1, "the wire is asserted whatever the address");
    });
  }
});

Deno.test("CMD_SYNC: SIG_NONE and SIG_SEV assert no wire", () => {
  const guest = new Guest();
  guest.command(0x46n);
  guest.command(0x46n | (2n << 12n));
  assertEquals([guest.smmu.read32(0x9c), guest.cmdSync.pulses], [2, 0]);
});

Deno.test("CMD_SYNC: messages arrive in order, each when CMDQ_CONS already says that it is consumed", () => {
  const consumed: number[] = [];
  const guest: Guest = new Guest({
    wrap: (ram) =>
      altered(ram, {
        store32: (gpa, value) => {
          consumed.push(value, guest.smmu.read32(0x9c));
          return ram.store32(gpa, value);
        },
      }),
  });
  for (const data of [0x11n, 0x22n]) guest.queue(0x46n | SIG_IRQ | (data << 32n), BigInt(DATA));
  guest.ring();
  assertEquals(consumed, [0x11, 1, 0x22, 2]);
});

Deno.test("an aborted message raises its error once, and not again until it is acknowledged", () => {
  const guest = new Guest();
  const sync = (): void => guest.command(0x46n | SIG_IRQ, BigInt(NOWHERE));
  sync();
  sync();
  assertEquals([guest.smmu.read32(0x60), guest.gerror.pulses, guest.smmu.read32(0x9c)], [
    0x10,
    1,
    2,
  ]);
  guest.smmu.write32(0x64, 0x10);
  sync();
  assertEquals([guest.smmu.read32(0x60), guest.gerror.pulses, guest.smmu.read32(0x9c)], [0, 2, 3]);
});

Deno.test("the queue is where this file thinks", () => {
  const guest = new Guest();
  assertEquals(guest.queue(0x46n), CMDQ);
});
