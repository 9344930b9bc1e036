import { assert, assertEquals } from "@std/assert";
import { get } from "../../hw/bits.ts";
import { DEFAULT_FEATURES, type Features, features } from "../../hw/smmuv3/features.ts";
import { identify } from "../../hw/smmuv3/identify.ts";
import { AIDR, IDR0, IDR1, IDR3, IDR5, REG } from "../../hw/smmuv3/spec/registers.ts";

const REGISTERS = { IDR0, IDR1, IDR3, IDR5, AIDR } as const;
type Name = keyof typeof REGISTERS;

interface Row {
  readonly field: string;
  readonly value: number;
  readonly choices: readonly (keyof Features)[];
}

/** The rows of the table in the README, in its order. */
function rows(): Row[] {
  const text = Deno.readTextFileSync(new URL("../../README.md", import.meta.url));
  const row = /^\| ([A-Z0-9]+\.\w+) +\| (\d+) +\| ([^|]*?) *\|/gm;
  return [...text.matchAll(row)].map(([, field, value, choices]) => ({
    field,
    value: Number(value),
    choices: [...choices.matchAll(/`(\w+)`/g)].map(([, name]) => name as keyof Features),
  }));
}

/** The value of each field of the ID registers of a device with `chosen`. */
function advertised(chosen: Features): Map<string, number> {
  const words = new Uint32Array(8);
  identify(words, chosen);
  return new Map(
    Object.entries(REGISTERS).flatMap(([name, fields]) => {
      const register = words.subarray(REG[name as Name].offset / 4);
      return Object.entries(fields).map(([field, bits]): [string, number] => [
        `${name}.${field}`,
        get(register, bits),
      ]);
    }),
  );
}

/** Devices from which every feature can be changed alone. */
const BASES: readonly Features[] = [
  DEFAULT_FEATURES,
  features({ stage2: true, granule64K: true, ats: true, pri: true }),
  features({ stage2: true, sidSize: 6, ssidSize: 0 }),
  features({ stallModel: 0, stallMax: 16 }),
];

/** The fields that change with `name` alone. */
function changedBy(name: keyof Features): Set<string> {
  const fields = new Set<string>();
  for (const base of BASES) {
    const before = advertised(base);
    const values = typeof base[name] === "boolean" ? [true, false] : [...Array(53).keys()];
    for (const value of values) {
      let chosen: Features;
      try {
        chosen = features({ ...base, [name]: value });
      } catch {
        continue;
      }
      const after = advertised(chosen);
      for (const [field, was] of before) if (after.get(field) !== was) fields.add(field);
    }
  }
  return fields;
}

Deno.test("the README's table has each ID field once, with the value that a device of the defaults shows", () => {
  assertEquals(
    rows().map(({ field, value }) => [field, value]),
    [...advertised(features())],
  );
});

Deno.test("the README's table names for each ID field the features that change it, and no other", () => {
  const told = rows().flatMap(({ field, choices }) => choices.map((name) => `${name} ${field}`));
  const names = Object.keys(DEFAULT_FEATURES) as (keyof Features)[];
  const real = names.flatMap((name) => [...changedBy(name)].map((field) => `${name} ${field}`));
  assertEquals(told.toSorted(), real.toSorted());
  assert(real.length >= names.length);
});
