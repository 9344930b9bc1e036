/**
 * Registers as software sees them: masks, guards, access sizes, aliases, reset. IHI 0070 §6.2, §6.3.
 * @module
 */
import { assertEquals } from "@std/assert";
import { Guest } from "../support/guest.ts";

/** The bits of each word that read back what was written after reset; all other bits are zero or read-only. */
const WRITABLE: Record<string, readonly [offset: number, mask: number]> = {
  "CR0": [0x20, 0x0000_000d],
  "CR1": [0x28, 0x0000_0fff],
  "CR2": [0x2c, 0x0000_0007],
  "IRQ_CTRL": [0x50, 0x0000_0005],
  "GERRORN": [0x64, 0x0000_01b5],
  "GERROR_IRQ_CFG0 low": [0x68, 0xffff_fffc],
  "GERROR_IRQ_CFG0 high": [0x6c, 0x000f_ffff],
  "GERROR_IRQ_CFG1": [0x70, 0xffff_ffff],
  "GERROR_IRQ_CFG2": [0x74, 0x0000_003f],
  "STRTAB_BASE low": [0x80, 0xffff_ffc0],
  "STRTAB_BASE high": [0x84, 0x400f_ffff],
  "STRTAB_BASE_CFG": [0x88, 0x0003_07ff],
  "CMDQ_BASE low": [0x90, 0xffff_ffff],
  "CMDQ_BASE high": [0x94, 0x400f_ffff],
  "CMDQ_PROD": [0x98, 0x000f_ffff],
  "CMDQ_CONS": [0x9c, 0x7f0f_ffff],
  "EVENTQ_BASE low": [0xa0, 0xffff_ffff],
  "EVENTQ_BASE high": [0xa4, 0x400f_ffff],
  "EVENTQ_IRQ_CFG0 low": [0xb0, 0xffff_fffc],
  "EVENTQ_IRQ_CFG0 high": [0xb4, 0x000f_ffff],
  "EVENTQ_IRQ_CFG1": [0xb8, 0xffff_ffff],
  "EVENTQ_IRQ_CFG2": [0xbc, 0x0000_003f],
  "EVENTQ_PROD": [0x1_00a8, 0x800f_ffff],
  "EVENTQ_CONS": [0x1_00ac, 0x800f_ffff],
};

const READABLE = new Set([0x00, 0x04, 0x0c, 0x14, 0x1c]); // IDR0, IDR1, IDR3, IDR5, AIDR
const GBPA = 0x44;
const SPACE = 0x2_0000;

/** Every word of both pages and the gap between them. */
function dump({ smmu }: Guest): Map<number, number> {
  const words = new Map<number, number>();
  for (let offset = 0; offset < SPACE; offset += 4) {
    const value = smmu.read32(offset);
    if (value !== 0) words.set(offset, value);
  }
  return words;
}

function bytesOf(value: bigint, sizeBytes: number): Uint8Array {
  return Uint8Array.from({ length: sizeBytes }, (_, i) => Number((value >> BigInt(8 * i)) & 0xffn));
}

Deno.test("each bit of each register is writable, or not, by itself", async (t) => {
  const { smmu } = new Guest({ enabled: false });
  for (const [name, [offset, mask]] of Object.entries(WRITABLE)) {
    await t.step(name, () => {
      for (let bit = 0; bit < 32; bit++) {
        for (const value of [(1 << bit) >>> 0, ~(1 << bit) >>> 0]) {
          smmu.reset();
          smmu.write32(offset, value);
          assertEquals(smmu.read32(offset), (value & mask) >>> 0, `wrote ${value.toString(16)}`);
          smmu.write32(offset, 0);
          assertEquals(smmu.read32(offset), 0, `cleared ${value.toString(16)}`);
        }
      }
    });
  }
});

Deno.test("everything else in the register space ignores writes", () => {
  const guest = new Guest({ enabled: false });
  const before = dump(guest);
  assertEquals(new Set(before.keys()), READABLE);
  const writable = new Set([
    0xa8,
    0xac,
    GBPA,
    ...Object.values(WRITABLE).map(([offset]) => offset),
  ]);
  for (let offset = 0; offset < SPACE; offset += 4) {
    if (!writable.has(offset)) guest.smmu.write32(offset, 0xffff_ffff);
  }
  assertEquals(dump(guest), before);
});

Deno.test("a 64-bit access is two 32-bit accesses", async (t) => {
  const guest = new Guest({ enabled: false });
  const { smmu } = guest;
  for (const offset of [0x68, 0x80, 0x90, 0xa0, 0xb0, 0x98, 0x1_00a8, 0x20, 0x28, 0x50]) {
    await t.step(`0x${offset.toString(16)}`, () => {
      smmu.reset();
      smmu.write32(offset, 0x0123_4567);
      smmu.write32(offset + 4, 0x89ab_cdef);
      const expected = [smmu.read32(offset), smmu.read32(offset + 4)];
      smmu.reset();
      smmu.write(offset, bytesOf(0x89ab_cdef_0123_4567n, 8));
      assertEquals([smmu.read32(offset), smmu.read32(offset + 4)], expected);
      const into = new Uint8Array(8);
      smmu.read(offset, into);
      assertEquals([...new Uint32Array(into.buffer)], expected);
    });
  }
});

Deno.test("either half of a 64-bit register can be written alone", () => {
  const { smmu } = new Guest({ enabled: false });
  smmu.write32(0x84, 0x1234);
  smmu.write(0x80, bytesOf(0x5678_0000n, 4));
  assertEquals([smmu.read32(0x80), smmu.read32(0x84)], [0x5678_0000, 0x1234]);
});

Deno.test("accesses of other sizes, unaligned or outside read zero and write nothing", async (t) => {
  const guest = new Guest({ enabled: false });
  const { smmu } = guest;
  smmu.write32(0x28, 0xd75);
  const before = dump(guest);
  const cases = [
    ...[0, 1, 2, 3, 5, 6, 7, 12, 16].map((size) => ({ offset: 0x20, size })),
    ...[0x21, 0x22, 0x23, 0x29].map((offset) => ({ offset, size: 4 })),
    ...[0x2c, 0x84, 0x1_00ac].map((offset) => ({ offset, size: 8 })),
    ...[-8, -4, 0x2_0000, 0x2_0020, 2 ** 32].map((offset) => ({ offset, size: 4 })),
    ...[-8, 0x2_0000, 2 ** 53].map((offset) => ({ offset, size: 8 })),
  ];
  for (const { offset, size } of cases) {
    await t.step(`${size} bytes at 0x${offset.toString(16)}`, () => {
      smmu.write(offset, new Uint8Array(size).fill(0xff));
      assertEquals(dump(guest), before);
      const into = new Uint8Array(size).fill(0xee);
      smmu.read(offset, into);
      assertEquals([...into], new Array(size).fill(0));
    });
  }
});

Deno.test("page 0 shows EVENTQ_PROD and EVENTQ_CONS with the same masks and guards", () => {
  const { smmu } = new Guest({ enabled: false });
  smmu.write(0xa8, bytesOf(0xffff_ffff_ffff_ffffn, 8));
  assertEquals([smmu.read32(0x1_00a8), smmu.read32(0x1_00ac)], [0x800f_ffff, 0x800f_ffff]);
  smmu.write32(0x20, 0x4); // EVENTQEN
  smmu.write(0xa8, bytesOf(0n, 8));
  assertEquals([smmu.read32(0xa8), smmu.read32(0xac)], [0x800f_ffff, 0]);
});

Deno.test("GBPA takes its fields only together with Update, which reads as zero", async (t) => {
  const { smmu } = new Guest({ enabled: false });
  for (let bit = 0; bit < 31; bit++) {
    await t.step(`bit ${bit}`, () => {
      smmu.reset();
      smmu.write32(GBPA, 1 << bit);
      assertEquals(smmu.read32(GBPA), 0, "without Update");
      smmu.write32(GBPA, (0x8000_0000 | (1 << bit)) >>> 0);
      assertEquals(smmu.read32(GBPA), (1 << bit) & 0x001f_3f1f, "with Update");
      smmu.write32(GBPA, 0);
      assertEquals(smmu.read32(GBPA), (1 << bit) & 0x001f_3f1f, "not cleared without Update");
    });
  }
});

Deno.test("CR0ACK and IRQ_CTRLACK follow each field", () => {
  const { smmu } = new Guest({ enabled: false });
  for (let value = 0; value < 32; value++) {
    smmu.write32(0x20, value);
    smmu.write32(0x50, value);
    assertEquals([smmu.read32(0x24), smmu.read32(0x54)], [value & 0xd, value & 0x5]);
  }
});

Deno.test("reset() returns every register to its value after power-on and drops all caches", () => {
  const fresh = dump(new Guest({ enabled: false }));
  const guest = new Guest();
  const { root } = guest.stage1(1);
  guest.map(root, 0x1000n, 0x4080_0000);
  guest.dmaWrite(1, 0x1000n, [1]);
  guest.command(0xffn); // CMDQ_ERR
  for (const [offset, mask] of Object.values(WRITABLE)) {
    if (offset !== 0x20) guest.smmu.write32(offset, mask);
  }
  guest.smmu.write32(GBPA, 0x8000_0000 | 0x0001_3f1f);
  assertEquals(guest.smmu.translator.tlb.count, 1);
  guest.smmu.reset();
  assertEquals(dump(guest), fresh);
  assertEquals(guest.smmu.translator.tlb.count, 0);
  guest.enable();
  guest.ste(1, 0n);
  assertEquals(guest.dmaWrite(1, 0x1000n, [1]), false, "the old STE is forgotten");
});

/** What of a register is writable while a set of enables is zero: CR0 bits and IRQ_CTRL bits. */
const GUARDS: readonly {
  name: string;
  offset: number;
  mask: number;
  cr0?: number;
  irq?: number;
}[] = [
  { name: "CR1.TABLE_*", offset: 0x28, mask: 0x0fc0, cr0: 0x1 },
  { name: "CR1.QUEUE_*", offset: 0x28, mask: 0x003f, cr0: 0xc },
  { name: "CR2", offset: 0x2c, mask: 0x7, cr0: 0x1 },
  { name: "STRTAB_BASE", offset: 0x80, mask: 0xffff_ffc0, cr0: 0x1 },
  { name: "STRTAB_BASE high", offset: 0x84, mask: 0x400f_ffff, cr0: 0x1 },
  { name: "STRTAB_BASE_CFG", offset: 0x88, mask: 0x3_07ff, cr0: 0x1 },
  { name: "CMDQ_BASE", offset: 0x90, mask: 0xffff_ffff, cr0: 0x8 },
  { name: "CMDQ_BASE high", offset: 0x94, mask: 0x400f_ffff, cr0: 0x8 },
  { name: "CMDQ_CONS", offset: 0x9c, mask: 0x7f0f_ffff, cr0: 0x8 },
  { name: "EVENTQ_BASE", offset: 0xa0, mask: 0xffff_ffff, cr0: 0x4 },
  { name: "EVENTQ_BASE high", offset: 0xa4, mask: 0x400f_ffff, cr0: 0x4 },
  { name: "EVENTQ_PROD", offset: 0x1_00a8, mask: 0x800f_ffff, cr0: 0x4 },
  { name: "EVENTQ_PROD on page 0", offset: 0xa8, mask: 0x800f_ffff, cr0: 0x4 },
  { name: "GERROR_IRQ_CFG0", offset: 0x68, mask: 0xffff_fffc, irq: 0x1 },
  { name: "GERROR_IRQ_CFG0 high", offset: 0x6c, mask: 0x000f_ffff, irq: 0x1 },
  { name: "GERROR_IRQ_CFG1", offset: 0x70, mask: 0xffff_ffff, irq: 0x1 },
  { name: "GERROR_IRQ_CFG2", offset: 0x74, mask: 0x3f, irq: 0x1 },
  { name: "EVENTQ_IRQ_CFG0", offset: 0xb0, mask: 0xffff_fffc, irq: 0x4 },
  { name: "EVENTQ_IRQ_CFG0 high", offset: 0xb4, mask: 0x000f_ffff, irq: 0x4 },
  { name: "EVENTQ_IRQ_CFG1", offset: 0xb8, mask: 0xffff_ffff, irq: 0x4 },
  { name: "EVENTQ_IRQ_CFG2", offset: 0xbc, mask: 0x3f, irq: 0x4 },
  { name: "GERRORN", offset: 0x64, mask: 0x1b5 },
  { name: "CMDQ_PROD", offset: 0x98, mask: 0xf_ffff },
  { name: "EVENTQ_CONS", offset: 0x1_00ac, mask: 0x800f_ffff },
];

Deno.test("a guarded field ignores writes exactly while one of its enables is set", async (t) => {
  const { smmu } = new Guest({ enabled: false });
  for (const { name, offset, mask, cr0: guard = 0, irq: irqGuard = 0 } of GUARDS) {
    await t.step(name, () => {
      for (const cr0 of [0x0, 0x1, 0x4, 0x5, 0x8, 0x9, 0xc, 0xd]) {
        for (const irq of [0x0, 0x1, 0x4, 0x5]) {
          smmu.reset();
          smmu.write32(0x50, irq);
          smmu.write32(0x20, cr0);
          smmu.write32(offset, 0xffff_ffff);
          const guarded = (cr0 & guard) !== 0 || (irq & irqGuard) !== 0;
          const expected = guarded ? 0 : mask;
          const found = (smmu.read32(offset) & mask) >>> 0;
          assertEquals(found, expected, `CR0 ${cr0.toString(16)}, IRQ_CTRL ${irq}`);
        }
      }
    });
  }
});

Deno.test("without IDR0.MSI the message registers and the errors of messages are RES0", () => {
  const { smmu } = new Guest({ enabled: false, features: { msi: false } });
  for (const offset of [0x68, 0x6c, 0x70, 0x74, 0xb0, 0xb4, 0xb8, 0xbc]) {
    smmu.write32(offset, 0xffff_ffff);
    assertEquals(smmu.read32(offset), 0, `0x${offset.toString(16)}`);
  }
  smmu.write32(0x64, 0xffff_ffff);
  assertEquals(smmu.read32(0x64), 0x105, "GERRORN");
});

Deno.test("CR0.ATSCHK and CR2.REC_CFG_ATS are there with ATS alone", () => {
  for (const ats of [false, true]) {
    const { smmu } = new Guest({ enabled: false, features: { ats } });
    smmu.write32(0x2c, 0xffff_ffff);
    smmu.write32(0x20, 0xffff_ffff);
    assertEquals([smmu.read32(0x2c), smmu.read32(0x20)], ats ? [0xf, 0x1d] : [0x7, 0xd]);
    assertEquals(smmu.read32(0x24), smmu.read32(0x20), "CR0ACK");
    smmu.write32(0x2c, 0);
    assertEquals(smmu.read32(0x2c), ats ? 0xf : 0x7, "while SMMUEN is 1");
    smmu.write32(0x20, 0xd);
    assertEquals(smmu.read32(0x20), 0xd, "ATSCHK can be cleared again");
  }
});
