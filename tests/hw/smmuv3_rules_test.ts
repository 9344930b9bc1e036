/**
 * What real drivers demand of an emulated SMMUv3, one test a rule; numbers are those of the manual and the drivers.
 * @module
 */
import { assert, assertEquals } from "@std/assert";
import { CDS, CMDQ, DATA, EVENTQ, Guest, RAM, STRTAB } from "../support/guest.ts";

const SYNC_NONE = 0x46n;
const SYNC_MSI = 0x46n | (1n << 12n);

Deno.test("R1: CR0ACK, IRQ_CTRLACK and GBPA.UPDATE are complete when the write returns", () => {
  const { smmu } = new Guest({ enabled: false });
  smmu.write32(0x20, 0xd);
  assertEquals(smmu.read32(0x24), 0xd);
  smmu.write32(0x50, 0x5);
  assertEquals(smmu.read32(0x54), 0x5);
  smmu.write32(0x44, 0x8010_0000); // UPDATE, ABORT
  assertEquals(smmu.read32(0x44), 0x0010_0000);
});

Deno.test("R1: a GBPA write without UPDATE changes nothing", () => {
  const { smmu } = new Guest({ enabled: false });
  smmu.write32(0x44, 0x0010_0000);
  assertEquals(smmu.read32(0x44), 0);
});

Deno.test("R2: CR0 and CR0ACK read back what was accepted, reserved bits zero", () => {
  const { smmu } = new Guest({ enabled: false });
  smmu.write32(0x20, 0xffff_ffff);
  assertEquals([smmu.read32(0x20), smmu.read32(0x24)], [0xd, 0xd]);
});

Deno.test("R3: CMD_SYNC with an MSIAddress writes MSIData there before the PROD write returns", () => {
  const guest = new Guest();
  guest.command(SYNC_MSI | (0xdead_beefn << 32n), BigInt(DATA));
  assertEquals(guest.word(DATA), 0xdead_beef);
  assertEquals(guest.word(DATA + 4), 0, "exactly four bytes");
  assertEquals(guest.smmu.read32(0x9c), 1);
});

Deno.test("R3: CMD_SYNC with CS=SIG_NONE or SIG_SEV writes nothing, with CS=3 is CERROR_ILL", async (t) => {
  for (
    const { cs, cons } of [{ cs: 0n, cons: 1 }, { cs: 2n, cons: 1 }, { cs: 3n, cons: 1 << 24 }]
  ) {
    await t.step(`CS=${cs}`, () => {
      const guest = new Guest();
      guest.command(0x46n | (cs << 12n) | (0xdead_beefn << 32n), BigInt(DATA));
      assertEquals([guest.word(DATA), guest.smmu.read32(0x9c)], [0, cons]);
    });
  }
});

Deno.test("R4: a CMD_SYNC may overwrite its own slot, which is never read again", () => {
  const guest = new Guest({ log2queue: 2 });
  for (let i = 0; i < 4 * 5; i++) {
    const slot = CMDQ + (i & 3) * 16;
    // The data is not a legal command: reading the slot again would be CERROR_ILL.
    guest.command(SYNC_MSI | (0xffff_ff00n << 32n), BigInt(slot));
    assertEquals(guest.word(slot), 0xffff_ff00);
  }
  assertEquals(guest.smmu.read32(0x60), 0, "no GERROR");
});

Deno.test("R5: TLBI_EL2_* are accepted although IDR0.HYP is 0, and invalidate", async (t) => {
  for (const opcode of [0x20n, 0x21n, 0x22n, 0x23n]) {
    await t.step(`opcode 0x${opcode.toString(16)}`, () => {
      const guest = new Guest();
      assertEquals((guest.smmu.read32(0) >>> 9) & 1, 0, "IDR0.HYP");
      const { root } = guest.stage1(1, { asid: 7 });
      const leaf = guest.map(root, 0x1000n, DATA);
      assert(guest.dmaWrite(1, 0x1000n, [1]));
      guest.quad(leaf, 0n);
      guest.command(opcode | (7n << 48n), 0x1000n);
      assertEquals([guest.smmu.read32(0x9c), guest.smmu.read32(0x60)], [1, 0]);
      assertEquals(guest.dmaWrite(1, 0x1000n, [1]), false);
    });
  }
});

Deno.test("R6: writes to read-only registers are ignored", async (t) => {
  const { smmu } = new Guest({ enabled: false });
  for (const offset of [0x00, 0x04, 0x08, 0x0c, 0x10, 0x14, 0x18, 0x1c, 0x24, 0x40, 0x54, 0x60]) {
    await t.step(`0x${offset.toString(16)}`, () => {
      const before = smmu.read32(offset);
      smmu.write32(offset, ~before >>> 0);
      assertEquals(smmu.read32(offset), before);
    });
  }
});

Deno.test("R7: GERROR is 0 after a reset that follows an error", () => {
  const guest = new Guest();
  guest.command(0xffn);
  assertEquals(guest.smmu.read32(0x60), 1);
  guest.smmu.reset();
  guest.enable();
  assertEquals([guest.smmu.read32(0x60), guest.smmu.read32(0x64)], [0, 0]);
});

Deno.test("R8: what software wrote to queue, table and control registers reads back", async (t) => {
  const { smmu } = new Guest({ enabled: false });
  const cases = [
    { name: "CR1", offset: 0x28, value: 0xd75 },
    { name: "CR2", offset: 0x2c, value: 0x7 },
    { name: "STRTAB_BASE", offset: 0x80, value: 0x1234_5640 },
    { name: "STRTAB_BASE high", offset: 0x84, value: 0x4000_1234 },
    { name: "STRTAB_BASE_CFG", offset: 0x88, value: 0x1_0210 },
    { name: "CMDQ_BASE", offset: 0x90, value: 0x1234_560a },
    { name: "CMDQ_BASE high", offset: 0x94, value: 0x4000_4321 },
    { name: "CMDQ_PROD", offset: 0x98, value: 0x3ff },
    { name: "CMDQ_CONS", offset: 0x9c, value: 0x3ff },
    { name: "EVENTQ_BASE", offset: 0xa0, value: 0x7654_320a },
  ];
  for (const { name, offset, value } of cases) {
    await t.step(name, () => {
      smmu.write32(offset, value);
      assertEquals(smmu.read32(offset), value);
    });
  }
});

Deno.test("R9: a 64-bit read at page 1 + 0xA8 returns EVENTQ_CONS above EVENTQ_PROD", () => {
  const { smmu } = new Guest({ enabled: false });
  smmu.write32(0x1_00a8, 0x12);
  smmu.write32(0x1_00ac, 0x34);
  const bytes = new Uint8Array(8);
  smmu.read(0x1_00a8, bytes);
  assertEquals([...bytes], [0x12, 0, 0, 0, 0x34, 0, 0, 0]);
});

Deno.test("R10: page 0 shows EVENTQ_PROD and EVENTQ_CONS of page 1", () => {
  const { smmu } = new Guest({ enabled: false });
  smmu.write32(0xa8, 0x12);
  smmu.write32(0xac, 0x34);
  assertEquals([smmu.read32(0x1_00a8), smmu.read32(0x1_00ac)], [0x12, 0x34]);
  smmu.write32(0x1_00ac, 0x56);
  assertEquals(smmu.read32(0xac), 0x56);
});

Deno.test("R11: what was invalid is not cached: it works as soon as it becomes valid", async (t) => {
  const guest = new Guest();
  // Two-level stream table, SPLIT 8: SMMUEN must be 0 to change it.
  guest.smmu.write32(0x20, 0xc);
  guest.smmu.write32(0x88, (1 << 16) | (8 << 6) | 10);
  guest.smmu.write32(0x20, 0xd);
  const dma = (): boolean => guest.dmaWrite(0x105, 0x1000n, [1]);
  const eventNumber = (): bigint => guest.events()[0][0] & 0xffn;
  const l2 = 0x4018_0000;
  const ste = l2 + 5 * 64;
  const root = guest.root();
  await t.step("L1STD", () => {
    assertEquals([dma(), eventNumber()], [false, 0x02n]);
    guest.quad(STRTAB + 8, BigInt(l2) | 9n);
  });
  await t.step("STE", () => {
    assertEquals([dma(), eventNumber()], [false, 0x04n]);
    guest.quad(ste, BigInt(CDS) | 0b1011n);
  });
  await t.step("CD", () => {
    assertEquals([dma(), eventNumber()], [false, 0x0an]);
    guest.cd(CDS, { ttb0: root });
  });
  await t.step("descriptor", () => {
    assertEquals([dma(), eventNumber()], [false, 0x10n]);
    guest.map(root, 0x1000n, DATA);
    assertEquals(dma(), true);
  });
});

Deno.test("R12: CFGI_STE with Leaf=1 drops the STE and the CDs of its stream", () => {
  const guest = new Guest();
  const { root } = guest.stage1(3);
  guest.map(root, 0x1000n, DATA);
  assert(guest.dmaWrite(3, 0x1000n, [1]));
  const other = guest.root();
  guest.map(other, 0x1000n, DATA + 0x1000);
  guest.cd(CDS + 3 * 64, { ttb0: other, asid: 2 });
  guest.command(0x03n | (3n << 32n), 1n);
  assert(guest.dmaWrite(3, 0x1000n, [9]));
  assertEquals([guest.word(DATA), guest.word(DATA + 0x1000)], [1, 9]);
});

Deno.test("R13: after an error the GERRORN acknowledgement alone restarts, and the slot is fetched again", () => {
  const guest = new Guest();
  const slot = guest.queue(0xffn);
  guest.queue(SYNC_MSI | (5n << 32n), BigInt(DATA));
  guest.ring();
  assertEquals(guest.smmu.read32(0x9c), 1 << 24, "CONS.RD at the culprit, ERR = CERROR_ILL");
  assertEquals([guest.smmu.read32(0x60), guest.gerror.pulses, guest.word(DATA)], [1, 1, 0]);
  guest.ring();
  assertEquals(guest.word(DATA), 0, "nothing is consumed while the error is active");
  guest.quad(slot, SYNC_NONE);
  guest.smmu.write32(0x64, 1);
  assertEquals([guest.smmu.read32(0x9c), guest.word(DATA)], [2, 5]);
});

Deno.test("R14: ignored fields do not make an STE illegal", async (t) => {
  const cases = [
    { name: "EATS=1 without IDR0.ATS", q1: 1n << 28n, legal: true },
    { name: "STRW=2 without IDR0.HYP", q1: 2n << 30n, legal: true },
    { name: "STRW=1 without IDR0.HYP", q1: 1n << 30n, legal: true },
    { name: "S1DSS, CIR, COR, CSH", q1: 0xffn, legal: true },
    { name: "SHCFG, MemAttr, ALLOCCFG", q1: 0x3fffn << 32n, legal: true },
    { name: "S1STALLD with STALL_MODEL=1", q1: 1n << 27n, legal: false },
  ];
  for (const { name, q1, legal } of cases) {
    await t.step(name, () => {
      const guest = new Guest();
      const { root, cd } = guest.stage1(1);
      guest.map(root, 0x1000n, DATA);
      guest.ste(1, BigInt(cd) | 0b1011n, q1);
      assertEquals(guest.dmaWrite(1, 0x1000n, [1]), legal);
      assertEquals(guest.events().map(([q0]) => q0 & 0xffn), legal ? [] : [0x04n]);
    });
  }
  await t.step("stage 2 fields in a bypass STE", () => {
    const guest = new Guest();
    guest.ste(1, 0b1001n, (1n << 28n) | (2n << 30n) | (1n << 27n));
    for (const at of [16, 24]) guest.quad(STRTAB + 64 + at, 0xffff_ffff_ffff_ffffn);
    assert(guest.dmaWrite(1, BigInt(DATA), [1]));
  });
});

Deno.test("R15: IDR1.CMDQS lets Linux batch 64 commands and is modest", () => {
  const { smmu } = new Guest({ enabled: false });
  const cmdqs = (smmu.read32(4) >>> 21) & 0x1f;
  const eventqs = (smmu.read32(4) >>> 16) & 0x1f;
  assert(cmdqs >= 8 && cmdqs <= 10, `CMDQS ${cmdqs}`);
  assert(eventqs >= 8 && eventqs <= 10, `EVENTQS ${eventqs}`);
});

Deno.test("R16: the event interrupt is one edge for each change from empty to not empty", () => {
  const guest = new Guest();
  guest.stage1(1);
  guest.dmaWrite(1, 0x1000n, [1]);
  guest.dmaWrite(1, 0x2000n, [1]);
  assertEquals(guest.eventq.pulses, 1);
  assertEquals(guest.events().length, 2);
  guest.dmaWrite(1, 0x3000n, [1]);
  assertEquals(guest.eventq.pulses, 2);
});

Deno.test("R17: IDR3.STT is 1 and a table of 16 input bits works", () => {
  const guest = new Guest();
  assertEquals((guest.smmu.read32(0xc) >>> 9) & 1, 1);
  const { root } = guest.stage1(1, { t0sz: 48 });
  guest.quad(root + 3 * 8, BigInt(DATA) | 0xc43n); // a level 3 table is the whole tree
  assert(guest.dmaWrite(1, 0x3000n, [7]));
  assertEquals(guest.word(DATA), 7);
  assertEquals(guest.dmaWrite(1, 0x1_0000n, [7]), false);
});

Deno.test("R18: AIDR says SMMUv3.2", () => {
  assertEquals(new Guest({ enabled: false }).smmu.read32(0x1c), 0x02);
});

Deno.test("R19: IIDR does not claim to be Arm's", () => {
  const iidr = new Guest({ enabled: false }).smmu.read32(0x18);
  assert((iidr & 0xfff) !== 0x43b);
});

Deno.test("R20: IDR5.OAS is 44 or 48 bits", () => {
  const oas = new Guest({ enabled: false }).smmu.read32(0x14) & 7;
  assert(oas === 4 || oas === 5);
});

Deno.test("the command and event queue are where this file's numbers say", () => {
  const guest = new Guest();
  guest.command(SYNC_NONE);
  assertEquals(guest.memory.getUint8(CMDQ - RAM), 0x46);
  guest.dmaWrite(1, 0x1000n, [1]);
  assertEquals(guest.memory.getUint8(EVENTQ - RAM), 0x04);
});
