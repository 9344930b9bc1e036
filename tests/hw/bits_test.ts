import { assertEquals, assertThrows } from "@std/assert";
import {
  address,
  type AddressField,
  bits,
  type Field,
  get,
  getAddress,
  maskOf,
  set,
  setAddress,
} from "../../hw/bits.ts";
import { CD } from "../../hw/smmuv3/spec/cd.ts";
import { CFGI, CMD, SYNC, TLBI } from "../../hw/smmuv3/spec/commands.ts";
import { DESCRIPTOR } from "../../hw/smmuv3/spec/descriptors.ts";
import { RECORD } from "../../hw/smmuv3/spec/events.ts";
import * as registers from "../../hw/smmuv3/spec/registers.ts";
import { L1STD, STE } from "../../hw/smmuv3/spec/ste.ts";

type Structure = Readonly<Record<string, Field | AddressField>>;

const STRUCTURES: Record<string, Structure> = {
  STE,
  L1STD,
  CD,
  DESCRIPTOR,
  RECORD,
  CMD,
  CFGI,
  TLBI,
  SYNC,
  IDR0: registers.IDR0,
  IDR1: registers.IDR1,
  IDR3: registers.IDR3,
  IDR5: registers.IDR5,
  CR0: registers.CR0,
  CR1: registers.CR1,
  CR2: registers.CR2,
  GBPA: registers.GBPA,
  GERROR: registers.GERROR,
  IRQ_CTRL: registers.IRQ_CTRL,
  STRTAB_BASE: registers.STRTAB_BASE,
  STRTAB_BASE_CFG: registers.STRTAB_BASE_CFG,
  QUEUE_BASE: registers.QUEUE_BASE,
  CMDQ_CONS: registers.CMDQ_CONS,
  EVENTQ_PROD: registers.EVENTQ_PROD,
  EVENTQ_CONS: registers.EVENTQ_CONS,
};

/** Fields that share bits because they belong to different forms of one structure. */
const SHARED = new Set(["CFGI.Leaf CFGI.Range"]);

/** The bits of a structure as one integer, bit 0 of word 0 first. */
function integer(words: Uint32Array): bigint {
  return words.reduceRight((sum, word) => (sum << 32n) | BigInt(word), 0n);
}

/** The bits from `high` to `low`, all ones. */
function ones({ high, low }: { high: number; low: number }): bigint {
  return ((1n << BigInt(high - low + 1)) - 1n) << BigInt(low);
}

function isAddress(field: Field | AddressField): field is AddressField {
  return "lowMask" in field;
}

for (const [name, structure] of Object.entries(STRUCTURES)) {
  Deno.test(`${name}: each field writes its own bits, all of them, and reads them back`, () => {
    for (const [fieldName, field] of Object.entries(structure)) {
      const own = ones(field);
      for (const background of [0, 0xffff_ffff]) {
        const words = new Uint32Array(16).fill(background);
        const before = integer(words);
        for (const value of samples(field)) {
          write(words, field, value);
          assertEquals(read(words, field), value, `${fieldName} = ${value}`);
          const expected = (before & ~own) | (toBits(field, value) & own);
          assertEquals(integer(words), expected, `${fieldName} = ${value} in its place`);
        }
      }
    }
  });

  Deno.test(`${name}: no two fields overlap`, () => {
    const fields = Object.entries(structure);
    for (const [i, [a, fieldA]] of fields.entries()) {
      for (const [b, fieldB] of fields.slice(i + 1)) {
        if (SHARED.has(`${name}.${a} ${name}.${b}`)) continue;
        assertEquals(ones(fieldA) & ones(fieldB), 0n, `${a} and ${b}`);
      }
    }
  });
}

function samples(field: Field | AddressField): number[] {
  if (isAddress(field)) {
    const width = Math.min((field.high & 63) + 1, 52);
    const unit = 2 ** (field.low & 63);
    return [
      0,
      unit,
      2 ** 32,
      2 ** (width - 1),
      2 ** width - unit,
      0x5_5555_5555 * unit % 2 ** width,
    ];
  }
  const largest = 2 ** (field.high - field.low + 1) - 1;
  return [0, 1, largest, Math.floor(largest / 3), 0];
}

function toBits(field: Field | AddressField, value: number): bigint {
  const shift = isAddress(field) ? field.low - (field.low & 63) : field.low;
  return BigInt(value) << BigInt(shift);
}

function write(words: Uint32Array, field: Field | AddressField, value: number): void {
  if (isAddress(field)) setAddress(words, field, value);
  else set(words, field, value);
}

function read(words: Uint32Array, field: Field | AddressField): number {
  return isAddress(field) ? getAddress(words, field) : get(words, field);
}

Deno.test("set() drops the bits of a value that its field has no room for", () => {
  const words = new Uint32Array(2);
  set(words, bits(35, 33), 0xff);
  assertEquals([...words], [0, 0b1110]);
});

Deno.test("setAddress() drops low bits and bits above the field", () => {
  const words = new Uint32Array(2);
  setAddress(words, address(47, 12), 0xf_ffff_ffff_ffff);
  assertEquals([...words], [0xffff_f000, 0x0000_ffff]);
});

Deno.test("get() of a whole word is unsigned", () => {
  assertEquals(get(Uint32Array.of(0, 0xffff_ffff), bits(63, 32)), 0xffff_ffff);
});

Deno.test("maskOf() joins fields of one word, unsigned", () => {
  assertEquals(maskOf(bits(31), bits(3, 0)), 0x8000_000f);
  assertEquals(maskOf(bits(63, 32)), 0xffff_ffff);
  assertEquals(maskOf(), 0);
});

Deno.test("a declaration that fits no word, or no quad, throws at load", async (t) => {
  const cases = [
    { name: "bits across a word", declare: () => bits(32, 31) },
    { name: "bits upside down", declare: () => bits(3, 4) },
    { name: "address across a quad", declare: () => address(64, 12) },
    { name: "address in one word", declare: () => address(31, 12) },
    { name: "address without low word", declare: () => address(63, 32) },
  ];
  for (const { name, declare } of cases) {
    await t.step(name, () => {
      assertThrows(declare, RangeError, "does not fit one");
    });
  }
});
