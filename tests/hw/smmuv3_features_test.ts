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
    ...[32, 36, 40, 42, 44, 48].map((oas, value) => (
      { features: { oas }, register: 5, low: 0, value }
    )),
  ];
  const widths: Record<string, number> = { "1.0": 6, "1.6": 5, "1.16": 5, "1.21": 5, "5.0": 3 };
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
      features: { oas: 52 },
      message: "Feature oas is 52, but this device has 32,36,40,42,44,48",
    },
    {
      features: { sidSize: 7, twoLevelStreamTable: false },
      message: "Feature sidSize is 7, but 7 or more requires twoLevelStreamTable",
    },
  ];
  for (const { features, message } of cases) {
    await t.step(message, () => {
      const error = assertThrows(() => identify(features), RangeError);
      assertEquals(error.message, message);
    });
  }
});
