/**
 * Features, as ID registers and as refusals. IHI 0070 §6.3.1 to §6.3.8.
 * @module
 */
import { assertEquals, assertThrows } from "@std/assert";
import { GuestRam } from "../../hw/guest_memory.ts";
import type { Features } from "../../hw/smmuv3/features.ts";
import { SmmuV3 } from "../../hw/smmuv3/smmuv3.ts";

function identify(features: Partial<Features>): number[] {
  const smmu = new SmmuV3({ memory: new GuestRam(), features });
  return [0x00, 0x04, 0x08, 0x0c, 0x10, 0x14, 0x18, 0x1c].map((offset) => smmu.read32(offset));
}

const IDR0 = 0x0940_301a; // ST_LEVEL 1, STALL_MODEL 1, TTENDIAN 2, MSI, ASID16, COHACC, TTF 2, S1P
const IDR1 = 0x014a_0290; // CMDQS 10, EVENTQS 10, SSIDSIZE 10, SIDSIZE 16
const IDR3 = 0x0000_1704; // BBML 2, RIL, STT, FWB, HAD
const IDR5 = 0x0000_0015; // GRAN4K, OAS 5
const AIDR = 0x0000_0002;

Deno.test("features appear in the ID registers", async (t) => {
  const cases: { name: string; features: Partial<Features>; words: number[] }[] = [
    { name: "default", features: {}, words: [IDR0, IDR1, 0, IDR3, 0, IDR5, 0, AIDR] },
    {
      name: "nothing optional",
      features: {
        sidSize: 0,
        ssidSize: 0,
        oas: 32,
        log2CommandQueue: 0,
        log2EventQueue: 0,
        twoLevelStreamTable: false,
        asid16: false,
        msi: false,
        rangeInvalidation: false,
      },
      words: [0x0140_001a, 0, 0, 0x0000_1304, 0, 0x10, 0, AIDR],
    },
    {
      name: "everything at its largest",
      features: { sidSize: 32, ssidSize: 20, oas: 48, log2CommandQueue: 19, log2EventQueue: 19 },
      words: [IDR0, 0x0273_0520, 0, IDR3, 0, IDR5, 0, AIDR],
    },
  ];
  for (const { name, features, words } of cases) {
    await t.step(name, () => assertEquals(identify(features), words));
  }
});

Deno.test("each feature changes its own field", async (t) => {
  const cases: { features: Partial<Features>; register: number; low: number; value: number }[] = [
    { features: { sidSize: 9 }, register: 1, low: 0, value: 9 },
    { features: { ssidSize: 5 }, register: 1, low: 6, value: 5 },
    { features: { log2EventQueue: 3 }, register: 1, low: 16, value: 3 },
    { features: { log2CommandQueue: 7 }, register: 1, low: 21, value: 7 },
    { features: { asid16: false }, register: 0, low: 12, value: 0 },
    { features: { msi: false }, register: 0, low: 13, value: 0 },
    { features: { sidSize: 6, twoLevelStreamTable: false }, register: 0, low: 27, value: 0 },
    { features: { rangeInvalidation: false }, register: 3, low: 10, value: 0 },
    { features: { stage1: false, stage2: true, ssidSize: 0 }, register: 0, low: 0, value: 1 },
    { features: { stage1: false, stage2: true, ssidSize: 0 }, register: 0, low: 1, value: 0 },
    { features: { httu: 2 }, register: 0, low: 6, value: 2 },
    { features: { stage2: true, hyp: true }, register: 0, low: 9, value: 1 },
    { features: { ats: true }, register: 0, low: 10, value: 1 },
    { features: { ats: true }, register: 0, low: 11, value: 0 },
    { features: { ats: true }, register: 0, low: 23, value: 1 },
    { features: {}, register: 0, low: 23, value: 0 },
    { features: { ats: true, pri: true }, register: 0, low: 16, value: 1 },
    { features: { stage2: true, vmid16: true }, register: 0, low: 18, value: 1 },
    { features: { twoLevelContextTable: true }, register: 0, low: 19, value: 1 },
    { features: { stallModel: 0, stallMax: 9 }, register: 0, low: 24, value: 0 },
    { features: { stallModel: 2, stallMax: 9 }, register: 0, low: 24, value: 2 },
    { features: { stallModel: 0, stallMax: 9 }, register: 5, low: 16, value: 9 },
    { features: { abortOnly: true }, register: 0, low: 26, value: 1 },
    { features: { stage2: true, xnx: true }, register: 3, low: 4, value: 1 },
    { features: { granule4K: false, granule16K: true }, register: 5, low: 4, value: 0 },
    { features: { granule16K: true }, register: 5, low: 5, value: 1 },
    { features: { granule64K: true }, register: 5, low: 6, value: 1 },
    { features: { granule64K: true, vax: true }, register: 5, low: 10, value: 1 },
    ...[32, 36, 40, 42, 44, 48, 52].map((oas, value) => (
      { features: { oas }, register: 5, low: 0, value }
    )),
  ];
  const widths: Record<string, number> = {
    "0.6": 2,
    "0.24": 2,
    "1.0": 6,
    "1.6": 5,
    "1.16": 5,
    "1.21": 5,
    "5.0": 3,
    "5.10": 2,
    "5.16": 16,
  };
  for (const { features, register, low, value } of cases) {
    await t.step(JSON.stringify(features), () => {
      const width = widths[`${register}.${low}`] ?? 1;
      assertEquals((identify(features)[register] >>> low) & ((1 << width) - 1), value);
    });
  }
});

Deno.test("features that cannot be are refused with both sides of the contradiction", async (t) => {
  const cases: { features: Partial<Features>; message: string }[] = [
    {
      features: { sidSize: 33 },
      message: "Feature sidSize is 33, but the architecture has 0 to 32",
    },
    {
      features: { sidSize: -1 },
      message: "Feature sidSize is -1, but the architecture has 0 to 32",
    },
    {
      features: { ssidSize: 21 },
      message: "Feature ssidSize is 21, but the architecture has 0 to 20",
    },
    {
      features: { log2CommandQueue: 20 },
      message: "Feature log2CommandQueue is 20, but the architecture has 0 to 19",
    },
    {
      features: { log2EventQueue: 1.5 },
      message: "Feature log2EventQueue is 1.5, but the architecture has 0 to 19",
    },
    {
      features: { ssidSize: Number.NaN },
      message: "Feature ssidSize is NaN, but the architecture has 0 to 20",
    },
    {
      features: { oas: 56 },
      message: "Feature oas is 56, but this device has 32,36,40,42,44,48,52",
    },
    {
      features: { sidSize: 7, twoLevelStreamTable: false },
      message: "Feature sidSize is 7, but 7 or more requires twoLevelStreamTable",
    },
    {
      features: { stage1: false, ssidSize: 0 },
      message: "Feature stage1 is false, but an SMMU without stage2 translates nothing then " +
        "(§6.3.1 IDR0.S1P)",
    },
    {
      features: { stage1: false, stage2: true },
      message: "Feature ssidSize is 10, but substreams select CDs, which requires stage1 " +
        "(§6.3.2 IDR1.SSIDSIZE)",
    },
    {
      features: { twoLevelContextTable: true, ssidSize: 0 },
      message: "Feature twoLevelContextTable is true, but tables of CDs require an ssidSize of 1 " +
        "or more (§6.3.1 IDR0.CD2L)",
    },
    {
      features: { hyp: true },
      message: "Feature hyp is true, but it requires stage1 and stage2 (§6.3.1 IDR0.Hyp)",
    },
    {
      features: { vmid16: true },
      message: "Feature vmid16 is true, but VMIDs require stage2 (§6.3.1 IDR0.VMID16)",
    },
    {
      features: { xnx: true },
      message: "Feature xnx is true, but it is a permission of stage2 (§6.3.4 IDR3.XNX)",
    },
    {
      features: { granule4K: false },
      message: "Feature granule4K is false, but one of granule4K, granule16K and granule64K is " +
        "required (§6.3.6 IDR5)",
    },
    {
      features: { vax: true },
      message: "Feature vax is true, but 52 bits of input require granule64K while IDR5.DS is 0 " +
        "(§6.3.6 IDR5.VAX)",
    },
    { features: { httu: 3 }, message: "Feature httu is 3, but this device has 0 to 2" },
    {
      features: { stallModel: 3 },
      message: "Feature stallModel is 3, but the architecture has 0 to 2",
    },
    {
      features: { stallMax: 8 },
      message:
        "Feature stallMax is 8, but with stallModel 1 nothing stalls (§6.3.6 IDR5.STALL_MAX)",
    },
    {
      features: { stallModel: 0 },
      message: "Feature stallMax is 0, but a stallModel other than 1 requires 1 or more " +
        "(§6.3.6 IDR5.STALL_MAX)",
    },
    {
      features: { pri: true },
      message: "Feature pri is true, but page requests require ats (§6.3.1 IDR0.PRI)",
    },
    {
      features: { ats: true, stallModel: 2, stallMax: 1 },
      message: "Feature ats is true, but PCI functions cannot be stalled, as stallModel 2 would " +
        "(§3.12 IDR0.STALL_MODEL)",
    },
  ];
  for (const { features, message } of cases) {
    await t.step(message, () => {
      const error = assertThrows(() => identify(features), RangeError);
      assertEquals(error.message, message);
    });
  }
});
